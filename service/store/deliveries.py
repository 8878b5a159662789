"""Deliveries under way in PostgreSQL; implements `ports.store.deliveries.DeliveryStore`.

Rules: one delivery of a channel at a time, and `MOST_AT_ONCE` in all, so that channels that hang leave one child of a
worker for everything else. Whichever message a worker was called for, what goes next over its channel is the page of the
most severe incident, the oldest first, then everything else, the oldest first; but `MOST_PASSED` at most go before the
one that waits longest, page or not, so a burst of more urgent ones delays the rest and never stops it. A channel that
failed is tried by one message at a time with the pauses of `domain/line.py`, and the others wait without using up a try.
Whoever counts holds a lock: two workers never see the same free place. Workers' clocks may be `CLOCKS_APART`; what lies
further ahead than that and than anybody writes was written by a clock that was wrong, and holds nothing up.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, or_, select, update

from service.domain.attention import Message, MessageState
from service.domain.ids import ConnectionId, MessageId
from service.domain.line import LONGEST_PAUSE, Line
from service.store import locks
from service.store.attention import CLOCKS_APART, LONGEST_WAIT, message_of
from service.store.lines import LineRepository
from service.store.tables.attention import messages
from service.store.tables.incident import incidents

MOST_AT_ONCE: Final = 2
"""A containment worker has one child more."""
AGAIN: Final = timedelta(seconds=1)
"""When a message that found no place is looked at again; whoever gives a place back looks at once."""
LONGEST: Final = timedelta(seconds=25)
"""A delivery that takes longer no longer counts: its worker is gone, or its service is slower than our patience."""
MOST_PASSED: Final = 9
"""How many go before the one that waits longest: one in ten goes by age alone, however many pages wait."""


class DeliveryRepository:
    """See the port. `now` is when the unit of work began."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._lines = LineRepository(connection, now)

    def claim(self, message_id: MessageId, owner: str, lease: timedelta) -> Message | None:
        """See the port."""
        self._alone()
        query = select(messages.c.channel).where(messages.c.id == message_id, self._waits(self._now))
        channel = self._connection.execute(query).scalar_one_or_none()
        if channel is None:
            return None
        wait_until = self._closed_until(channel, lease)
        if wait_until is None:
            return self._next(channel, owner, lease)
        self._connection.execute(update(messages).where(messages.c.id == message_id).values(due_at=wait_until))
        return None

    def claim_next(self, channel: str, owner: str, lease: timedelta) -> Message | None:
        """See the port."""
        self._alone()
        return None if self._closed_until(channel, lease) is not None else self._next(channel, owner, lease)

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
        locks.take(self._connection, "deliveries")

    def _closed_until(self, channel: str, lease: timedelta) -> datetime | None:
        """Return until when nothing goes over the channel; None when it may be used now."""
        line = self._lines.line(_key(channel))
        if line is not None and self._now < line.closed_until <= self._now + LONGEST_PAUSE + CLOCKS_APART:
            return line.closed_until
        leased = self._now + lease
        under_way = messages.c.lease_until.between(leased - LONGEST, leased + CLOCKS_APART)
        query = select(func.count(), func.count().filter(messages.c.channel == channel)).where(
            messages.c.state == MessageState.SENDING.value, under_way
        )
        in_all, here = self._connection.execute(query).one()
        return self._now + AGAIN if here or in_all >= MOST_AT_ONCE else None

    def _waits(self, until: datetime) -> ColumnElement[bool]:
        """Queued, and due by then."""
        due = or_(messages.c.due_at <= until, messages.c.due_at > self._now + LONGEST_WAIT)
        return and_(messages.c.state == MessageState.QUEUED.value, due)

    def _next(self, channel: str, owner: str, lease: timedelta) -> Message | None:
        """Lease what goes next over a free channel."""
        urgent, oldest = self._first(channel, *_BY_URGENCY), self._first(channel)
        if urgent is None or oldest is None:
            return None
        if urgent.id == oldest.id or oldest.passed >= MOST_PASSED:
            return self._lease(MessageId(oldest.id), owner, lease)
        passed = update(messages).where(messages.c.id == oldest.id).values(passed=messages.c.passed + 1)
        self._connection.execute(passed)
        return self._lease(MessageId(urgent.id), owner, lease)

    def _first(self, channel: str, *order: ColumnElement[Any]) -> Row[Any, Any] | None:
        query = (
            select(messages.c.id, messages.c.passed)
            .join(incidents, incidents.c.id == messages.c.incident_id, isouter=True)
            .where(messages.c.channel == channel, self._waits(self._now + AGAIN))
            .order_by(*order, messages.c.created_at, messages.c.id)
            .limit(1)
        )
        return self._connection.execute(query).first()

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


_SEVERITY: Final = func.coalesce(incidents.c.severity, 0)
"""Of a page's incident as it is now; what belongs to none comes after."""
_BY_URGENCY: Final = (messages.c.page.desc(), case((messages.c.page, _SEVERITY), else_=0).desc())


def _key(channel: str) -> ConnectionId:
    """Return the name of a channel among the lines; no connection's id has a colon."""
    return ConnectionId(f"channel:{channel}")
