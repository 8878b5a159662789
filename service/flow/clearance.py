"""Clearing a held activity after a quorum: it may be signed, and the engine learns it late (design D3, D4, D10).

Rules: the item is built again from the stored rows, so that exactly what was approved is cleared; what can no longer be
cleared makes the request void. Clearing lifts no hold of ours on an account or a destination, and nothing is learned twice.
"""

from typing import Final

from rules.learning import RecordKind
from service.domain.approval import ActionDocument, ApprovalState, lists
from service.domain.authorisation import check_document
from service.domain.clearance import HeldActivity
from service.domain.errors import ConflictError, NotFoundError
from service.domain.ids import ActivityId, ApprovalId
from service.domain.requests import CLEAR, clearance_item
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork


def released(db: Database, authority_pem: bytes, approval_id: ApprovalId) -> None:
    """Clear an activity once its quorum is there, after checking the votes. A repeat finds the work done.

    Raises ApprovalError when the votes do not authorise it.
    """
    with db.begin() as uow:
        row = uow.approvals.row(approval_id)
        if row.state not in _OPEN or uow.approvals.document(approval_id).actions != (CLEAR,):
            return
        document = check_document(uow.approvals.evidence(approval_id), public_key_pem=authority_pem, now=uow.now)
        try:
            held = _as_approved(uow, document)
        except (ConflictError, NotFoundError) as error:
            if uow.approvals.end(approval_id, ApprovalState.VOID, str(error)):
                uow.record(_entry(uow, document, "clearance.void", f"Nothing was cleared: {error}"))
            return
        if uow.approvals.end(approval_id, ApprovalState.EXECUTED):
            _clear(uow, held, document)


_OPEN: Final = frozenset({ApprovalState.WAITING, ApprovalState.APPROVED})


def _as_approved(uow: UnitOfWork, document: ActionDocument) -> HeldActivity:
    if len(document.what) != 1:
        raise ConflictError("one request clears one activity")
    held = uow.clearances.held(ActivityId(document.what[0].target.get("value", "")))
    if not lists(document, clearance_item(held)):
        raise ConflictError("what is stored of the activity is not what was approved")
    return held


def _clear(uow: UnitOfWork, held: HeldActivity, document: ActionDocument) -> None:
    uow.clearances.let_pass(held, document.id)
    skipped = uow.clearances.unlearned(held)
    if skipped is not None and uow.once(f"late-learn:{skipped[0]}"):
        uow.incidents.ask_learning(RecordKind.CLEARANCE.value, held.id, skipped[1])
    uow.record(_entry(uow, document, "activity.cleared", document.what[0].sentence))


def _entry(uow: UnitOfWork, document: ActionDocument, kind: str, sentence: str) -> Entry:
    return Entry(
        kind=kind,
        at=uow.now,
        subject=document.what[0].target.get("value", document.id),
        sentence=sentence,
        by=document.requester,
        facts={"approval": document.id, "digest": document.digest},
    )
