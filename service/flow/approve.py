"""What happens after people decided: release what a quorum approved, give up what was refused, expire what nobody decided.

Rules: a row's state only says that the authority has counted a quorum; the executing worker verifies the votes again before
it acts (`domain/authorisation.py`), so a forged row that gets this far still moves nothing. Silence never approves: what
nobody decided in time has expired, and so has what was approved but had not begun by its execute-by. When an incident is
closed, what its requests would still begin is void, but for those that only loosen. A row that cannot be read is said in the
log and stops no other.
"""

from typing import Final

import structlog

from service.domain.approval import ApprovalState, Subject
from service.domain.events import ApprovalEnded, StepReady
from service.domain.ids import ApprovalId, IncidentId
from service.domain.incident import IncidentState
from service.domain.plan import Effect, StepState
from service.domain.timeline import Entry
from service.ports.store.approvals import ApprovalRow
from service.ports.store.unit import Database, UnitOfWork

BATCH: Final = 100

_log = structlog.get_logger(__name__)


def release(db: Database, approval_id: ApprovalId) -> None:
    """Let the workers go: steps that waited for nothing but this become ready."""
    with db.begin() as uow:
        row = uow.approvals.row(approval_id)
        if row.state is not ApprovalState.APPROVED or row.subject is not Subject.STEPS:
            return
        for step in uow.plans.release(row.id):
            entry = _entry(uow, row, "step.released", step.id, f"{step.action} on {step.target.value} was approved")
            uow.record(entry, StepReady(step.id, step.lane.value))


def ended(db: Database, approval_id: ApprovalId) -> None:
    """Give up what waited for a request that was refused, expired or void."""
    with db.begin() as uow:
        row = uow.approvals.row(approval_id)
        if row.state not in _GIVEN_UP_AS:
            return
        reason = row.reason or f"the request was {row.state.value}"
        if row.subject is Subject.STEPS:
            given_up = uow.plans.give_up(approval_id, _GIVEN_UP_AS[row.state], reason)
            for step in given_up:
                uow.record(_entry(uow, row, "step.given_up", step.id, f"{step.action} will not run: {reason}"))
        elif row.subject is Subject.MESSAGE:
            for message_id in uow.attention.drop_messages(approval_id, reason):
                uow.record(_entry(uow, row, "message.dropped", message_id, f"A message is not sent: {reason}"))


def closed(db: Database, incident_id: IncidentId) -> None:
    """End what a closed incident still asks for, but loosening alone; nothing while it is open, whatever an event says."""
    with db.begin() as uow:
        if uow.incidents.lock_incident(incident_id).state is not IncidentState.CLOSED:
            return
        unbegun = (
            s for s in uow.plans.steps_of(incident_id) if s.state in _NOT_BEGUN and s.effect is not Effect.LOOSENS
        )
        for approval_id in sorted({s.approval_id for s in unbegun if s.approval_id is not None}):
            reason = "its incident was closed"
            if uow.approvals.end(approval_id, ApprovalState.VOID, reason):
                row = uow.approvals.row(approval_id)
                entry = _entry(uow, row, "approval.closed", approval_id, f"A request is void: {reason}")
                uow.record(entry, ApprovalEnded(approval_id))


def expire(db: Database) -> int:
    """End requests past their time, at most a hundred; returns how many. For the sweeper."""
    with db.begin() as uow:
        late = uow.approvals.overdue(BATCH)
    ended_now = 0
    for approval_id in late:
        try:
            ended_now += _expire(db, approval_id)
        except ValueError as error:
            _log.error("approval.malformed", approval_id=approval_id, message=str(error))
    return ended_now


def _expire(db: Database, approval_id: ApprovalId) -> bool:
    with db.begin() as uow:
        row = uow.approvals.row(approval_id)
        if row.state is ApprovalState.APPROVED and not _is_unbegun(uow, row):
            return uow.approvals.end(approval_id, ApprovalState.EXECUTED)
        waited = row.state is ApprovalState.WAITING
        reason = "nobody decided in time" if waited else "it was approved, but not begun in time"
        ended_now = uow.approvals.end(approval_id, ApprovalState.EXPIRED, reason)
        if ended_now:
            entry = _entry(uow, row, "approval.expired", approval_id, f"A request has expired: {reason}")
            uow.record(entry, ApprovalEnded(approval_id))
        return ended_now


def _is_unbegun(uow: UnitOfWork, row: ApprovalRow) -> bool:
    """Whether anything of an approved request has not begun; what is no plan's step has no progress to look at."""
    if row.subject is not Subject.STEPS:
        return True
    return any(step.state in _NOT_BEGUN for step in uow.plans.steps_of_approval(row.id))


_NOT_BEGUN: Final = frozenset({StepState.WAITING_APPROVAL, StepState.WAITING_STEP, StepState.READY})
_GIVEN_UP_AS: Final = {
    ApprovalState.REFUSED: StepState.REFUSED,
    ApprovalState.VOID: StepState.REFUSED,
    ApprovalState.EXPIRED: StepState.EXPIRED,
}


def _entry(uow: UnitOfWork, row: ApprovalRow, kind: str, subject: str, sentence: str) -> Entry:
    return Entry(
        kind=kind,
        at=uow.now,
        subject=subject,
        sentence=sentence,
        incident_id=row.incident_id,
        facts={"approval": row.id, "digest": row.digest},
    )
