"""What makes the engine see less, done after a quorum: a suppression, other levels, looser detectors, a list less.

Rules (design D4): the worker verifies the votes itself and builds every item again from what it is about to do; what is no
longer as it was approved makes the request void. What was approved reaches the engine as a row of the learning sequence, in
order. A set of detectors is put in force by the processes that hold its files (`flow/rulebook.py`), which verify the same
votes; here its request is only ended.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from rules.learning import RecordKind
from service.domain.approval import ActionDocument, ApprovalState, lists
from service.domain.authorisation import check_document
from service.domain.blinding import RULES, SETTINGS, SUPPRESS, settings_item, settings_to, suppression_of, warranted
from service.domain.errors import ConflictError, InputError, NotFoundError
from service.domain.ids import ApprovalId
from service.domain.listed import UNLIST, ListChange, unlist_item, unlisted
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork

SETTINGS_LOCK: Final = "engine-settings"
"""Whoever changes the settings holds it, from reading those in force to the commit."""
_log = structlog.get_logger(__name__)
_OPEN: Final = frozenset({ApprovalState.WAITING, ApprovalState.APPROVED})


def released(db: Database, authority_pem: bytes, approval_id: ApprovalId) -> None:
    """Do what a quorum approved, after checking the votes. A repeat finds the work done.

    Raises ApprovalError when the votes do not authorise it.
    """
    with db.begin() as uow:
        row = uow.approvals.row(approval_id)
        actions = uow.approvals.document(approval_id).actions
        if row.state not in _OPEN or len(actions) != 1 or actions[0] not in _DONE_BY:
            return
        document = check_document(uow.approvals.evidence(approval_id), public_key_pem=authority_pem, now=uow.now)
        try:
            entry = _DONE_BY[actions[0]](uow, document)
        except (ConflictError, InputError, NotFoundError) as error:
            if uow.approvals.end(approval_id, ApprovalState.VOID, str(error)):
                uow.record(_entry(uow, document, "blinding.void", f"Nothing was changed: {error}"))
            return
        uow.approvals.end(approval_id, ApprovalState.EXECUTED)
        uow.record(entry)


def compare_suppressions(db: Database) -> None:
    """Record, once each, where the engine goes by a suppression that nobody approved, or the other way."""
    with db.begin() as uow:
        for sentence in uow.blinding.differences():
            if uow.once(f"suppression.differs:{sentence}"):
                _log.error("suppression.differs", difference=sentence)
                subject = sentence.partition(" ")[0]
                uow.record(Entry(kind="suppression.differs", at=uow.now, subject=subject, sentence=sentence))


def authorised(db: Database, authority_pem: Callable[[], bytes], approval_id: ApprovalId) -> ActionDocument:
    """Return the document that votes authorise now, for who applies what it asked for.

    Raises ApprovalError, NotFoundError, UnavailableError.
    """
    with db.begin() as uow:
        evidence = uow.approvals.evidence(approval_id)
        return check_document(evidence, public_key_pem=authority_pem(), now=uow.now)


def _suppress(uow: UnitOfWork, document: ActionDocument) -> Entry:
    _require_one(document)
    suppression = suppression_of(document.what[0])
    if not lists(document, suppression.item()):
        raise ConflictError("what was approved is not what would be suppressed")
    suppression.require_bounded(uow.now)
    if not uow.blinding.add(suppression, document.id):
        raise ConflictError(f"suppression {suppression.id} is there already")
    uow.incidents.ask_learning(RecordKind.SUPPRESSION.value, suppression.id, warranted(suppression.row(), document.id))
    return _entry(uow, document, "suppression.added", document.what[0].sentence, suppression.id)


def _set(uow: UnitOfWork, document: ActionDocument) -> Entry:
    _require_one(document)
    uow.lock(SETTINGS_LOCK, with_api=True)
    old = uow.blinding.settings()
    if old is None:
        raise ConflictError("the engine has no settings yet")
    new = settings_to(document.what[0], old)
    if not lists(document, settings_item(old, new)):
        raise ConflictError("what was approved is not what would be set")
    uow.incidents.ask_learning(RecordKind.SETTINGS.value, "settings", warranted(new.encode(), document.id))
    return _entry(uow, document, "settings.changed", document.what[0].sentence, new.digest())


def _unlist(uow: UnitOfWork, document: ActionDocument) -> Entry:
    _require_one(document)
    kept = uow.forensics.address_list(unlisted(document.what[0]))
    if not kept.in_force:
        raise ConflictError(f"address list {kept.id} was withdrawn already")
    if not lists(document, unlist_item(kept)):
        raise ConflictError("what was approved is not the list that would be withdrawn")
    row = ListChange(remove=kept.id).row()
    uow.incidents.ask_learning(RecordKind.LISTS.value, kept.id, warranted(row, document.id))
    return _entry(uow, document, "addresses.unlisted", document.what[0].sentence, kept.id)


def _note_rules(uow: UnitOfWork, document: ActionDocument) -> Entry:
    return _entry(uow, document, "rules.approved", document.what[0].sentence, document.what[0].target["value"])


_DONE_BY: Final[Mapping[str, Callable[[UnitOfWork, ActionDocument], Entry]]] = {
    SUPPRESS: _suppress,
    SETTINGS: _set,
    RULES: _note_rules,
    UNLIST: _unlist,
}


def _require_one(document: ActionDocument) -> None:
    if len(document.what) != 1:
        raise ConflictError("one request is for one thing")


def _entry(uow: UnitOfWork, document: ActionDocument, kind: str, sentence: str, subject: str | None = None) -> Entry:
    return Entry(
        kind=kind,
        at=uow.now,
        subject=subject or document.id,
        sentence=sentence,
        by=document.requester,
        facts={"approval": document.id, "digest": document.digest},
    )
