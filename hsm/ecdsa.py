"""ECDSA over secp256k1 around a signer that only returns r ‖ s: low-S, recovery id, verification.

Rules held here:
- s is always made ≤ n/2: about half of what a token returns is not, and Bitcoin relays (BIP-62 rule 5) and Ethereum
  accepts (EIP-2) only that form.
- The recovery id is found by recovering the public key with both candidates and comparing it with the known one (SEC 1
  section 4.1.6). When neither fits, the signature is not the key's and SignatureMismatchError is raised, so a token
  that signs wrongly is caught before anything is published.
- r ≥ n would need recovery ids 2 and 3; that happens once in 2^128 signatures and is treated as a mismatch.
"""

import hmac
from typing import Any, Final, cast

from embit import ec
from embit.util import secp256k1 as _secp256k1

from hsm.custodian import Signature, require_digest
from hsm.errors import DerivationError, SignatureMismatchError

ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""n, the order of the group (SEC 2 section 2.4.1)."""
HALF_ORDER: Final = ORDER // 2
COMPACT_BYTES: Final = 64

# embit ships no types; this module and hsm.derivation are where it is used.
_secp: Any = cast("Any", _secp256k1)


def low_s(r: int, s: int) -> tuple[int, int]:
    """Return (r, s) with s ≤ n/2. Raises SignatureMismatchError when r or s is outside 1 … n-1."""
    if not (0 < r < ORDER and 0 < s < ORDER):
        raise SignatureMismatchError("the token returned a signature outside the group: do not use this key")
    return r, (s if s <= HALF_ORDER else ORDER - s)


def finish(raw: bytes, digest: bytes, public_key: bytes) -> Signature:
    """Turn a token's r ‖ s (64 bytes) over `digest` into a low-S signature with recovery id.

    `public_key` is compressed (33 bytes). Raises SignatureMismatchError when the key did not make the signature.
    """
    if len(raw) != COMPACT_BYTES:
        raise SignatureMismatchError(f"the token returned {len(raw)} bytes for a signature, not {COMPACT_BYTES}")
    r, s = low_s(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    for v in (0, 1):
        signature = Signature(r, s, v)
        recovered = recover(signature, digest)
        if recovered is not None and hmac.compare_digest(recovered, public_key):
            return signature
    raise SignatureMismatchError(
        "the token's signature does not verify under the key's public half: do not use this key"
    )


def recover(signature: Signature, digest: bytes) -> bytes | None:
    """Return the compressed public key that made the signature, or None when no key could have."""
    require_digest(digest)
    try:
        parsed = _secp.ecdsa_recoverable_signature_parse_compact(signature.compact(), signature.v)
        return bytes(_secp.ec_pubkey_serialize(_secp.ecdsa_recover(parsed, digest)))
    except ValueError:
        return None


def verify(signature: Signature, digest: bytes, public_key: bytes) -> bool:
    """Whether `public_key` made the signature over `digest` and it is low-S."""
    recovered = recover(signature, digest)
    return signature.s <= HALF_ORDER and recovered is not None and hmac.compare_digest(recovered, public_key)


def compressed(public_key: bytes) -> bytes:
    """Return a public key (33 or 65 bytes, SEC 1) in compressed form.

    Raises DerivationError if it is not on the curve.
    """
    return bytes(_parsed(public_key).sec())


def uncompressed(public_key: bytes) -> bytes:
    """Return a public key in its 65-byte form 04 ‖ x ‖ y. Raises DerivationError if it is not on the curve."""
    parsed = _parsed(public_key)
    parsed.compressed = False
    return bytes(parsed.sec())


def _parsed(public_key: bytes) -> Any:
    try:
        key = ec.PublicKey.parse(public_key)
    except (ec.ECError, ValueError, IndexError):
        raise DerivationError("not a secp256k1 public key (33 or 65 bytes, SEC 1)", field="public_key") from None
    key.compressed = True
    return key
