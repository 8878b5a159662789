"""When each address of own EVM wallets was last looked at, and whether it was empty then.

Rules: whoever has not enough time for all of them begins with the one that was looked at longest ago, so that every address
gets its turn, whatever lies at the others; what was empty a moment ago counts as empty where there is no time to look again.
It is remembered by this process alone: another one looks for itself.
"""

import time
from typing import Final

LATELY_S: Final = 900.0
"""How long an address counts as empty that was seen empty and could not be looked at again."""
Spot = tuple[bool, str, str]
"""Whether it was asked of the newest final block, the CAIP-2 chain and the address."""


class Visits:
    """Remembers the last look at each address, on the monotonic clock."""

    def __init__(self) -> None:
        self._begun: dict[Spot, float] = {}
        self._empty: dict[Spot, float] = {}

    def last(self, spot: Spot) -> float:
        """Return when it was looked at last; before all times where it never was."""
        return self._begun.get(spot, float("-inf"))

    def begin(self, spot: Spot) -> None:
        """Note that it is looked at now; it counts as empty no more until it is seen so."""
        self._begun[spot] = time.monotonic()
        self._empty.pop(spot, None)

    def found_empty(self, spot: Spot) -> None:
        """Note that nothing is there."""
        self._empty[spot] = time.monotonic()

    def lately_empty(self, spot: Spot) -> bool:
        """Say whether nothing was there when it was looked at last, LATELY_S ago at most."""
        seen = self._empty.get(spot)
        return seen is not None and time.monotonic() - seen <= LATELY_S
