"""Writing down what people settled of a step in `unknown`, after a quorum (design D5).

Rules: the worker verifies the votes itself and builds the item again from the step as it is now and its action as declared,
so that nobody asks under a smaller quorum; a step that was settled otherwise, or tried again since, makes the request void.
A worker that is just asking the other side about the step is taken over: its answer came too late. Nothing is called here.
"""

from collections.abc import Mapping
from typing import Final

from service.actions.base import ContainmentAction, settlement
from service.domain.approval import ActionDocument, ApprovalState, Subject, lists
from service.domain.attention import before_it_ends
from service.domain.authorisation import check_document
from service.domain.errors import ConflictError, NotFoundError
from service.domain.events import StepFailed, StepVerified
from service.domain.ids import ApprovalId, StepId
from service.domain.plan import Receipt, Step, StepState, Verdict
from service.domain.settlement import Outcome, settled_by
from service.domain.timeline import Entry
from service.ports.store.plans import Change
from service.ports.store.unit import Database, UnitOfWork

_OPEN: Final = frozenset({ApprovalState.WAITING, ApprovalState.APPROVED})


def released(
    db: Database, actions: Mapping[str, ContainmentAction], authority_pem: bytes, approval_id: ApprovalId
) -> None:
    """Settle a step once its quorum is there, after checking the votes. A repeat finds the work done.

    Raises ApprovalError when the votes do not authorise it.
    """
    with db.begin() as uow:
        row = uow.approvals.row(approval_id)
        if row.subject is not Subject.SETTLE or row.state not in _OPEN:
            return
        document = check_document(uow.approvals.evidence(approval_id), public_key_pem=authority_pem, now=uow.now)
        try:
            step, outcome = _as_approved(uow, actions, document)
        except (ConflictError, NotFoundError) as error:
            if uow.approvals.end(approval_id, ApprovalState.VOID, str(error)):
                uow.record(_entry(uow, document, "step.not_settled", approval_id, f"Nothing was settled: {error}"))
            return
        if uow.approvals.end(approval_id, ApprovalState.EXECUTED):
            _settle(uow, actions[step.action], step, outcome, document)


def _as_approved(
    uow: UnitOfWork, actions: Mapping[str, ContainmentAction], document: ActionDocument
) -> tuple[Step, Outcome]:
    if len(document.what) != 1:
        raise ConflictError("one request settles one step")
    named, outcome = settled_by(document.what[0])
    step = uow.plans.take_unknown(StepId(named))
    if not lists(document, settlement(actions, step, outcome)):
        raise ConflictError(f"step {step.id} is no longer as it was when people looked: look again")
    return step, outcome


def _settle(uow: UnitOfWork, action: ContainmentAction, step: Step, outcome: Outcome, document: ActionDocument) -> None:
    reason = f"settled by people in {document.id}: {document.why}"
    if outcome is Outcome.HAPPENED:
        receipt = step.receipt or Receipt(document.id, {"settled_by": "people"})
        if (ends_at := action.ends_at(receipt, uow.now)) is not None:
            uow.attention.set_timer(*before_it_ends(step, ends_at))
        uow.plans.write(step.id, step.fence, Change(StepState.VERIFYING))
        change = Change(StepState.DONE, reason=reason, receipt=receipt, verdict=Verdict.HOLDS)
        uow.plans.write(step.id, step.fence, change)
        entry = _entry(
            uow, document, "step.settled", step.id, f"{step.action} on {step.target.value} happened: {reason}"
        )
        uow.record(entry, StepVerified(step.id, step.incident_id))
        return
    change = Change(StepState.FAILED, reason=reason, verdict=Verdict.DOES_NOT_HOLD)
    uow.plans.write(step.id, step.fence, change)
    sentence = f"{step.action} on {step.target.value} did not happen: {reason}"
    uow.record(_entry(uow, document, "step.settled", step.id, sentence), StepFailed(step.id, step.incident_id))


def _entry(uow: UnitOfWork, document: ActionDocument, kind: str, subject: str, sentence: str) -> Entry:
    return Entry(
        kind=kind,
        at=uow.now,
        subject=subject,
        sentence=sentence,
        by=document.requester,
        incident_id=document.incident or None,
        facts={"approval": document.id, "digest": document.digest},
    )
