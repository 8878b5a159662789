"""Wallet seeds, sealed by a key that never leaves the token.

Rules held here:
- Envelope v1: `PCW1` ‖ nonce:12 ‖ AES-256-GCM ciphertext with its 16-byte tag; additional data = wallet id, so one
  wallet's seed cannot be opened as another's.
- A ceremony leaves its sealed seed in the token itself, as a data object `seed:WALLET` (origin byte ‖ envelope): the
  wallet is then this seed, whoever asks first, and no file has to be carried to the service. It is written once and
  never overwritten.
"""

from typing import Final

import PyKCS11 as P

from hsm.custodian import MAX_SEED_BYTES, MIN_SEED_BYTES, SealedSeed, require_wallet_id
from hsm.errors import HsmInputError, SealError, TokenLayoutError, TokenOutcomeUnknownError
from hsm.pkcs11.layout import SEED_KEY
from hsm.pkcs11.session import TokenSession

MAGIC: Final = b"PCW1"
NONCE_BYTES: Final = 12
TAG_BITS: Final = 128
KEPT: Final = "seed:"
_AAD: Final = b"portcullis/seed/v1\x00"
_ORIGINS: Final = {b"D": False, b"R": True}
"""Drawn in the ceremony, or restored by it."""


def seal_seed(session: TokenSession, wallet_id: str, seed: bytes) -> SealedSeed:
    """Seal a seed of 16-64 bytes for a wallet. Raises HsmInputError for other lengths."""
    if not MIN_SEED_BYTES <= len(seed) <= MAX_SEED_BYTES:
        raise HsmInputError(f"a seed has {MIN_SEED_BYTES} to {MAX_SEED_BYTES} bytes", field="seed")
    nonce = session.random(NONCE_BYTES)
    mechanism = P.AES_GCM_Mechanism(nonce, _aad(wallet_id), TAG_BITS)
    sealed = session.encrypt(session.one(SEED_KEY, P.CKO_SECRET_KEY), mechanism, seed)
    return SealedSeed(MAGIC + nonce + sealed)


def open_seed(session: TokenSession, sealed: SealedSeed, wallet_id: str) -> bytes:
    """Return the seed. Raises SealError when it was altered, or is of another wallet or token."""
    body = sealed.envelope[len(MAGIC) :]
    if sealed.envelope[: len(MAGIC)] != MAGIC:
        raise SealError("this is not a wallet seed sealed by this version")
    if not MIN_SEED_BYTES <= len(body) - NONCE_BYTES - TAG_BITS // 8 <= MAX_SEED_BYTES:
        raise SealError("the sealed seed is cut short or too long")
    mechanism = P.AES_GCM_Mechanism(body[:NONCE_BYTES], _aad(wallet_id), TAG_BITS)
    try:
        return session.decrypt(session.one(SEED_KEY, P.CKO_SECRET_KEY), mechanism, body[NONCE_BYTES:])
    except TokenOutcomeUnknownError:
        # Opening has no effect to be unsure of; SoftHSM answers CKR_GENERAL_ERROR for a wrong tag.
        raise SealError("the sealed seed was altered, is of another wallet or of another token") from None


def keep_seed(session: TokenSession, wallet_id: str, sealed: SealedSeed) -> None:
    """Leave a sealed seed in the token; the same one again changes nothing.

    Raises HsmInputError when the wallet has another seed there.
    """
    found = kept_seed(session, wallet_id)
    if found == sealed:
        return
    if found is not None:
        raise HsmInputError(
            f"wallet {wallet_id} has a seed from an earlier ceremony: choose another wallet id", field="wallet"
        )
    origin = next(byte for byte, restored in _ORIGINS.items() if restored is sealed.restored)
    session.create(
        [
            (P.CKA_CLASS, P.CKO_DATA),
            (P.CKA_TOKEN, True),
            (P.CKA_PRIVATE, True),
            (P.CKA_LABEL, KEPT + require_wallet_id(wallet_id)),
            (P.CKA_VALUE, origin + sealed.envelope),
        ]
    )


def kept_seed(session: TokenSession, wallet_id: str) -> SealedSeed | None:
    """Return the sealed seed that a ceremony left for a wallet. Raises TokenLayoutError when it cannot be read."""
    found = session.find(KEPT + require_wallet_id(wallet_id), P.CKO_DATA)
    if not found:
        return None
    value = session.read(found[0], P.CKA_VALUE) or b""
    if len(found) != 1 or value[:1] not in _ORIGINS:
        raise TokenLayoutError(
            f"the seed of wallet {wallet_id} in the token cannot be read: restore it from its backup"
        )
    return SealedSeed(value[1:], _ORIGINS[value[:1]])


def _aad(wallet_id: str) -> bytes:
    return _AAD + require_wallet_id(wallet_id).encode()
