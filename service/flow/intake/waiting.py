"""What waits for intake: bounded over all and by connection, by items and by their bytes (D3)."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from service.domain.errors import PortcullisError, UnavailableError
from service.domain.intake import Item, Outcome

MAX_WAITING: Final = 4096
"""Items of each kind, questions and all others, that wait together."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Raw bytes of the items of each kind that wait together; a batch that is being committed no longer waits."""
SHARE: Final = 4
"""One connection may have this part of each limit."""
BUSY_RETRY_S: Final = 1.0
LEAST: Final = 16
"""So few items are never split: a transaction of their own would cost more than working beside one brings."""
_FORGOTTEN: Final = 64
"""Batches after which most of a crowd that went away is forgotten."""

Settle = Callable[[Outcome | PortcullisError], None]
"""Is told once what became of an item."""
Waiting = tuple[Item, Settle]
"""An item and whom to answer."""


class Halves:
    """How much of what is here a batch takes: half, so that one half is taken, scored and answered while one is written.

    All in one batch, those who send on as soon as they are answered would all wait for one commit, and the database for
    all of them, for ever. Whoever was just answered counts for a while, because most send again at once.
    """

    def __init__(self) -> None:
        self._here = 0.0

    def half(self, here: int) -> int:
        """Return how many items a batch may have; `here` are those that wait or are being written."""
        self._here = max(float(here), self._here * (1 - 1 / _FORGOTTEN))
        return max(LEAST, math.ceil(self._here / 2))


@dataclass(slots=True)
class _Share:
    """What one connection has waiting."""

    items: int = 0
    bytes: int = 0


class Queue:
    """Items of one kind that wait, bounded over all and by connection."""

    def __init__(self) -> None:
        self._items: deque[Waiting] = deque()
        self._bytes = 0
        self._shares: dict[str, _Share] = {}

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    def put(self, item: Item, settle: Settle) -> None:
        """Let an item wait. Raises UnavailableError when too much waits, over all or of its connection."""
        name, size = item.received.activity.connection, len(item.received.raw)
        if len(self._items) >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            raise UnavailableError("intake is behind: send it again in a moment", retry_after_s=BUSY_RETRY_S)
        share = self._shares.get(name) or _Share()
        if (share.items + 1) * SHARE > MAX_WAITING or (share.bytes + size) * SHARE > MAX_WAITING_BYTES:
            raise UnavailableError(
                "too much of this connection is waiting: send it again in a moment", retry_after_s=BUSY_RETRY_S
            )
        self._items.append((item, settle))
        self._bytes += size
        share.items += 1
        share.bytes += size
        self._shares[name] = share

    def first(self, most: int) -> list[Waiting]:
        """Return the oldest, at most so many; they stay."""
        return list(islice(self._items, most))

    def take(self, most: int) -> list[Waiting]:
        """Take the oldest, at most so many."""
        taken = [self._items.popleft() for _ in range(min(len(self._items), most))]
        for item, _ in taken:
            name, size = item.received.activity.connection, len(item.received.raw)
            share = self._shares[name]
            self._bytes -= size
            share.items -= 1
            share.bytes -= size
            if not share.items:
                del self._shares[name]
        return taken
