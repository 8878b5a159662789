"""Whether people let a request blind the engine: looked at again by who applies it, because a row is never authority.

Rules (design D4, D7): a suppression, settings that loosen and the withdrawal of an address list name the approval that they
come from, and are applied only when the signed votes on it authorise exactly that now. Settings that only tighten and a list
that comes into force need none. A row is taken in its canonical
form alone, which the database compares with the request's (`store/row_rights.py`). What a set-up decides for good (salt,
memory, half-life …) is changed by no request at all. What cannot be checked is refused, never applied.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from rules.errors import LearningRecordError
from rules.learning import RecordKind
from rules.settings import EngineSettings
from service.domain.approval import ActionDocument, Item
from service.domain.blinding import Warranted, changed, moved, settings_to, suppression_of
from service.domain.errors import ApprovalError, InputError, NotFoundError
from service.domain.ids import ApprovalId
from service.domain.intake import LearningRequest
from service.domain.listed import ListChange, unlisted

Authorised = Callable[[ApprovalId], ActionDocument]
"""Return the document that votes authorise now; it may block. Raises ApprovalError, NotFoundError, UnavailableError."""

KINDS: Final = frozenset({RecordKind.SUPPRESSION.value, RecordKind.SETTINGS.value, RecordKind.LISTS.value})
_Documents = Mapping[int, ActionDocument]

_log = structlog.get_logger(__name__)


def nobody(approval: ApprovalId) -> ActionDocument:
    """Authorise nothing: for a process that cannot verify votes. Raises ApprovalError."""
    raise ApprovalError(f"this process verifies no votes, so {approval} lets it do nothing")


async def looked_up(requests: Sequence[LearningRequest], authorised: Authorised) -> _Documents:
    """Return the documents that authorise something now, by the id of the request that names them.

    Raises UnavailableError.
    """
    found: dict[int, ActionDocument] = {}
    for request in requests:
        approval = _approval(request)
        if approval is None:
            continue
        try:
            found[request.id] = await asyncio.to_thread(authorised, approval)
        except (ApprovalError, NotFoundError, InputError, OSError) as error:
            _log.error("intake.not_authorised", request=request.id, approval=approval, reason=str(error))
    return found


def warranted_row(request: LearningRequest, documents: _Documents, settings: EngineSettings) -> bytes:
    """Return the row of the sequence that a request of `KINDS` may add. Raises LearningRecordError."""
    try:
        told = msgspec.json.decode(request.payload, type=Warranted)
        document = documents.get(request.id)
        if request.kind == RecordKind.SUPPRESSION.value:
            allowed = document is not None and suppression_of(_only(document)).row() == bytes(told.row)
        else:
            new = msgspec.json.decode(told.row, type=EngineSettings)
            allowed = new.encode() == bytes(told.row) and _may_set(new, settings, document)
    except (msgspec.MsgspecError, InputError) as error:
        raise LearningRecordError(f"request {request.id} ({request.kind}): {error}") from error
    if not allowed:
        raise LearningRecordError(f"request {request.id} ({request.kind}): no votes authorise it")
    return bytes(told.row)


def warranted_change(request: LearningRequest, documents: _Documents) -> ListChange:
    """Return how a request of kind `lists` may change those in force. Raises LearningRecordError."""
    try:
        told = msgspec.json.decode(request.payload, type=Warranted)
        change = msgspec.json.decode(told.row, type=ListChange)
        document = documents.get(request.id)
        withdrawn = None if document is None else unlisted(_only(document))
        canonical = change.row() == bytes(told.row)
    except (msgspec.MsgspecError, InputError) as error:
        raise LearningRecordError(f"request {request.id} ({request.kind}): {error}") from error
    if not canonical or (change.add is None) == (change.remove is None) or change.remove != withdrawn:
        raise LearningRecordError(f"request {request.id} ({request.kind}): no votes authorise it")
    return change


def _may_set(new: EngineSettings, old: EngineSettings, document: ActionDocument | None) -> bool:
    if document is not None:
        return settings_to(_only(document), old) == new
    found = moved(old, new)
    return not any(one.loosens for one in found) and changed(old, {one.name: one.new for one in found}) == new


def _approval(request: LearningRequest) -> ApprovalId | None:
    if request.kind not in KINDS:
        return None
    try:
        told = msgspec.json.decode(request.payload, type=Warranted)
    except msgspec.MsgspecError:
        return None  # refused when its turn comes
    return None if told.approval is None else ApprovalId(told.approval)


def _only(document: ActionDocument) -> Item:
    if len(document.what) != 1:
        raise InputError("one request is for one thing", field="what")
    return document.what[0]
