"""Ed25519 around a signer that only returns 64 bytes: every signature is checked before it is used (RFC 8032).

Rules held here: a signature that the key did not make is SignatureMismatchError, as for ECDSA, so a token that signs
wrongly is caught before anything is published.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hsm.errors import SignatureMismatchError

SIGNATURE_BYTES: Final = 64


def finish(raw: bytes, message: bytes, public_key: bytes) -> bytes:
    """Return a token's signature over `message`, checked. Raises SignatureMismatchError when the key did not make it."""
    if not verify(raw, message, public_key):
        raise SignatureMismatchError(
            "the token's signature does not verify under the key's public half: do not use this key"
        )
    return raw


def verify(signature: bytes, message: bytes, public_key: bytes) -> bool:
    """Whether `public_key` (32 bytes) made the signature over `message`."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
