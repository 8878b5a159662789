"""Keeps what the address lists in force say at hand for scoring.

Rules: which lists are in force is said by rows of the learning sequence alone, so that an import counts from one number on
for every process; what they say is looked up here and told with each observation, so that replay needs no list. Lists never
change: one that comes into force is added to those at hand, and after a withdrawal all are read again.
"""

from collections.abc import Sequence
from typing import Final

from service.domain.errors import ConfigurationError
from service.domain.listed import MAX_LISTS, MAX_WATCHED, Listings
from service.ports.store.baselines import BaselineStore

_TOO_MANY: Final = (
    f"the address lists in force warn of more than {MAX_WATCHED} addresses: rows were written past the API"
)


class KeptLists:
    """What the lists at hand say."""

    def __init__(self, store: BaselineStore) -> None:
        self._store = store
        self._at_hand: Listings | None = None

    def at_hand(self, names: Sequence[str]) -> Listings | None:
        """Return what these lists say, None for no lists. Raises LookupError when others are at hand."""
        if not names:
            return None
        if self._at_hand is None or self._at_hand.names != tuple(names):
            raise LookupError("other lists are at hand")
        return self._at_hand

    async def fetched(self, names: Sequence[str]) -> Listings | None:
        """Return what these lists say, after reading those that are not at hand.

        Raises ConfigurationError for more than can be kept, UnavailableError.
        """
        wanted = tuple(names)
        if not wanted:
            self._at_hand = None
            return None
        if len(wanted) > MAX_LISTS:
            raise ConfigurationError(f"more than {MAX_LISTS} address lists are in force")
        known = self._at_hand
        if known is not None and known.names == wanted:
            return known
        self._at_hand = None  # half of a list is at hand while it is read
        if known is None or wanted[: len(known.names)] != known.names:
            known = Listings()
        async for rows in self._store.labelled(wanted[len(known.names) :]):
            known.add(rows)
            if len(known) > MAX_WATCHED:
                raise ConfigurationError(_TOO_MANY)
        known.names = wanted
        self._at_hand = known
        return known
