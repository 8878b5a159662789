"""An approver's own client: check code, one-time code and decision, sealed for the authority before they go anywhere.

Rules: the key comes from the installation's public folder, never from its API; the envelope is `PCS1` ‖ len(wrapped):2 ‖
wrapped ‖ nonce:12 ‖ AES-256-GCM, the AES key under RSA-OAEP with SHA-1 (RFC 8017 section 7.1); its associated data are the
header, then `portcullis/ballot/v1` ‖ 0x00 ‖ digest ‖ 0x00 ‖ person; the paper is JSON filled with blanks to 256 bytes.
Written from docs/concepts/approvals.md, apart from the service's own code, so that one checks the other.
"""

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drills.runner.errors import DrillError

KEY_FILE = "authority-ballots.pem"
TAG = "portcullis/ballot/v1"
MAGIC = b"PCS1"
PAPER_BYTES = 256
NONCE_BYTES = 12
KEY_BITS = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """One person's answer to one document, by its digest."""

    digest: str
    person: str
    check_code: str
    code: str
    decision: str = "approve"


@dataclass(frozen=True, slots=True)
class BallotKey:
    """The public key that ballots are sealed for."""

    key: rsa.RSAPublicKey

    def seal(self, answer: Answer) -> str:
        """Return the ballot as it travels: base64url without padding."""
        paper = {"check_code": answer.check_code, "code": answer.code, "decision": answer.decision}
        plain = json.dumps(paper).encode().ljust(PAPER_BYTES)
        secret, nonce = AESGCM.generate_key(KEY_BITS), os.urandom(NONCE_BYTES)
        wrapped = self.key.encrypt(secret, _oaep())
        header = MAGIC + len(wrapped).to_bytes(2, "big") + wrapped
        bound = f"{TAG}\x00{answer.digest}\x00{answer.person}".encode()
        envelope = header + nonce + AESGCM(secret).encrypt(nonce, plain, header + bound)
        return base64.urlsafe_b64encode(envelope).decode().rstrip("=")


def read_ballot_key(home: Path) -> BallotKey:
    """Read an installation's key; DrillError when it is not there or no RSA key."""
    path = home / "public" / KEY_FILE
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DrillError(f"{path} cannot be read ({error}): give the home of the installation with --home") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise DrillError(f"{path} is no RSA key: restore it from the installation's public folder")
    return BallotKey(key)


def _oaep() -> padding.OAEP:
    sha1 = hashes.SHA1()  # noqa: S303  what the envelope says: OAEP's proof needs no collision resistance
    return padding.OAEP(mgf=padding.MGF1(algorithm=sha1), algorithm=sha1, label=None)
