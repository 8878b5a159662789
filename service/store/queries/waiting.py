"""What waits, counted: for the health page of those who may read."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, FromClause, func, select
from sqlalchemy.sql.elements import ColumnElement

from service.domain.approval import ApprovalState
from service.domain.incident import IncidentState
from service.domain.plan import StepState
from service.store.tables.activity import learning
from service.store.tables.approval import approvals
from service.store.tables.attention import messages
from service.store.tables.incident import incidents, steps
from service.store.tables.proof import outbox


def waiting_since(connection: Connection) -> datetime | None:
    """Return when the oldest event that no worker has taken yet was written."""
    return connection.execute(select(func.min(outbox.c.created_at)).where(outbox.c.published_at.is_(None))).scalar()


def last_sequence(connection: Connection) -> int:
    """Return the number of the last row of the learning sequence; 0 when there is none."""
    return int(connection.execute(select(func.coalesce(func.max(learning.c.seq), 0))).scalar_one())


def counts(connection: Connection) -> Mapping[str, int]:
    """Return how many incidents are open, steps unknown, approvals waiting, messages undelivered."""

    def count(table: FromClause, condition: ColumnElement[bool]) -> int:
        return connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one()

    return {
        "open_incidents": count(incidents, incidents.c.state != IncidentState.CLOSED.value),
        "steps_unknown": count(steps, steps.c.state == StepState.UNKNOWN.value),
        "approvals_waiting": count(approvals, approvals.c.state == ApprovalState.WAITING.value),
        "messages_undelivered": count(messages, messages.c.state.in_(["failed", "unknown"])),
    }
