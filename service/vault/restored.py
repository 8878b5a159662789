"""A wallet whose vault token was lost: a ceremony restores its seed into another token, and our record follows it.

Rules: the envelope in our record is replaced only where this token does not open it, by the seed that a ceremony left in
this very token, and only when that seed derives every key that was recorded under the wallet, one at least. So what a row
says can have a seed compared, never chosen. Keys of EVM chains that were retired or destroyed are kept out of the token
first, as they were kept out of the old one.
"""

import hashlib
from collections.abc import Sequence

from hsm.custodian import KeyCustodian, KeyRef, SealedSeed
from hsm.derivation import ExtendedKey
from hsm.errors import SealError
from hsm.keypath import DerivationPath
from hsm.restrictions import KeyState
from service.domain.timeline import Entry
from service.domain.vault import VaultKey, Wallet
from service.ports.store.unit import Database

_OUT = frozenset({KeyState.RETIRED.value, KeyState.DESTROYED.value})


def take_over(db: Database, token: KeyCustodian, wallet: Wallet) -> SealedSeed:
    """Return the seed that a ceremony left for a wallet whose recorded envelope this token does not open, and record it.

    Raises SealError when there is none, or it is not shown to be the wallet's.
    """
    kept = token.kept_wallet(wallet.id)
    if kept is None or kept.envelope == wallet.sealed_seed:
        raise SealError(
            f"the seed of wallet {wallet.id} was altered or is of another token, and no ceremony left it in this one:"
            " restore it from its shares"
        )
    with db.begin() as uow:
        keys = uow.keys.keys_under(wallet.id)
    if not keys or not _derives(token, kept, keys):
        raise SealError(
            f"the seed that a ceremony left for wallet {wallet.id} is not shown to be the same: it does not derive"
            f" each of its {len(keys)} recorded keys: stop and look"
        )
    token.disable(*(_ref(key) for key in keys if key.state in _OUT and key.chain.startswith("eip155:")))
    with db.begin() as uow:
        if uow.keys.replace_seed(wallet.id, wallet.sealed_seed, kept.envelope):
            uow.record(
                Entry(
                    kind="wallet.restored",
                    at=uow.now,
                    subject=wallet.id,
                    sentence=f"Wallet {wallet.id} is in another vault token: a ceremony left a seed there that derives all"
                    f" {len(keys)} keys recorded",
                    facts={
                        "keys": len(keys),
                        "sealed_sha256": hashlib.sha256(kept.envelope).hexdigest(),
                        "before_sha256": hashlib.sha256(wallet.sealed_seed).hexdigest(),
                    },
                )
            )
    return kept


def _derives(token: KeyCustodian, sealed: SealedSeed, keys: Sequence[VaultKey]) -> bool:
    """Say whether a seed gives each of these keys of one wallet; each account is asked of the token once."""
    accounts: dict[DerivationPath, ExtendedKey] = {}
    for key in keys:
        levels = DerivationPath.parse(key.path).levels
        end = next((place for place, level in enumerate(levels) if not level.hardened), len(levels))
        account, below = DerivationPath(levels[:end]), DerivationPath(levels[end:])
        if account not in accounts:
            accounts[account] = ExtendedKey.parse(token.open_account(sealed, key.wallet_id, account).xpub)
        if accounts[account].derive(below).public_key != key.public_key:
            return False
    return True


def _ref(key: VaultKey) -> KeyRef:
    return KeyRef(key.wallet_id, DerivationPath.parse(key.path))
