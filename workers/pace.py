"""Waits for a connection's turn: what all workers together may call of one platform (`domain/pace.py`).

Rules: the count is a row, so that it holds over processes and outlives the broker. No transaction is open while a worker
waits. Which calls are urgent is said by whoever works: a step that tightens, or anything else. A step's first turn was
taken when the step was claimed (`ahead.py`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from service.domain.errors import CallDeferredError
from service.domain.ids import ConnectionId
from service.domain.pace import Limit, Turn
from service.ports.store.unit import Database
from workers.ahead import Ahead

CHILDREN_BUT_ONE: Final = 2
SHORT_PATIENCE_S: Final = 4.0
"""For a poll, and for who may have a worker's last free child: platforms that hang all at once have all children for no
longer than this, however they answer. An answer that is lost by it is asked for (design D5)."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Implements `ports.custody.Pace` for one connection."""

    db: Database
    connection: ConnectionId
    urgent: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    poll: bool = False
    """Whether this is a question that is asked again anyway; it has no row that counts."""
    ahead: Ahead | None = None

    def turn(self, per_s: float) -> float | None:
        """See the port. Raises UnavailableError when the database is not there."""
        had = None if self.ahead is None else self.ahead.turn(self.connection, per_s)
        busy = None if self.ahead is None else self.ahead.busy()
        if had is None or busy is None:
            had, busy = self._take(per_s, had)
        taken = had
        if taken.after is None:
            raise CallDeferredError(
                f"{self.connection} is called as often as it may be", retry_after_s=taken.wait.total_seconds()
            )
        if taken.wait:
            self.sleep(taken.wait.total_seconds())
        return SHORT_PATIENCE_S if self.poll or busy > CHILDREN_BUT_ONE else None

    def _take(self, per_s: float, had: Turn | None) -> tuple[Turn, int]:
        """Return the turn, taken now if it was not `had`, and how many workers are busy.

        These are counted now, or with the intent; at the claim those who claim at the same moment do not see each other.
        """
        with self.db.begin(on_disk=False) as uow:
            taken = had or uow.pace.turn(self.connection, Limit(per_s), urgent=self.urgent())
            return taken, uow.pace.busy()

    def require_open(self) -> None:
        """Raise CallDeferredError while the platform wants no call: before a step writes that it is about to make one."""
        had = None if self.ahead is None else self.ahead.seen(self.connection)
        if had is None:
            with self.db.begin(on_disk=False) as uow:
                until, now = uow.pace.slow_until(self.connection), uow.now
            wait = None if until is None else until - now
        else:
            wait = had.wait if had.after is None else None
        if wait is not None:
            raise CallDeferredError(f"{self.connection} asked for no call just now", retry_after_s=wait.total_seconds())

    def slow_down(self, retry_after_s: float) -> None:
        """See the port."""
        with self.db.begin(on_disk=False) as uow:
            uow.pace.slow_down(self.connection, timedelta(seconds=retry_after_s))
