"""Polling on PostgreSQL; implements `ports.store.polling`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from service.domain.ids import ConnectionId
from service.ports.custody import PolledEvent
from service.ports.store.polling import Claim
from service.store.tables.polling import poll_cursors, polled_events

POLL_SETTING: Final = "poll_every_s"
KEPT: Final = timedelta(days=1)
"""How long an event is kept after intake took it: far longer than questions overlap."""
FURTHEST: Final = timedelta(hours=1, minutes=1)
"""Further ahead nothing is put off (`flow/poll.py`, `MOST_S`): the clock was set back since."""
_MOST_FORGOTTEN: Final = 2_000
_DUE: Final = text(
    """SELECT c.id FROM connections c LEFT JOIN poll_cursors p ON p.connection_id = c.id
    WHERE c.state = 'active' AND c.config::jsonb ? :setting
    AND (p.due_at IS NULL OR p.due_at <= :now OR p.due_at > :furthest)
    ORDER BY c.id LIMIT :most"""
)


class PollingRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: Any) -> None:
        self._connection = connection
        self._now = now

    def due(self, limit: int) -> Sequence[ConnectionId]:
        """See the port."""
        told = {"setting": POLL_SETTING, "now": self._now, "furthest": self._now + FURTHEST, "most": limit}
        return [ConnectionId(row.id) for row in self._connection.execute(_DUE, told)]

    def claim(self, connection: ConnectionId, again_after: timedelta) -> Claim | None:
        """See the port."""
        due = self._now + again_after
        made = insert(poll_cursors).values(connection_id=connection, due_at=due)
        taken = made.on_conflict_do_update(
            index_elements=["connection_id"],
            set_={"due_at": due},
            where=or_(poll_cursors.c.due_at <= self._now, poll_cursors.c.due_at > self._now + FURTHEST),
        ).returning(poll_cursors.c.cursor)
        row = self._connection.execute(taken).one_or_none()
        return None if row is None else Claim(row.cursor)

    def keep(self, connection: ConnectionId, before: str | None, after: str, events: Sequence[PolledEvent]) -> int:
        """See the port."""
        moved = (
            update(poll_cursors)
            .where(poll_cursors.c.connection_id == connection, poll_cursors.c.cursor.is_not_distinct_from(before))
            .values(cursor=after, answered_at=self._now)
        )
        if not self._connection.execute(moved).rowcount:
            return 0
        self._forget(connection)
        if not events:
            return 0
        rows = [
            {
                "connection_id": connection,
                "event_id": one.event_id,
                "event_type": one.event_type,
                "activity": None if one.activity is None else msgspec.json.encode(one.activity),
                "raw": one.raw,
                "received_at": self._now,
            }
            for one in events
        ]
        new = insert(polled_events).on_conflict_do_nothing().returning(polled_events.c.id)
        return len(self._connection.execute(new, rows).all())

    def _forget(self, connection: ConnectionId) -> None:
        """Delete what intake took long ago, some at a time; should the platform tell it again, intake knows it."""
        gone = (
            select(polled_events.c.id)
            .where(polled_events.c.connection_id == connection, polled_events.c.taken_at < self._now - KEPT)
            .order_by(polled_events.c.taken_at)
            .limit(_MOST_FORGOTTEN)
        )
        self._connection.execute(delete(polled_events).where(polled_events.c.id.in_(gone)))
