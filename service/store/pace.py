"""The pace of connections in PostgreSQL; implements `ports.store.pace.PaceStore`.

A turn is committed without waiting for the disk: what a crash takes back is a few calls too many, never more.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.attention import MessageState
from service.domain.ids import ConnectionId
from service.domain.pace import LONGEST_SLOW, Limit, Pace, Turn, slowed, turn
from service.domain.plan import Lane, StepState
from service.store.tables.attention import messages
from service.store.tables.incident import call_pace, steps

_WORKED_ON: Final = tuple(s.value for s in (StepState.READY, StepState.RUNNING, StepState.VERIFYING, StepState.UNKNOWN))


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
        at_steps = select(func.count()).where(
            steps.c.state.in_(_WORKED_ON), steps.c.lane == Lane.CONTAINMENT.value, steps.c.lease_until > self._now
        )
        sending = select(func.count()).where(
            messages.c.state == MessageState.SENDING.value, messages.c.lease_until > self._now
        )
        return int(
            self._connection.execute(select(at_steps.scalar_subquery() + sending.scalar_subquery())).scalar_one()
        )

    def slow_down(self, connection: ConnectionId, retry_after: timedelta) -> None:
        """See the port."""
        self._write(connection, slowed(self._locked(connection), self._now, retry_after))

    def slow_until(self, connection: ConnectionId) -> datetime | None:
        """See the port."""
        query = select(call_pace.c.slow_until).where(
            call_pace.c.connection_id == connection,
            call_pace.c.slow_until > self._now,
            call_pace.c.slow_until <= self._now + LONGEST_SLOW,
        )
        return self._connection.execute(query).scalar_one_or_none()

    def _locked(self, connection: ConnectionId) -> Pace:
        """Return the pace with its row locked: two workers take two turns."""
        self._connection.execute(text("SET LOCAL synchronous_commit TO off"))
        found = self._connection.execute(
            upsert(call_pace)
            .values(connection_id=connection, used_until=self._now)
            .on_conflict_do_update(index_elements=["connection_id"], set_={"connection_id": connection})
            .returning(call_pace)
        ).one()
        return Pace(found.used_until, found.slow_until)

    def _write(self, connection: ConnectionId, pace: Pace) -> None:
        values = {"used_until": pace.used_until, "slow_until": pace.slow_until}
        self._connection.execute(update(call_pace).where(call_pace.c.connection_id == connection).values(**values))
