"""Secrets sealed for one token: anyone may seal, only the token that holds the private key opens.

Rules held here:
- Envelope v1: `PCS1` ‖ len(wrapped):2 ‖ wrapped ‖ nonce:12 ‖ AES-256-GCM ciphertext with its 16-byte tag.
- `wrapped` is a fresh AES-256 key under RSA-OAEP (RFC 8017 section 7.1) with SHA-1 and MGF1-SHA-1: SoftHSM 2 has no
  other hash for OAEP. OAEP's proof does not need collision resistance, so SHA-1 costs nothing here; a hash that is
  not available would cost the whole token.
- The header and the caller's `aad` (what the secret is for) are authenticated, so an envelope cannot be moved to
  another use.
- Each envelope has its own key, so the random nonce cannot repeat under one key.
- A reply comes back under the key that the asker sealed in his question, so who carries both reads neither.
- Opening is split: the token turns `wrapped` into the key (`hsm.pkcs11.unsealer`), `open_with_key` does the rest.
"""

import os
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsm.errors import HsmInputError, SealError

MAGIC: Final = b"PCS1"
MAX_PLAINTEXT: Final = 64 * 1024
MAX_AAD: Final = 1024
MIN_RSA_BITS: Final = 2048
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_HEADER: Final = len(MAGIC) + 2


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed envelope. It holds no plaintext."""

    wrapped: bytes
    nonce: bytes
    ciphertext: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an envelope. Raises SealError when it is not one, or one of a version this release does not know."""
        if len(data) > _HEADER + 1024 + NONCE_BYTES + MAX_PLAINTEXT + TAG_BYTES:
            raise SealError("the sealed value is larger than any envelope")
        if data[:3] != MAGIC[:3]:
            raise SealError("the value is not sealed by this system")
        if data[:4] != MAGIC:
            raise SealError("the value was sealed by a newer version: upgrade, or seal it again")
        size = int.from_bytes(data[4:_HEADER], "big")
        body = data[_HEADER + size :]
        if size == 0 or len(body) < NONCE_BYTES + TAG_BYTES:
            raise SealError("the sealed value is cut short")
        return cls(data[_HEADER : _HEADER + size], body[:NONCE_BYTES], body[NONCE_BYTES:])

    def header(self) -> bytes:
        """Return what precedes the nonce; it is authenticated with the ciphertext."""
        return MAGIC + len(self.wrapped).to_bytes(2, "big") + self.wrapped

    def to_bytes(self) -> bytes:
        """Return the serialised envelope."""
        return self.header() + self.nonce + self.ciphertext


def oaep_sha1() -> padding.OAEP:
    """Return the OAEP padding of envelope v1."""
    return padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303  see the module docstring


def seal(public_key_pem: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Seal up to 64 KiB for the holder of the private key; `aad` (1-1024 bytes) says what it is for.

    Raises HsmInputError when the key is not RSA of at least 2048 bits or a length is out of range.
    """
    if len(plaintext) > MAX_PLAINTEXT:
        raise HsmInputError(f"a secret has at most {MAX_PLAINTEXT} bytes", field="plaintext")
    if not 0 < len(aad) <= MAX_AAD:
        raise HsmInputError(f"say what the secret is for in 1 to {MAX_AAD} bytes", field="aad")
    key = os.urandom(KEY_BYTES)
    wrapped = _rsa_public(public_key_pem).encrypt(key, oaep_sha1())
    draft = Envelope(wrapped, os.urandom(NONCE_BYTES), b"")
    ciphertext = AESGCM(key).encrypt(draft.nonce, plaintext, draft.header() + aad)
    return Envelope(wrapped, draft.nonce, ciphertext).to_bytes()


def open_with_key(envelope: Envelope, key: bytes, aad: bytes) -> bytes:
    """Return the plaintext, given the AES key that the token unwrapped. Raises SealError when anything was altered."""
    if len(key) != KEY_BYTES:
        raise SealError("the sealed value does not hold an AES-256 key")
    try:
        return AESGCM(key).decrypt(envelope.nonce, envelope.ciphertext, envelope.header() + aad)
    except InvalidTag:
        raise SealError("the sealed value was altered, or was sealed for another use") from None


def seal_reply(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Seal one reply under the 32-byte key of its question: nonce, then AES-256-GCM ciphertext with its tag.

    Raises SealError for a key of another length.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(_reply_key(key)).encrypt(nonce, plaintext, aad)


def open_reply(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the reply to the question that held `key`. Raises SealError when it is not, or was altered."""
    try:
        return AESGCM(_reply_key(key)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        raise SealError("the reply was altered, or answers another question") from None


def _reply_key(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise SealError(f"a reply's key has {KEY_BYTES} bytes")
    return key


def _rsa_public(pem: bytes) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError:
        raise HsmInputError("not a PEM public key", field="public_key_pem") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise HsmInputError(f"the sealing key must be RSA of at least {MIN_RSA_BITS} bits", field="public_key_pem")
    return key
