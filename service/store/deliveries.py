"""Deliveries under way in PostgreSQL; implements `ports.store.deliveries.DeliveryStore`.

Rules: one delivery of a channel at a time, and `MOST_AT_ONCE` in all, so that channels that hang leave one child of a
worker for everything else. A channel that failed is tried by one message at a time with the pauses of `domain/line.py`, and
the others wait without using up a try. Whoever counts holds a lock: two workers never see the same free place.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select, text, update

from service.domain.attention import Message, MessageState
from service.domain.ids import ConnectionId, MessageId
from service.domain.line import LONGEST_PAUSE, Line
from service.store.attention import message_of
from service.store.lines import LineRepository
from service.store.tables.attention import messages

MOST_AT_ONCE: Final = 2
"""A containment worker has one child more."""
AGAIN: Final = timedelta(seconds=1)
"""When a message that found no place is looked at again; whoever gives a place back looks at once."""
LONGEST: Final = timedelta(seconds=25)
"""A delivery that takes longer no longer counts: its worker is gone, or its service is slower than our patience."""


class DeliveryRepository:
    """See the port. `now` is when the unit of work began."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._lines = LineRepository(connection, now)

    def claim(self, message_id: MessageId, owner: str, lease: timedelta) -> Message | None:
        """See the port."""
        self._alone()
        query = select(messages).where(
            messages.c.id == message_id,
            messages.c.state == MessageState.QUEUED.value,
            messages.c.due_at <= self._now,
        )
        row = self._connection.execute(query).first()
        if row is None:
            return None
        wait_until = self._closed_until(row.channel, lease)
        if wait_until is None:
            return self._lease(message_id, owner, lease)
        self._connection.execute(update(messages).where(messages.c.id == message_id).values(due_at=wait_until))
        return None

    def claim_next(self, channel: str, owner: str, lease: timedelta) -> Message | None:
        """See the port."""
        self._alone()
        if self._closed_until(channel, lease) is not None:
            return None
        query = (
            select(messages.c.id)
            .where(
                messages.c.channel == channel,
                messages.c.state == MessageState.QUEUED.value,
                messages.c.due_at <= self._now + AGAIN,
            )
            .order_by(messages.c.due_at)
            .limit(1)
        )
        found = self._connection.execute(query).scalar_one_or_none()
        return None if found is None else self._lease(MessageId(found), owner, lease)

    def failed(self, channel: str) -> Line:
        """See the port."""
        return self._lines.fail(_key(channel))

    def note_told(self, channel: str) -> bool:
        """See the port."""
        return self._lines.note_told(_key(channel))

    def worked(self, channel: str) -> None:
        """See the port."""
        self._lines.mend(_key(channel))

    def _alone(self) -> None:
        self._connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('deliveries', 0))"))

    def _closed_until(self, channel: str, lease: timedelta) -> datetime | None:
        """Return until when nothing goes over the channel; None when it may be used now."""
        line = self._lines.line(_key(channel))
        # What lies further ahead than anybody writes was written by a clock that was wrong, and holds nothing up.
        if line is not None and self._now < line.closed_until <= self._now + LONGEST_PAUSE:
            return line.closed_until
        under_way = messages.c.lease_until.between(self._now + lease - LONGEST, self._now + lease)
        query = select(func.count(), func.count().filter(messages.c.channel == channel)).where(
            messages.c.state == MessageState.SENDING.value, under_way
        )
        in_all, here = self._connection.execute(query).one()
        return self._now + AGAIN if here or in_all >= MOST_AT_ONCE else None

    def _lease(self, message_id: MessageId, owner: str, lease: timedelta) -> Message | None:
        row = self._connection.execute(
            update(messages)
            .where(messages.c.id == message_id)
            .values(
                state=MessageState.SENDING.value,
                lease_owner=owner,
                lease_until=self._now + lease,
                attempt=messages.c.attempt + 1,
            )
            .returning(messages)
        ).first()
        return None if row is None else message_of(row)


def _key(channel: str) -> ConnectionId:
    """Return the name of a channel among the lines; no connection's id has a colon."""
    return ConnectionId(f"channel:{channel}")
