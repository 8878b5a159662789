"""Timers, pages, messages and reviews on PostgreSQL; implements `ports.store.attention.AttentionStore`."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.attention import (
    RETRY_AFTER_S,
    Audience,
    Message,
    MessageState,
    Page,
    Reachable,
    StandingMandate,
    Timer,
)
from service.domain.errors import NotFoundError
from service.domain.ids import IncidentId, MessageId, new_id
from service.domain.looks import LOOK
from service.store.quick import send
from service.store.tables.approval import mandates
from service.store.tables.attention import escalations, messages, reviews, timers
from service.store.tables.proof import timeline
from service.store.tables.registry import channels, people

CLOCKS_APART: Final = timedelta(seconds=5)
"""How far the clocks of two workers may differ."""
LONGEST_WAIT: Final = timedelta(seconds=max(RETRY_AFTER_S)) + CLOCKS_APART
"""No message is put off for longer: a due time further ahead was written by a clock that was wrong, and is over."""
_LONGEST_LEASE: Final = timedelta(minutes=1) + CLOCKS_APART
"""The same for leases."""
_SET_TIMER: Final = upsert(timers).inline().on_conflict_do_nothing()
_IS_LOOK: Final = timers.c.kind.startswith(LOOK)


def message_of(row: Row[Any]) -> Message:
    """Build a message from its row."""
    return Message(
        id=MessageId(row.id),
        incident_id=None if row.incident_id is None else IncidentId(row.incident_id),
        approval_id=row.approval_id,
        audience=Audience(row.audience),
        channel=row.channel,
        recipient=row.recipient,
        subject=row.subject,
        body=row.body,
        state=MessageState(row.state),
        idempotency_key=row.idempotency_key,
        attempt=row.attempt,
        page=row.page,
    )


def _timer_of(row: Row[Any]) -> Timer:
    return Timer(row.id, row.kind, row.subject, row.payload, row.due_at)


def _audiences(config: Mapping[str, object]) -> Sequence[object]:
    """Return whom a channel is for: nobody, where that is malformed, so that it does not silence the others."""
    told = config.get("audiences")
    return told if isinstance(told, list) else ()


class AttentionRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def set_timer(self, kind: str, subject: str, due_at: datetime, payload: Mapping[str, str]) -> None:
        """Set a timer that is not there yet."""
        timer = {
            "id": new_id("tmr"),
            "kind": kind,
            "subject": subject,
            "due_at": due_at,
            "payload": json.dumps(dict(payload)),
        }
        send(self._connection, _SET_TIMER, timer)

    def cancel_timers(self, subject: str) -> None:
        """Cancel a subject's waiting timers."""
        self._connection.execute(
            update(timers)
            .where(timers.c.subject == subject, timers.c.fired_at.is_(None))
            .values(cancelled_at=self._now)
        )

    def hasten_timers(self, subject: str, due_at: datetime) -> bool:
        """Bring waiting timers forward."""
        waiting = and_(timers.c.subject == subject, timers.c.fired_at.is_(None), timers.c.cancelled_at.is_(None))
        hastened = update(timers).where(waiting).values(due_at=func.least(timers.c.due_at, due_at))
        return self._connection.execute(hastened).rowcount > 0

    def claim_timer(self, timer_id: str) -> Timer | None:
        """See the port."""
        return self._fire(~_IS_LOOK, timer_id)

    def claim_look(self, timer_id: str) -> Timer | None:
        """See the port."""
        return self._fire(_IS_LOOK, timer_id)

    def due_timers(self, limit: int) -> Sequence[str]:
        """See the port."""
        return self._late(~_IS_LOOK, limit)

    def due_looks(self, limit: int) -> Sequence[str]:
        """See the port."""
        return self._late(_IS_LOOK, limit)

    def _fire(self, which: ColumnElement[bool], timer_id: str) -> Timer | None:
        mine = and_(timers.c.id == timer_id, which, self._is_late())
        fired = update(timers).where(mine).values(fired_at=self._now).returning(timers)
        row = self._connection.execute(fired).first()
        return None if row is None else _timer_of(row)

    def _late(self, which: ColumnElement[bool], limit: int) -> Sequence[str]:
        late = select(timers.c.id).where(self._is_late(), which).order_by(timers.c.due_at).limit(limit)
        return self._connection.execute(late).scalars().all()

    def _is_late(self) -> ColumnElement[bool]:
        return and_(timers.c.fired_at.is_(None), timers.c.cancelled_at.is_(None), timers.c.due_at <= self._now)

    def reachable(self) -> Sequence[Reachable]:
        """List active persons with their routes."""
        existing = {row.id: row for row in self._connection.execute(select(channels))}
        mail = [name for name, row in existing.items() if row.kind == "smtp"]
        found = []
        for row in self._connection.execute(select(people).where(people.c.state == "active").order_by(people.c.id)):
            chosen = [(r["channel"], r["recipient"]) for r in row.channels if r.get("channel") in existing]
            by_mail = next(((name, row.email) for name in mail), None)
            routes = chosen or ([by_mail] if by_mail is not None else [])
            last = None if by_mail in routes else by_mail
            found.append(Reachable(row.id, row.name, tuple(row.roles), row.oncall_level, tuple(routes), last))
        return found

    def staff_routes(self) -> frozenset[tuple[str, str]]:
        """Gather the routes of people and of the responders' channels."""
        people_s = {
            route for p in self.reachable() for route in (*p.routes, *((p.last_resort,) if p.last_resort else ()))
        }
        shared = {*self.channels_for(Audience.RESPONDERS.value), *self.channels_for(Audience.APPROVERS.value)}
        return frozenset((people_s | shared) - set(self.channels_for(Audience.USERS.value)))

    def channels_for(self, audience: str) -> Sequence[tuple[str, str]]:
        """List the channels configured for an audience."""
        rows = self._connection.execute(select(channels).order_by(channels.c.id))
        return [(row.id, str(row.config.get("recipient", ""))) for row in rows if audience in _audiences(row.config)]

    def add_page(self, page: Page) -> bool:
        """Note a page once."""
        result = self._connection.execute(
            upsert(escalations)
            .values(
                id=new_id("pag"),
                incident_id=page.incident_id,
                level=page.level,
                person_id=page.person_id,
                reason=page.reason,
                paged_at=page.paged_at,
            )
            .on_conflict_do_nothing()
            .returning(escalations.c.id)
        )
        return result.first() is not None

    def pages(self, incident_id: IncidentId) -> Sequence[Page]:
        """List an incident's pages."""
        rows = self._connection.execute(
            select(escalations).where(escalations.c.incident_id == incident_id).order_by(escalations.c.paged_at)
        )
        return [Page(incident_id, r.level, r.person_id, r.reason, r.paged_at, r.acknowledged_at) for r in rows]

    def acknowledge_pages(self, incident_id: IncidentId) -> None:
        """Mark an incident's pages as answered."""
        self._connection.execute(
            update(escalations)
            .where(escalations.c.incident_id == incident_id, escalations.c.acknowledged_at.is_(None))
            .values(acknowledged_at=self._now)
        )

    def mandates_in_force(self, scope: str, incident: Mapping[str, str]) -> Sequence[StandingMandate]:
        """List the mandates whose every limit the incident meets."""
        rows = self._connection.execute(
            select(mandates).where(mandates.c.scope == scope, mandates.c.expires_at > self._now).order_by(mandates.c.id)
        )
        return [
            StandingMandate(row.id, row.scope, {n: tuple(v) for n, v in row.limits.items()}, row.approval_id)
            for row in rows
            if all(incident.get(name) in allowed for name, allowed in row.limits.items())
        ]

    def add_message(self, message: Message) -> bool:
        """Insert a message once."""
        result = self._connection.execute(
            upsert(messages)
            .values(
                id=message.id,
                incident_id=message.incident_id,
                approval_id=message.approval_id,
                audience=message.audience.value,
                channel=message.channel,
                recipient=message.recipient,
                subject=message.subject,
                body=message.body,
                state=message.state.value,
                idempotency_key=message.idempotency_key,
                page=message.page,
                due_at=self._now,
                created_at=self._now,
            )
            .on_conflict_do_nothing()
            .returning(messages.c.id)
        )
        return result.first() is not None

    def message(self, message_id: MessageId) -> Message:
        """Read and lock one message."""
        row = self._connection.execute(select(messages).where(messages.c.id == message_id).with_for_update()).first()
        if row is None:
            raise NotFoundError(f"there is no message {message_id}")
        return message_of(row)

    def messages_of(self, incident_id: IncidentId) -> Sequence[Message]:
        """List an incident's messages."""
        query = select(messages).where(messages.c.incident_id == incident_id).order_by(messages.c.id)
        return [message_of(row) for row in self._connection.execute(query)]

    def abandon_message(self, message_id: MessageId, reason: str) -> Message | None:
        """Settle a message whose sender is gone."""
        row = self._connection.execute(
            update(messages)
            .where(
                messages.c.id == message_id,
                messages.c.state == MessageState.SENDING.value,
                self._deserted(),
            )
            .values(state=MessageState.UNKNOWN.value, reason=reason, lease_owner=None, lease_until=None)
            .returning(messages)
        ).first()
        return None if row is None else message_of(row)

    def settle_message(
        self,
        message_id: MessageId,
        state: MessageState,
        *,
        receipt: Mapping[str, str] | None = None,
        reason: str | None = None,
        due_at: datetime | None = None,
    ) -> None:
        """Store how a delivery ended."""
        self._connection.execute(
            update(messages)
            .where(messages.c.id == message_id)
            .values(
                state=state.value,
                receipt=None if receipt is None else dict(receipt),
                reason=reason,
                due_at=due_at,
                lease_owner=None,
                lease_until=None,
                sent_at=self._now if state is MessageState.SENT else None,
            )
        )

    def bind_messages(self, message_ids: Sequence[MessageId], approval_id: str) -> None:
        """Name the approval that held messages wait for."""
        self._connection.execute(
            update(messages).where(messages.c.id.in_(list(message_ids))).values(approval_id=approval_id)
        )

    def release_messages(self, approval_id: str) -> Sequence[MessageId]:
        """Queue what was held for an approval."""
        rows = self._connection.execute(
            update(messages)
            .where(messages.c.approval_id == approval_id, messages.c.state == MessageState.HELD.value)
            .values(state=MessageState.QUEUED.value, due_at=self._now)
            .returning(messages.c.id)
        )
        return [MessageId(row.id) for row in rows]

    def drop_messages(self, approval_id: str, reason: str) -> Sequence[MessageId]:
        """Drop what was held for an approval that ended."""
        rows = self._connection.execute(
            update(messages)
            .where(messages.c.approval_id == approval_id, messages.c.state == MessageState.HELD.value)
            .values(state=MessageState.DROPPED.value, reason=reason)
            .returning(messages.c.id)
        )
        return [MessageId(row.id) for row in rows]

    def due_messages(self, limit: int) -> Sequence[MessageId]:
        """List messages that are late, pages first: due for two seconds, or leased by a worker that is gone."""
        waits = and_(messages.c.state == MessageState.QUEUED.value, self._due(self._now - timedelta(seconds=2)))
        left = and_(messages.c.state == MessageState.SENDING.value, self._deserted())
        first = (messages.c.page.desc(), messages.c.due_at)
        rows = self._connection.execute(select(messages.c.id).where(or_(waits, left)).order_by(*first).limit(limit))
        return [MessageId(row.id) for row in rows]

    def _due(self, until: datetime) -> ColumnElement[bool]:
        return or_(messages.c.due_at <= until, messages.c.due_at > self._now + LONGEST_WAIT)

    def _deserted(self) -> ColumnElement[bool]:
        """Whether nobody sends it any more: the lease is over, or a clock that was wrong wrote it."""
        return or_(messages.c.lease_until < self._now, messages.c.lease_until > self._now + _LONGEST_LEASE)

    def timeline_of(self, incident_id: IncidentId) -> Sequence[Mapping[str, object]]:
        """Read an incident's timeline."""
        rows = self._connection.execute(
            select(timeline).where(timeline.c.incident_id == incident_id).order_by(timeline.c.at, timeline.c.id)
        )
        return [dict(row._mapping) for row in rows]  # noqa: SLF001  SQLAlchemy's public name for a row as a mapping

    def save_review(self, incident_id: IncidentId, body: str, html: str) -> bool:
        """Store a review once."""
        result = self._connection.execute(
            upsert(reviews)
            .values(incident_id=incident_id, body=body, html=html, created_at=self._now)
            .on_conflict_do_nothing()
            .returning(reviews.c.incident_id)
        )
        return result.first() is not None
