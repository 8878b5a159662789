"""Held activities on PostgreSQL; implements `ports.store.clearances.ClearanceStore`."""

from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, exists, select, update
from sqlalchemy.dialects.postgresql import JSONB

from rules.learning import Operation, RecordKind
from rules.signal import Reason
from service.domain.approval import ApprovalState, Subject
from service.domain.clearance import HeldActivity
from service.domain.errors import ConflictError, NotFoundError
from service.domain.ids import ActivityId, ApprovalId
from service.domain.intake import DOUBT, SIGNS, GateDecision, Status
from service.domain.requests import CLEAR
from service.store.tables.activity import activities, decisions, learning, transactions
from service.store.tables.approval import approvals

_ANOMALOUS: Final = ("alert", "hold")
_SAME: Final = ("account", "asset", "destination", "amount_base_units")
_OPEN: Final = (ApprovalState.WAITING.value, ApprovalState.APPROVED.value)


class ClearanceRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def held(self, activity_id: ActivityId) -> HeldActivity:
        """See the port."""
        row = self._connection.execute(select(activities).where(activities.c.id == activity_id)).first()
        if row is None:
            raise NotFoundError(f"there is no activity {activity_id}", field="activity")
        answers = self._connection.execute(
            select(decisions.c.decision).where(decisions.c.activity_id == activity_id)
        ).scalars()
        self._require_clearable(row, set(answers))
        reasons = msgspec.json.decode(row.reasons, type=tuple[Reason, ...]) if row.reasons else ()
        told = {one.feature: one.observed for one in reasons if one.feature in {SIGNS, DOUBT}}
        return HeldActivity(
            id=ActivityId(row.id),
            connection=row.connection_id,
            transaction=row.transaction,
            kind=row.kind,
            account=row.account,
            destination=row.destination,
            asset=row.asset,
            amount_base_units=None if row.amount_base_units is None else int(row.amount_base_units),
            amount_usd=row.amount_usd,
            body_digest=bytes(row.body_digest),
            signs=told.get(SIGNS),
            doubt=told.get(DOUBT),
        )

    def waiting(self, activity_id: ActivityId) -> tuple[ApprovalId, str] | None:
        """See the port."""
        row = self._connection.execute(
            select(approvals.c.id, approvals.c.digest).where(
                approvals.c.subject == Subject.BLIND.value,
                approvals.c.state.in_(_OPEN),
                approvals.c.approve_by > self._now,
                _asks_for(activity_id),
            )
        ).first()
        return None if row is None else (ApprovalId(row.id), row.digest)

    def let_pass(self, held: HeldActivity, approval_id: ApprovalId) -> None:
        """See the port."""
        self._connection.execute(
            update(transactions)
            .where(transactions.c.connection_id == held.connection, transactions.c.ref == held.transaction)
            .values(cleared_by=approval_id)
        )

    def unlearned(self, held: HeldActivity) -> tuple[int, bytes] | None:
        """See the port."""
        first = select(transactions.c.activity_id).where(
            transactions.c.connection_id == held.connection, transactions.c.ref == held.transaction
        )
        row = self._connection.execute(
            select(learning.c.seq, learning.c.payload)
            .join(activities, (activities.c.seq == learning.c.seq) & (activities.c.id == learning.c.subject))
            .where(
                learning.c.kind == RecordKind.ACTIVITY.value,
                learning.c.operation == Operation.SKIP.value,
                activities.c.id.in_([held.id, first.scalar_subquery()]),
                *(activities.c[name].is_not_distinct_from(getattr(held, name)) for name in _SAME),
            )
            .order_by((activities.c.id == held.id).desc())
        ).first()
        return None if row is None else (row.seq, bytes(row.payload))

    def _require_clearable(self, row: Row[Any], answers: set[str]) -> None:
        if GateDecision.REJECT.value in answers:
            raise ConflictError(f"activity {row.id} was rejected: its bytes are not what is shown, that is final")
        if row.decision not in _ANOMALOUS and GateDecision.HOLD.value not in answers:
            raise ConflictError(f"activity {row.id} is not held: there is nothing to clear")
        state = self._connection.execute(
            select(transactions.c.cleared_by).where(
                transactions.c.connection_id == row.connection_id, transactions.c.ref == row.transaction
            )
        ).first()
        if state is None or row.status == Status.UNATTRIBUTED.value:
            raise ConflictError(f"activity {row.id} belongs to no transaction of a registered account")
        if self._connection.execute(select(exists().where(_asks_for(row.id), approvals.c.id == state[0]))).scalar():
            raise ConflictError(f"activity {row.id} was cleared already by {state[0]}")


def _asks_for(activity_id: str) -> Any:
    return approvals.c.document.cast(JSONB).contains({"what": [{"action": CLEAR, "target": {"value": activity_id}}]})
