"""What a step's call to its platform needs from the database, read in the transaction that claims the step (ADR 0048).

Rules: connection, sealed secrets and a turn of the pace are read for every step, so a change is used at once; each is
used by that one step, within `FRESH_S`, or thrown away, and what was not read ahead is read when it is needed. A turn
that is not used spares the platform one call. For one thread.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from service.domain.errors import NotFoundError
from service.domain.ids import ConnectionId
from service.domain.pace import Limit, Turn
from service.ports.store.registry import Connection
from service.ports.store.unit import UnitOfWork

FRESH_S: Final = 5.0
OPENED_BY: Final = "containment"
"""The process kind whose secrets are read."""
Rows = tuple[Connection, Mapping[str, bytes]]
"""A connection and its sealed secrets by name."""


class Ahead:
    """Remembers what was read for the step that is being worked on."""

    def __init__(self) -> None:
        self._rates: dict[ConnectionId, float] = {}
        self._at = 0.0
        self._busy: int | None = None
        self._rows: tuple[ConnectionId, Rows] | None = None
        self._taken: tuple[ConnectionId, float, Turn] | None = None
        """With the rate it was taken at."""

    def expect(self, uow: UnitOfWork, connection: ConnectionId, urgent: bool | None) -> None:  # noqa: FBT001  flow's hook
        """Ask for what `read` reads."""
        uow.ask(uow.registry.reached, connection, OPENED_BY)
        rate = self._rates.get(connection)
        if urgent is not None and rate is not None:
            uow.ask(uow.pace.turn, connection, Limit(rate), urgent=urgent)

    def read(self, uow: UnitOfWork, connection: ConnectionId, urgent: bool | None) -> None:  # noqa: FBT001  flow's hook
        """Read for one step; `urgent` None: its platform will not be called."""
        self._rows, self._taken, self._busy, self._at = None, None, None, time.monotonic()
        with suppress(NotFoundError):  # whoever needs it then is told
            self._rows = (connection, uow.registry.reached(connection, OPENED_BY))
        rate = self._rates.get(connection)
        if urgent is not None and rate is not None:
            self._taken = (connection, rate, uow.pace.turn(connection, Limit(rate), urgent=urgent))

    def count(self, uow: UnitOfWork) -> None:
        """Count how many workers are busy, right before a call: those who claim at the same moment do not see each other."""
        self._busy = uow.pace.busy()

    def busy(self) -> int | None:
        """Return what was counted, once."""
        busy, self._busy = self._busy, None
        return busy if self._is_fresh() else None

    def rows(self, connection: ConnectionId) -> Rows | None:
        """Return what was read of this connection, once."""
        read, self._rows = self._rows, None
        return read[1] if read is not None and read[0] == connection and self._is_fresh() else None

    def turn(self, connection: ConnectionId, per_s: float) -> Turn | None:
        """Return the turn that was taken at this rate, once; remember the rate for the next step."""
        self._rates[connection] = per_s
        taken = self.seen(connection)
        at_this_rate = self._taken is not None and self._taken[1] == per_s
        self._taken = None
        return taken if at_this_rate else None

    def seen(self, connection: ConnectionId) -> Turn | None:
        """Return the turn that was taken, or refused, for this connection, and keep it."""
        taken = self._taken
        return taken[2] if taken is not None and taken[0] == connection and self._is_fresh() else None

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._at <= FRESH_S
