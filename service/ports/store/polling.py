"""Where each connection's polling stands, and what it brought."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from service.domain.ids import ConnectionId
from service.ports.custody import PolledEvent


class Claim(NamedTuple):
    """The right to ask one connection now."""

    cursor: str | None


class PollingStore(Protocol):
    """Written by the containment worker."""

    def due(self, limit: int) -> Sequence[ConnectionId]:
        """Connections whose setting `poll_every_s` says that they are to be asked now."""
        ...

    def claim(self, connection: ConnectionId, again_after: timedelta) -> Claim | None:
        """Take the turn of a connection that is due; None when it is not, or another worker has it."""
        ...

    def keep(self, connection: ConnectionId, before: str | None, after: str, events: Sequence[PolledEvent]) -> int:
        """Keep what came and how far it reaches, unless another worker went on meanwhile; return how much was new."""
        ...


class WaitingEvent(NamedTuple):
    """One event that intake has not taken yet."""

    id: int
    connection: ConnectionId
    event_id: str
    event_type: str
    activity: bytes | None
    raw: bytes
    received_at: datetime


class PolledStore(Protocol):
    """Read by the API. Every method raises UnavailableError when the database is not there."""

    async def waiting(self, limit: int, after: int) -> Sequence[WaitingEvent]:
        """The oldest events that wait, of those with a greater id."""
        ...

    async def taken(self, ids: Sequence[int]) -> None:
        """Note that intake has them."""
        ...
