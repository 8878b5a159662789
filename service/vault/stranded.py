"""What lies at EVM addresses whose keys sign no more: told before those are destroyed, because nothing of ours moves it.

Rule: it is for people to read and stops nothing, or whoever pays dust there would; what could not be asked is said, too.
"""

import time
from collections.abc import Sequence
from typing import Final

from service.domain.assets import spelt_once
from service.domain.errors import UnavailableError
from service.domain.ids import AccountId
from service.domain.vault import VaultKey
from service.vault.everywhere import everywhere
from service.vault.parts import VaultParts
from service.vault.payments import Source, held_at, source_at

PATIENCE_S: Final = 20.0
MOST_NAMED: Final = 20
"""Holdings that are named, and places that could not be asked."""


def stranded(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> tuple[str, ...]:
    """Return what the keys' addresses hold of the account's registered assets, as sentences, and what was not asked."""
    with parts.db.begin() as uow:
        assets = [asset for asset in spelt_once(uow.keys.assets(account)) if asset.startswith("eip155:")]

    def held(chain: str, key: VaultKey, until: float) -> list[str]:
        if time.monotonic() >= until:
            raise UnavailableError(f"{key.address} on {chain} was not asked in time")
        return _held(source_at(parts, key, chain, assets), until)

    chains = sorted({asset.partition("/")[0] for asset in assets})
    found = everywhere([(chain, key) for chain in chains for key in keys], held, PATIENCE_S)
    told = [one for at_one in found.results for one in at_one]
    unknown = dict.fromkeys(f"not known: {error}" for error in found.errors)
    return (*_first(told), *_first(list(unknown)))


def _held(source: Source, until: float) -> list[str]:
    held = held_at(source, until)
    amounts = [(source.native, held.coin), *held.tokens]
    told = [f"{amount} base units of {asset} at {source.address}" for asset, amount in amounts if amount]
    return [*told, *(f"not known: how much of {asset} lies at {source.address}" for asset in held.unread)]


def _first(sentences: Sequence[str]) -> Sequence[str]:
    more = len(sentences) - MOST_NAMED
    return sentences if more <= 0 else [*sentences[:MOST_NAMED], f"and {more} more"]
