"""Movements of money on a chain, in the one form that tracing works on, whatever the chain.

Rules: a movement takes from holders and gives to holders. On an account chain (EVM) a holder is an address that keeps what
it gets together with everything else; on Bitcoin it is one output, which is spent whole and once. What sources give and
targets do not get is the fee. Amounts are integers in the asset's base units; a movement of nothing is none.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

MAX_PARTS: Final = 30_000
"""Inputs or outputs of one transaction: a Bitcoin block holds no more."""
NO_BLOCK: Final = 2**62
"""Stands for the block of what is in none yet: after every block."""


class Part(msgspec.Struct, frozen=True):
    """One side of a movement."""

    holder: str
    """What keeps the money: an address, or `txid:vout`."""
    address: str
    """What people see: an address, or the output script where it has none."""
    amount: int


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """Money that moved at one moment, in one asset."""

    id: str
    """Unique on its chain: the transaction, and the log's number where there are several."""
    transaction: str
    block: int
    position: int
    """Within the block."""
    at: int
    """Seconds since 1970; 0 where it is in no block yet."""
    asset: str
    """CAIP-19."""
    sources: tuple[Part, ...]
    targets: tuple[Part, ...]

    @property
    def order(self) -> tuple[int, int, str]:
        """When it happened, as far as the chain tells."""
        return self.block, self.position, self.id

    @property
    def fee(self) -> int:
        """What sources gave and targets did not get; never negative."""
        return max(0, sum(s.amount for s in self.sources) - sum(t.amount for t in self.targets))


def ordered(movements: Iterable[Movement]) -> list[Movement]:
    """Return movements oldest first, each after those that filled the holders it takes from.

    Within one Bitcoin block the position is not told: what an output was made by comes before what spends it.
    """
    every = {m.id: m for m in movements}
    made_by = {t.holder: m.id for m in every.values() for t in m.targets if ":" in t.holder}
    lacking = {m.id: {made_by[s.holder] for s in m.sources if s.holder in made_by} - {m.id} for m in every.values()}
    needed_by: dict[str, list[str]] = {}
    for one, needs in lacking.items():
        for need in needs:
            needed_by.setdefault(need, []).append(one)
    ready = [(every[one].order, one) for one, needs in lacking.items() if not needs]
    heapify(ready)
    result: list[Movement] = []
    while ready:
        _, one = heappop(ready)
        result.append(every.pop(one))
        for other in needed_by.get(one, ()):
            lacking[other].discard(one)
            if not lacking[other]:
                heappush(ready, (every[other].order, other))
    # A chain has no circle of outputs: whoever told of one lied, and the order that was told is all there is.
    return [*result, *sorted(every.values(), key=lambda m: m.order)]
