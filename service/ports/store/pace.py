"""How fast platforms are called, as rows: counted by all workers together."""

from datetime import datetime, timedelta
from typing import Protocol

from service.domain.ids import ConnectionId
from service.domain.pace import Limit, Turn


class PaceStore(Protocol):
    """Written by whoever calls platforms."""

    def turn(self, connection: ConnectionId, limit: Limit, *, urgent: bool) -> Turn:
        """Take one turn to call a platform, or learn when there may be one."""
        ...

    def busy(self) -> int:
        """Return how many steps at platforms and deliveries workers are at just now, as far as their claims are committed.

        So whoever asks after the commit of his own claim misses nobody who claimed before him.
        """
        ...

    def slow_down(self, connection: ConnectionId, retry_after: timedelta) -> None:
        """Note that the platform asked for no call in that time."""
        ...

    def slow_until(self, connection: ConnectionId) -> datetime | None:
        """Return until when the platform asked for no call; None when it did not, or that is over."""
        ...
