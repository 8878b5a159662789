"""ECDSA over P-256 with SHA-256: check what a token signed (FIPS 186-5; signatures as r ‖ s, 64 bytes, RFC 7518 ES256).

Rules held here:
- Verification needs only the pinned public key: a worker that checks a vote opens no token.
- "Does not verify" is an error of its own, and a malformed key is another: a broken pin is never a bad signature.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hsm.errors import HsmInputError, StatementError

SIGNATURE_BYTES: Final = 64
MAX_MESSAGE: Final = 1024 * 1024


def verify(public_key_pem: bytes, message: bytes, signature: bytes) -> None:
    """Return if the key made `signature` over `message` (at most 1 MiB).

    Raises StatementError if it did not, HsmInputError if the key is not a P-256 public key.
    """
    key = _public(public_key_pem)
    if len(signature) != SIGNATURE_BYTES:
        raise StatementError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if len(message) > MAX_MESSAGE:
        raise StatementError(f"a signed message has at most {MAX_MESSAGE} bytes")
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        key.verify(der, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise StatementError("the signature does not verify under the pinned key") from None


def _public(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError:
        raise HsmInputError("the pinned key is not a PEM public key", field="public_key_pem") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise HsmInputError("the pinned key is not a P-256 key", field="public_key_pem")
    return key
