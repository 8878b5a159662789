"""Waits for a connection's turn: what all workers together may call of one platform (`domain/pace.py`).

Rules: the count is a row, so that it holds over processes and outlives the broker. No transaction is open while a worker
waits. Which calls are urgent is said by whoever works: a step that tightens, or anything else.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from service.domain.errors import CallDeferredError
from service.domain.ids import ConnectionId
from service.domain.pace import Limit
from service.ports.store.unit import Database

CHILDREN_BUT_ONE: Final = 2
SHORT_PATIENCE_S: Final = 4.0
"""For a poll, and for who may have a worker's last free child: platforms that hang all at once have all children for no
longer than this. An answer that is lost by it is asked for (design D5)."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Implements `ports.custody.Pace` for one connection."""

    db: Database
    connection: ConnectionId
    urgent: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    poll: bool = False
    """Whether this is a question that is asked again anyway; it has no row that counts."""

    def turn(self, per_s: float) -> float | None:
        """See the port. Raises UnavailableError when the database is not there."""
        with self.db.begin() as uow:
            taken = uow.pace.turn(self.connection, Limit(per_s), urgent=self.urgent())
            crowded = self.poll or uow.pace.busy() > CHILDREN_BUT_ONE
        wait_s = taken.wait.total_seconds()
        if taken.after is None:
            raise CallDeferredError(f"{self.connection} is called as often as it may be", retry_after_s=wait_s)
        if wait_s > 0:
            self.sleep(wait_s)
        return SHORT_PATIENCE_S if crowded else None

    def require_open(self) -> None:
        """Raise CallDeferredError while the platform wants no call: before a step writes that it is about to make one."""
        with self.db.begin() as uow:
            until, now = uow.pace.slow_until(self.connection), uow.now
        if until is not None:
            wait_s = (until - now).total_seconds()
            raise CallDeferredError(f"{self.connection} asked for no call just now", retry_after_s=wait_s)

    def slow_down(self, retry_after_s: float) -> None:
        """See the port."""
        with self.db.begin() as uow:
            uow.pace.slow_down(self.connection, timedelta(seconds=retry_after_s))
