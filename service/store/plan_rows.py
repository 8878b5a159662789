"""Plans and steps as rows of PostgreSQL, and back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

import structlog
from sqlalchemy import RowMapping

from service.domain.ids import ApprovalId, ConnectionId, IncidentId, PlanId, StepId
from service.domain.plan import Effect, Lane, Plan, Receipt, Step, StepState, Target

Fields = RowMapping | Mapping[str, Any]
"""A row by its columns, from SQLAlchemy or from the driver itself."""


NEW_STEP: Final = (
    "id",
    "plan_id",
    "incident_id",
    "position",
    "action",
    "target",
    "params",
    "effect",
    "lane",
    "state",
    "idempotency_key",
    "after",
    "approval_id",
    "reason",
    "trace_id",
    "created_at",
    "ready_at",
)
"""The columns of a new step; the others have their defaults."""


def row_of(step: Step, created_at: datetime) -> dict[str, object]:
    """Return the row that a new step becomes, as JSON; it carries the trace id of whoever makes it."""
    target, at = step.target, created_at.isoformat()
    return {
        "id": step.id,
        "plan_id": step.plan_id,
        "incident_id": step.incident_id,
        "position": step.position,
        "action": step.action,
        "target": {
            "kind": target.kind,
            "connection": target.connection,
            "value": target.value,
            "account": target.account,
        },
        "params": dict(step.params),
        "effect": step.effect.value,
        "lane": step.lane.value,
        "state": step.state.value,
        "idempotency_key": step.idempotency_key,
        "after": list(step.after),
        "approval_id": step.approval_id,
        "reason": step.reason,
        "trace_id": structlog.contextvars.get_contextvars().get("trace_id"),
        "created_at": at,
        "ready_at": at if step.state is StepState.READY else None,
    }


def step_of(row: Fields) -> Step:
    """Return the step that a row of `steps` holds."""
    receipt = cast("dict[str, Any] | None", row["receipt"])
    target = row["target"]
    return Step(
        id=StepId(row["id"]),
        plan_id=PlanId(row["plan_id"]),
        incident_id=IncidentId(row["incident_id"]),
        position=row["position"],
        action=row["action"],
        target=Target(target["kind"], ConnectionId(target["connection"]), target["value"], target["account"]),
        params=row["params"],
        effect=Effect(row["effect"]),
        lane=Lane(row["lane"]),
        state=StepState(row["state"]),
        idempotency_key=row["idempotency_key"],
        attempt=row["attempt"],
        fence=row["fence"],
        after=tuple(StepId(one) for one in row["after"]),
        approval_id=None if row["approval_id"] is None else ApprovalId(row["approval_id"]),
        receipt=None if receipt is None else Receipt(receipt["reference"], receipt["facts"]),
        reason=row["reason"],
        deadline_at=row["deadline_at"],
    )


def plan_of(row: RowMapping) -> Plan:
    """Return the plan that a row of `plans` holds, without its steps."""
    return Plan(
        id=PlanId(row["id"]),
        incident_id=IncidentId(row["incident_id"]),
        playbook=row["playbook"],
        playbook_digest=row["playbook_digest"],
        policy_digest=row["policy_digest"],
        compromised=row["compromised"],
        digest=row["digest"],
        created_at=row["created_at"],
        steps=(),
        alerts=row["alerts"],
    )
