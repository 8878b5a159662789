"""Outages of connections in PostgreSQL; implements `ports.store.lines.LineStore`."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.ids import ConnectionId, StepId
from service.domain.line import AGAIN, TRY, Line, unanswered
from service.domain.plan import Effect, Lane, StepState
from service.store.plan_rows import Fields
from service.store.plan_statements import CONNECTION, WORKABLE, among
from service.store.quick import mappings, rows
from service.store.tables.incident import connection_lines, incidents, steps


class LineRepository:
    """See the port. `now` is when the unit of work began."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def admit(self, connection: ConnectionId, step_id: StepId, known: Line | None, most: int) -> datetime | None:
        """See the port."""
        if known is None:
            return self._now + AGAIN if self._busy(connection, step_id) >= most else None
        # Further ahead than any pause: it was written while a clock was wrong.
        if self._now < known.closed_until <= self._now + TRY:
            return known.closed_until
        mine = self._connection.execute(
            update(connection_lines)
            .where(_of(connection), connection_lines.c.closed_until == known.closed_until)
            .values(closed_until=self._now + TRY)
        )
        return None if mine.rowcount == 1 else self._now + TRY

    def make_room(self, connection: ConnectionId) -> StepId | None:
        """See the port."""
        values = {"connection": connection, "now": self._now}
        found = rows(self._connection, _MAKE_ROOM, values)
        return StepId(found[0].id) if found else None

    def line(self, connection: ConnectionId) -> Line | None:
        """See the port."""
        found = mappings(self._connection, _LINE, {"connection": connection})
        return _line(found[0]) if found else None

    def fail(self, connection: ConnectionId) -> Line:
        """See the port."""
        query = select(connection_lines).where(_of(connection)).with_for_update()
        row = self._connection.execute(query).mappings().one_or_none()
        made = unanswered(None if row is None or row["failures"] == 0 else _line(row), self._now)
        values = {"failures": made.failures, "since": made.since, "closed_until": made.closed_until}
        self._connection.execute(
            upsert(connection_lines)
            .values(connection_id=connection, **values)
            .on_conflict_do_update(index_elements=["connection_id"], set_=values)
        )
        return made

    def give_turn(self, connection: ConnectionId) -> None:
        """See the port."""
        self._connection.execute(update(connection_lines).where(_of(connection)).values(closed_until=self._now))

    def note_told(self, connection: ConnectionId) -> bool:
        """See the port."""
        told = self._connection.execute(
            update(connection_lines)
            .where(_of(connection), connection_lines.c.told_at.is_(None))
            .values(told_at=self._now)
        )
        return told.rowcount == 1

    def mend(self, connection: ConnectionId) -> Line | None:
        """See the port."""
        ended = self.line(connection)
        if ended is None:
            return None
        self._connection.execute(update(connection_lines).where(_of(connection)).values(failures=0, told_at=None))
        self._connection.execute(
            update(steps)
            .where(among(steps.c.state, WORKABLE), steps.c.target["connection"].astext == connection)
            .where(steps.c.lease_owner.is_(None), steps.c.due_at > self._now)
            .values(due_at=self._now)
        )
        return ended

    def _busy(self, connection: ConnectionId, step_id: StepId) -> int:
        """Count the connection's other steps that a worker is at just now."""
        values = {"now": self._now, "connection": connection, "step": step_id}
        return int(rows(self._connection, BUSY, values)[0].busy)


_LINE = select(connection_lines).where(
    connection_lines.c.connection_id == bindparam("connection"), connection_lines.c.failures > 0
)
BUSY = select(func.count().label("busy")).where(
    among(steps.c.state, WORKABLE),
    steps.c.lane == Lane.CONTAINMENT.value,
    steps.c.lease_until > bindparam("now"),
    bindparam("connection") == CONNECTION,
    steps.c.id != bindparam("step"),
)

_CROWDED_OUT = (
    select(steps.c.id)
    .join(incidents, incidents.c.id == steps.c.incident_id)
    .where(
        steps.c.state == StepState.READY.value,
        steps.c.lane == Lane.CONTAINMENT.value,
        steps.c.lease_owner.is_(None),
        steps.c.due_at.is_not(None),
        steps.c.target["connection"].astext == bindparam("connection"),
    )
    .order_by(
        steps.c.effect != Effect.TIGHTENS.value, steps.c.position, incidents.c.severity.desc(), steps.c.created_at
    )
    .limit(1)
    .with_for_update(of=steps, skip_locked=True)
    .scalar_subquery()
)
_MAKE_ROOM = update(steps).where(steps.c.id == _CROWDED_OUT).values(due_at=bindparam("now")).returning(steps.c.id)


def _of(connection: ConnectionId) -> ColumnElement[bool]:
    return connection_lines.c.connection_id == connection


def _line(row: Fields) -> Line:
    return Line(row["failures"], row["since"], row["closed_until"], told=row["told_at"] is not None)
