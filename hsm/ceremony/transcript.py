"""The signed transcript of a ceremony: what was done, before whom, and with what result; nothing secret.

Rules held here:
- The body is RFC 8785 JSON with the tag `portcullis/ceremony-transcript/v1`, signed by the authority token's
  audit-checkpoint key (ECDSA P-256, SHA-256). A file is the body as text, the signature and the public key.
- The key in the file proves nothing: who verifies gives the key that he pinned, or compares its fingerprint.
- Verification comes before parsing: nothing of a body is read whose signature does not hold.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec
import rfc8785

from hsm import p256
from hsm.errors import HsmInputError, StatementError

TAG: Final = "portcullis/ceremony-transcript/v1"
MAX_FILE_BYTES: Final = 256 * 1024


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: str
    signature: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """A body and the signature over it."""

    body: str
    signature: bytes
    public_key_pem: str

    def to_text(self) -> str:
        """Return the file's content."""
        file = {"body": self.body, "signature": self.signature.hex(), "public_key": self.public_key_pem}
        return json.dumps(file, indent=2) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a file; nothing is verified yet. Raises HsmInputError when it is not one."""
        if len(text.encode()) > MAX_FILE_BYTES:
            raise HsmInputError(f"a transcript has at most {MAX_FILE_BYTES} bytes", field="transcript")
        try:
            file = msgspec.json.decode(text.encode(), type=_File)
            return cls(file.body, bytes.fromhex(file.signature), file.public_key)
        except (msgspec.MsgspecError, ValueError):
            raise HsmInputError("this is not a ceremony's transcript", field="transcript") from None

    def verified(self, pinned_pem: bytes) -> dict[str, Any]:
        """Return the body's fields.

        Raises StatementError when the pinned key did not sign it, or it is not a transcript.
        """
        p256.verify(pinned_pem, self.body.encode(), self.signature)
        said: object = json.loads(self.body)
        if not isinstance(said, dict) or said.get("tag") != TAG:
            raise StatementError("the signed text is not a ceremony's transcript")
        return said


def body_of(fields: dict[str, Any]) -> str:
    """Return the text that is signed."""
    return rfc8785.dumps({"tag": TAG, **fields}).decode()


def fingerprint(pem: bytes) -> str:
    """Return SHA-256 of a public key's PEM in groups of four hex digits, for people to compare."""
    digest = hashlib.sha256(pem.strip()).hexdigest()
    return " ".join(digest[start : start + 4] for start in range(0, len(digest), 4))


def same_key(one: bytes, other: bytes) -> bool:
    """Whether two PEM texts are the same key's."""
    return hmac.compare_digest(one.strip(), other.strip())
