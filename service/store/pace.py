"""The pace of connections in PostgreSQL; implements `ports.store.pace.PaceStore`.

Whoever takes a turn need not wait for the disk: what a crash takes back is a few calls too many, never more.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import DateTime

from service.domain.attention import MessageState
from service.domain.ids import ConnectionId
from service.domain.pace import LONGEST_SLOW, Limit, Pace, Turn, slowed, turn
from service.domain.plan import Lane
from service.store.plan_statements import WORKABLE, among
from service.store.quick import rows, send
from service.store.tables.attention import messages
from service.store.tables.incident import call_pace, steps


class PaceRepository:
    """See the port. `now` is when the unit of work began."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def turn(self, connection: ConnectionId, limit: Limit, *, urgent: bool) -> Turn:
        """See the port."""
        taken = turn(self._locked(connection), limit, self._now, urgent=urgent)
        if taken.after is not None:
            self._write(connection, taken.after)
        return taken

    def busy(self) -> int:
        """See the port."""
        return int(rows(self._connection, BUSY, {"now": self._now})[0].busy)

    def slow_down(self, connection: ConnectionId, retry_after: timedelta) -> None:
        """See the port."""
        self._write(connection, slowed(self._locked(connection), self._now, retry_after))

    def slow_until(self, connection: ConnectionId) -> datetime | None:
        """See the port."""
        values = {"connection": connection, "now": self._now, "furthest": self._now + LONGEST_SLOW}
        return self._connection.execute(_SLOW_UNTIL, values).scalar_one_or_none()

    def _locked(self, connection: ConnectionId) -> Pace:
        """Return the pace with its row locked, because two workers take two turns."""
        found = rows(self._connection, _LOCKED, {"connection": connection, "now": self._now})[0]
        return Pace(found.used_until, found.slow_until)

    def _write(self, connection: ConnectionId, pace: Pace) -> None:
        values = {"connection": connection, "used": pace.used_until, "slow": pace.slow_until}
        send(self._connection, _WRITE, values)


_NOW: Final = bindparam("now", type_=DateTime(timezone=True))
_SLOW_UNTIL: Final = select(call_pace.c.slow_until).where(
    call_pace.c.connection_id == bindparam("connection"),
    call_pace.c.slow_until > _NOW,
    call_pace.c.slow_until <= bindparam("furthest"),
)
BUSY: Final = select(
    (
        select(func.count())
        .where(among(steps.c.state, WORKABLE), steps.c.lane == Lane.CONTAINMENT.value, steps.c.lease_until > _NOW)
        .scalar_subquery()
        + select(func.count())
        .where(messages.c.state == MessageState.SENDING.value, messages.c.lease_until > _NOW)
        .scalar_subquery()
    ).label("busy")
)
_LOCKED: Final = (
    upsert(call_pace)
    .values(connection_id=bindparam("connection"), used_until=_NOW)
    .on_conflict_do_update(index_elements=["connection_id"], set_={"connection_id": call_pace.c.connection_id})
    .returning(call_pace)
)
_WRITE: Final = (
    update(call_pace)
    .where(call_pace.c.connection_id == bindparam("connection"))
    .values(used_until=bindparam("used"), slow_until=bindparam("slow"))
)
"""Made once, as the others: every hold waits for them."""
