"""Plans, steps and gate holds in PostgreSQL; implements `ports.store.plans.PlanStore`.

The lease is a compare-and-swap in one UPDATE; the fence it returns is part of the WHERE clause of every later write, so
a worker that was taken over changes no row. Transitions are judged by `domain.plan.allowed` in the statement's own
transaction, under the row lock that the UPDATE or `FOR UPDATE` holds.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NoReturn

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.errors import ConflictError, NotFoundError, StaleFenceError
from service.domain.ids import ApprovalId, ConnectionId, IncidentId, PlanId, StepId, new_id
from service.domain.incident import IncidentState
from service.domain.places import address_of
from service.domain.plan import FINISHED, Effect, Lane, Plan, Step, StepState, allowed
from service.domain.settlement import require_unknown
from service.ports.store.plans import Change, Claim, DueStep, Touched
from service.store import locks
from service.store.plan_rows import plan_of, row_of, step_of
from service.store.plan_statements import (
    ADD,
    ADD_STEPS,
    CLAIM,
    FREE,
    FURTHEST,
    GRACE,
    INTEND,
    IS_PLANNED,
    KNOWN_ALERTS,
    MINE,
    NOT_BEGUN,
    PASSED,
    STEP,
    STEPS_OF,
    TOUCHED,
    WORKABLE,
    WRITE,
    among,
    before,
    is_over,
)
from service.store.quick import mappings, rows, send
from service.store.tables.incident import alerts, gate_holds, incidents, plans, steps


class PlanRepository:
    """See the port. `now` is when the unit of work began."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def add(self, plan: Plan, document: str) -> None:
        """See the port."""
        send(
            self._connection,
            ADD,
            {
                "id": plan.id,
                "incident_id": plan.incident_id,
                "playbook": plan.playbook,
                "playbook_digest": plan.playbook_digest,
                "policy_digest": plan.policy_digest,
                "compromised": plan.compromised,
                "digest": plan.digest,
                "document": document,
                "created_at": plan.created_at,
                "alerts": plan.alerts,
            },
        )
        if plan.steps:
            made = [row_of(step, plan.created_at) for step in plan.steps]
            send(self._connection, ADD_STEPS, {"rows": json.dumps(made)})

    def of_incident(self, incident_id: IncidentId) -> tuple[Plan, ...]:
        """See the port."""
        rows = self._connection.execute(select(plans).where(plans.c.incident_id == incident_id).order_by(plans.c.id))
        found = [plan_of(row) for row in rows.mappings()]
        every = self.steps_of(incident_id)
        return tuple(replace(plan, steps=tuple(s for s in every if s.plan_id == plan.id)) for plan in found)

    def is_planned(self, incident_id: IncidentId) -> bool:
        """See the port."""
        return bool(rows(self._connection, IS_PLANNED, {"incident": incident_id}))

    def known_alerts(self, incident_id: IncidentId) -> Mapping[PlanId, int]:
        """See the port."""
        found = rows(self._connection, KNOWN_ALERTS, {"incident": incident_id})
        return {PlanId(row.id): row.alerts for row in found}

    def document(self, plan_id: PlanId) -> str:
        """See the port."""
        found = self._connection.execute(select(plans.c.document).where(plans.c.id == plan_id)).scalar_one_or_none()
        if found is None:
            raise NotFoundError(f"there is no plan {plan_id}")
        return str(found)

    def step(self, step_id: StepId) -> Step:
        """See the port."""
        found = mappings(self._connection, STEP, {"step": step_id})
        if not found:
            raise NotFoundError(f"there is no step {step_id}")
        return step_of(found[0])

    def steps_of(self, incident_id: IncidentId) -> tuple[Step, ...]:
        """See the port."""
        return tuple(step_of(row) for row in mappings(self._connection, STEPS_OF, {"incident": incident_id}))

    def steps_of_approval(self, approval_id: ApprovalId) -> tuple[Step, ...]:
        """See the port."""
        query = select(steps).where(steps.c.approval_id == approval_id).order_by(steps.c.plan_id, steps.c.position)
        return tuple(step_of(row) for row in self._connection.execute(query).mappings())

    def open_loosenings(self, incident_id: IncidentId, *, lock: bool = False) -> tuple[Step, ...]:
        """See the port."""
        unbegun = among(steps.c.state, [state.value for state in NOT_BEGUN])
        query = select(steps).where(steps.c.incident_id == incident_id, _LOOSENS, unbegun)
        query = query.order_by(steps.c.plan_id, steps.c.position)
        found = self._connection.execute(query.with_for_update() if lock else query)
        return tuple(step_of(row) for row in found.mappings())

    def loosened_since(self, incident_id: IncidentId) -> bool:
        """See the port."""
        newest = select(func.max(alerts.c.place)).where(alerts.c.incident_id == incident_id).scalar_subquery()
        ended = (StepState.REFUSED.value, StepState.EXPIRED.value)
        query = (
            select(steps.c.id)
            .join(plans, plans.c.id == steps.c.plan_id)
            .where(steps.c.incident_id == incident_id, _LOOSENS, steps.c.state.not_in(ended), plans.c.alerts >= newest)
        )
        return self._connection.execute(query.limit(1)).first() is not None

    def release(self, approval_id: ApprovalId) -> tuple[Step, ...]:
        """See the port."""
        self._lock_approval(approval_id)
        waiting = [s for s in self.steps_of_approval(approval_id) if s.state is StepState.WAITING_APPROVAL]
        return tuple(self.move(step.id, StepState.READY) for step in waiting)

    def give_up(self, approval_id: ApprovalId, state: StepState, reason: str) -> tuple[Step, ...]:
        """See the port."""
        self._lock_approval(approval_id)
        locked = select(steps).where(steps.c.approval_id == approval_id).order_by(steps.c.id).with_for_update()
        # What a worker begins meanwhile is not given up: its call is on its way.
        unbegun = [s for row in self._connection.execute(locked).mappings() if (s := step_of(row)).state in NOT_BEGUN]
        return tuple(self.move(step.id, state, reason=reason) for step in unbegun)

    def move(self, step_id: StepId, new: StepState, *, reason: str | None = None) -> Step:
        """See the port."""
        _judge(step_id, self._step_for_update(step_id).state, new)
        values: dict[str, object] = {"state": new.value}
        if reason is not None:
            values["reason"] = reason
        if new is StepState.READY:
            values |= {"ready_at": self._now, "due_at": None}
        if new in FINISHED:
            values["finished_at"] = self._now
        changed = self._connection.execute(update(steps).where(steps.c.id == step_id).values(**values).returning(steps))
        return step_of(changed.mappings().one())

    def do_again(self, step_id: StepId) -> Step:
        """See the port."""
        _judge(step_id, self._step_for_update(step_id).state, StepState.RUNNING)
        values = {"state": StepState.RUNNING.value, "due_at": self._now, "deadline_at": None, "finished_at": None}
        changed = self._connection.execute(update(steps).where(steps.c.id == step_id).values(**values).returning(steps))
        return step_of(changed.mappings().one())

    def take_unknown(self, step_id: StepId) -> Step:
        """See the port."""
        require_unknown(self._step_for_update(step_id))
        taken = {"fence": steps.c.fence + 1, "lease_owner": None, "lease_until": None}
        changed = self._connection.execute(update(steps).where(steps.c.id == step_id).values(**taken).returning(steps))
        return step_of(changed.mappings().one())

    def claim(self, step_id: StepId, *, owner: str, lease: timedelta) -> Claim | None:
        """See the port."""
        values = {"step": step_id, "now": self._now, "lease_owner": owner, "lease_until": self._now + lease}
        found = mappings(self._connection, CLAIM, values)
        return Claim(step_of(found[0]), found[0]["intent_at"]) if found else None

    def put_off(self, step_id: StepId, fence: int, until: datetime) -> None:
        """See the port."""
        self._fenced(step_id, fence, {"lease_owner": None, "lease_until": None, "due_at": until})

    def extend(self, step_id: StepId, fence: int, lease: timedelta) -> None:
        """See the port."""
        self._fenced(
            step_id, fence, {"lease_until": literal(self._now + lease) + PASSED}, steps.c.lease_until > self._now
        )

    def require_lease(self, step_id: StepId, fence: int) -> None:
        """See the port."""
        if not rows(self._connection, MINE, {"step": step_id, "its_fence": fence, "now": self._now}):
            raise _taken_over(step_id, fence)

    def intend(self, step_id: StepId, fence: int, deadline_at: datetime) -> None:
        """See the port."""
        values = {"step": step_id, "its_fence": fence, "now": self._now, "latest": deadline_at}
        if not rows(self._connection, INTEND, values):
            self._explain(step_id, fence, StepState.RUNNING)

    def write(self, step_id: StepId, fence: int, change: Change, *, keep_lease: bool = False) -> None:
        """See the port."""
        receipt, verdict = change.receipt, change.verdict
        told = None if receipt is None else {"reference": receipt.reference, "facts": dict(receipt.facts)}
        values = {
            "step": step_id,
            "its_fence": fence,
            "before": before(change.state),
            "state": change.state.value,
            "due_at": change.due_at,
            "keep_lease": keep_lease,
            "receipt": None if told is None else json.dumps(told),
            "reason": change.reason,
            "verdict": None if verdict is None else verdict.value,
            "deadline_at": change.deadline_at,
            "confirm_by": change.confirm_by,
            "did_nothing": change.did_nothing,
            "free": int(change.free),
            "finished_at": self._now if change.state in FINISHED else None,
        }
        if not rows(self._connection, WRITE, values):
            self._explain(step_id, fence, change.state)

    def due(self, *, limit: int, lanes: Iterable[Lane]) -> tuple[DueStep, ...]:
        """See the port."""
        unheard = case((steps.c.state == StepState.READY.value, steps.c.ready_at + GRACE))
        when = func.coalesce(steps.c.due_at, steps.c.lease_until, unheard)
        found = self._connection.execute(
            select(steps.c.id, steps.c.lane, steps.c.trace_id, when.label("due"))
            .where(steps.c.state.in_(WORKABLE), steps.c.lane.in_([lane.value for lane in lanes]))
            .where(FREE, is_over(when, FURTHEST))
            .order_by(when, steps.c.position, steps.c.id)
            .limit(limit),
            {"now": self._now},
        )
        return tuple(DueStep(StepId(row.id), Lane(row.lane), row.due, row.trace_id) for row in found)

    def touched_targets(self, connection: ConnectionId, since: datetime) -> frozenset[Touched]:
        """See the port."""
        found = rows(self._connection, TOUCHED, {"connection": connection, "since": since})
        return frozenset(Touched(row.kind, row.value, row.nearby) for row in found)

    def confirmed(self, step_id: str) -> bool:
        """See the port."""
        query = select(steps.c.confirmed_by, steps.c.state).where(steps.c.id == step_id)
        row = self._connection.execute(query).one_or_none()
        return row is not None and (row.confirmed_by is not None or row.state == StepState.UNDONE.value)

    def also_needed_by(self, step: Step, tightenings: Iterable[str]) -> tuple[IncidentId, ...]:
        """See the port."""
        rows = self._connection.execute(
            select(steps.c.incident_id)
            .distinct()
            .join(incidents, incidents.c.id == steps.c.incident_id)
            .where(
                steps.c.incident_id != step.incident_id,
                steps.c.action.in_(list(tightenings)),
                steps.c.target.contains(_same(step)),
                steps.c.state.in_([StepState.DONE.value, *WORKABLE]),
                incidents.c.state != IncidentState.CLOSED.value,
            )
        )
        return tuple(sorted(IncidentId(row.incident_id) for row in rows))

    def done_since(self, step: Step, action: str) -> bool:
        """See the port."""
        last = func.coalesce(steps.c.finished_at, steps.c.intent_at)
        then = select(last).where(steps.c.id == step.id).scalar_subquery()
        found = select(steps.c.id).where(
            steps.c.action == action,
            steps.c.target.contains(_same(step)),
            steps.c.state == StepState.DONE.value,
            tuple_(steps.c.finished_at, steps.c.plan_id, steps.c.position)
            > tuple_(then, literal(step.plan_id), literal(step.position)),
        )
        return self._connection.execute(found.limit(1)).first() is not None

    def place_hold(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> str:
        """See the port."""
        self._connection.execute(
            upsert(gate_holds)
            .values(
                id=new_id("hld"),
                connection_id=connection,
                scope=scope,
                value=value,
                place=address_of(value),
                idempotency_key=key,
                placed_at=self._now,
            )
            .on_conflict_do_nothing(index_elements=["idempotency_key"])
        )
        found = self._connection.execute(select(gate_holds).where(gate_holds.c.idempotency_key == key)).mappings().one()
        if (found["connection_id"], found["scope"], found["value"]) != (connection, scope, value):
            raise ConflictError(f"the key {key} already placed a hold on something else")
        return str(found["id"])

    def release_holds(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> int:
        """See the port."""
        released = self._connection.execute(
            update(gate_holds)
            .where(_on(connection, scope, value), gate_holds.c.released_at.is_(None))
            .values(released_at=self._now, released_by=key)
        )
        return released.rowcount

    def held(self, connection: ConnectionId, scope: str, value: str) -> bool:
        """See the port."""
        query = select(gate_holds.c.id).where(_on(connection, scope, value), gate_holds.c.released_at.is_(None))
        return self._connection.execute(query.limit(1)).first() is not None

    def _step_for_update(self, step_id: StepId) -> Step:
        row = self._connection.execute(select(steps).where(steps.c.id == step_id).with_for_update()).mappings().first()
        if row is None:
            raise NotFoundError(f"there is no step {step_id}")
        return step_of(row)

    def _lock_approval(self, approval_id: ApprovalId) -> None:
        locks.take(self._connection, f"approval:{approval_id}")

    def _explain(self, step_id: StepId, fence: int, new: StepState) -> NoReturn:
        """Say why a step was not moved."""
        found = self._connection.execute(select(steps.c.state).where(steps.c.id == step_id, steps.c.fence == fence))
        state = found.scalar_one_or_none()
        if state is not None:
            _judge(step_id, StepState(state), new)
        raise _taken_over(step_id, fence)

    def _fenced(self, step_id: StepId, fence: int, values: Mapping[str, object], *also: ColumnElement[bool]) -> None:
        query = update(steps).where(steps.c.id == step_id, steps.c.fence == fence, *also).values(**values)
        if self._connection.execute(query).rowcount != 1:
            raise _taken_over(step_id, fence)


def _taken_over(step_id: StepId, fence: int) -> StaleFenceError:
    return StaleFenceError(f"step {step_id} was taken over: fence {fence} is no longer valid")


_LOOSENS: Final = steps.c.effect == Effect.LOOSENS.value


def _judge(step_id: StepId, old: StepState, new: StepState) -> None:
    if not allowed(old, new):
        raise ConflictError(f"step {step_id} is {old.value} and cannot become {new.value}")


def _on(connection: ConnectionId, scope: str, value: str) -> ColumnElement[bool]:
    return and_(gate_holds.c.connection_id == connection, gate_holds.c.scope == scope, gate_holds.c.value == value)


def _same(step: Step) -> dict[str, str]:
    return {"kind": step.target.kind, "connection": step.target.connection, "value": step.target.value}
