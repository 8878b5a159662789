"""Activities with their assessments, clearing one that was held, what people say of others, the reviews of incidents.

Clearing lets money move and the engine learn, so it always takes a quorum (design D4): the call answers with the approval
that was opened for it, and a second call with the same one.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from service.api.deps import JUDGES, Id, Judge, Parts, Reader, Responder, name_of, requester_of
from service.api.pagination import Listing, listing
from service.api.schemas.activities import (
    ActivitiesAsked,
    ActivityShown,
    ActivityWhole,
    ClearanceAsked,
    ClearIn,
    ReportIn,
    VouchedShown,
)
from service.api.schemas.alerts import AlertShown
from service.domain.approval import Draft, one_line
from service.domain.errors import ConflictError, ForbiddenError
from service.domain.events import ActivityVouched, AlertRaised, ApprovalRequested
from service.domain.ids import ActivityId
from service.domain.reports import reported
from service.domain.requests import clearance_item, requested_entry
from service.domain.timeline import Entry
from service.flow.vouching import require_ordinary
from service.store.queries import reading

router = APIRouter(prefix="/v1", tags=["activities"])

_WHY: Final = "Clearing a held activity lets its transaction be signed and the engine learn from it."
_REVIEW: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The review: times in seconds from the first harmful activity, amounts as strings.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "v": 1,
                    "incident": {"id": "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R", "verdict": "true_positive"},
                    "times_s": {"detect": 0.081, "first_hold": 0.59, "contain": 2.4},
                    "value_usd": {"at_risk": "8400000.00", "lost": "0.00", "saved": "8400000.00"},
                },
            }
        },
    }
}


@router.get("/activities", summary="List activities with score, decision and reasons, newest first")
def list_activities(
    parts: Parts, _reader: Reader, asked: Annotated[ActivitiesAsked, Query()]
) -> Listing[ActivityShown]:
    """Return a page of activities."""
    span = asked.span()
    with parts.database.begin() as uow:
        found = reading.activities_page(
            uow.connection, span, asked.filters(), anomalous=asked.anomalous, sample=asked.sample
        )
    return listing(found, ActivityShown)


@router.get("/activities/{activity_id}", summary="One activity with its assessment")
def get_activity(
    activity_id: Id,
    parts: Parts,
    reader: Reader,
    body: Annotated[bool, Query(description="With the raw body, base64; for those who judge.")] = False,  # noqa: FBT002  a query flag
) -> ActivityWhole:
    """Return one activity."""
    if body and reader.role not in JUDGES:
        raise ForbiddenError("raw bodies are for analysts, responders and admins")
    with parts.database.begin() as uow:
        return ActivityWhole.model_validate(reading.activity(uow.connection, activity_id, with_body=body))


@router.post("/activities/{activity_id}/clear", summary="Ask for the quorum that clears a held one", status_code=202)
def clear(activity_id: Id, body: ClearIn, parts: Parts, responder: Responder) -> ClearanceAsked:
    """Open the request to clear an activity that was alerted or held, or return the one that waits."""
    requester = requester_of(responder)
    with parts.database.begin() as uow:
        uow.lock(f"clear:{activity_id}", with_api=True)
        held = uow.clearances.held(ActivityId(activity_id))
        waiting = uow.clearances.waiting(held.id)
        if waiting is not None:
            return ClearanceAsked(approval=waiting[0], digest=waiting[1])
        draft = Draft(what=[clearance_item(held)], why=one_line(body.why or _WHY), requester=requester)
        document = uow.approvals.propose(draft)
        uow.record(requested_entry(document), ApprovalRequested(document.id))
        return ClearanceAsked(approval=document.id, digest=document.digest)


@router.post("/activities/{activity_id}/report", summary="Report a theft that the engine let pass", status_code=201)
def report(activity_id: Id, body: ReportIn, parts: Parts, responder: Responder) -> AlertShown:
    """Raise an alert on it: its incident opens, and what the playbook tightens is tightened at once."""
    by = requester_of(responder)
    with parts.database.begin() as uow:
        uow.lock(f"report:{activity_id}", with_api=True)
        assessed = uow.findings.assessed(ActivityId(activity_id))
        for standing in uow.reports.standing(assessed.id):
            raise ConflictError(f"alert {standing} on {activity_id} is being worked on already", field="activity_id")
        alert, title = reported(assessed, body.kind, by)
        uow.reports.alert(alert, title)
        entry = Entry(
            kind="activity.reported",
            at=uow.now,
            subject=alert.id,
            sentence=f"{title}, {activity_id}",
            by=by,
            facts={"activity": activity_id, "kind": alert.kind.value},
        )
        uow.record(entry, AlertRaised(alert.id))
        return AlertShown.model_validate(reading.alert(uow.connection, alert.id))


@router.post("/activities/{activity_id}/vouch", summary="Say that nothing was wrong with a drawn one")
def vouch(activity_id: Id, parts: Parts, judge: Judge) -> VouchedShown:
    """Note it for the engine to learn; a second call with the first one's answer."""
    with parts.database.begin() as uow:
        uow.lock("vouch", with_api=True)  # of two about one destination the second is told so
        assessed = require_ordinary(uow, ActivityId(activity_id))
        word = uow.reports.vouched(assessed.id)
        if word is None:
            word = uow.reports.vouch(assessed.id, name_of(judge))
            sentence = f"Vouched for: {assessed.kind.replace('.', ' ').replace('_', ' ')}"
            entry = Entry(kind="activity.vouched", at=uow.now, subject=assessed.id, sentence=sentence, by=word.by)
            uow.record(entry, ActivityVouched(assessed.id))
        return VouchedShown(activity=assessed.id, by=word.by, at=word.at)


@router.get(
    "/reviews/{incident_id}",
    summary="The review of a closed incident, as JSON",
    response_class=Response,
    responses=_REVIEW,
)
def get_review(incident_id: Id, parts: Parts, _reader: Reader) -> Response:
    """Return the stored review."""
    with parts.database.begin() as uow:
        found = reading.review(uow.connection, incident_id)
    return Response(found["body"], media_type="application/json")


@router.get(
    "/reviews/{incident_id}/page", summary="The review of a closed incident, as a page", response_class=HTMLResponse
)
def get_review_page(incident_id: Id, parts: Parts, _reader: Reader) -> HTMLResponse:
    """Return the stored page with people's names as they are now; it loads nothing from anywhere."""
    with parts.database.begin() as uow:
        return HTMLResponse(reading.review_page(uow.connection, incident_id))
