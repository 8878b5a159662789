"""What lies at EVM addresses whose keys sign no more: told before those are destroyed, because nothing of ours moves it.

Rule: it is for people to read and stops nothing, or whoever pays dust there would; what could not be asked is said, too.
"""

import time
from collections.abc import Sequence
from typing import Final

from service.domain.errors import PortcullisError, UnavailableError
from service.domain.ids import AccountId
from service.domain.vault import VaultKey
from service.vault.everywhere import everywhere
from service.vault.parts import VaultParts
from service.vault.payments import Source, sources

PATIENCE_S: Final = 20.0
MOST_NAMED: Final = 20
"""Holdings that are named, and places that could not be asked."""


def stranded(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> tuple[str, ...]:
    """Return what the keys' addresses hold of the account's registered assets, as sentences, and what was not asked."""
    try:
        places = [(source.chain_id, source) for source in sources(parts, account, keys)]
    except PortcullisError as error:
        return (f"not known: {error}",)
    found = everywhere(places, _held, PATIENCE_S)
    held = [one for at_one in found.results for one in at_one]
    unknown = dict.fromkeys(f"not known: {error}" for error in found.errors)
    return (*_first(held), *_first(list(unknown)))


def _held(_: str, source: Source, until: float) -> list[str]:
    if time.monotonic() >= until:
        raise UnavailableError(f"{source.address} on {source.chain_id} was not asked in time")
    held = {source.native: source.chain.balance(source.address)}
    held |= {asset: source.chain.token_balance(token, source.address) for asset, token in source.tokens}
    return [f"{amount} base units of {asset} at {source.address}" for asset, amount in held.items() if amount]


def _first(sentences: Sequence[str]) -> Sequence[str]:
    more = len(sentences) - MOST_NAMED
    return sentences if more <= 0 else [*sentences[:MOST_NAMED], f"and {more} more"]
