"""Incidents: reading them whole, taking them, talking about them, closing them.

Closing a critical incident as a false positive would blind the engine on one person's word, so it takes a quorum
(design D4): the call answers with the approval that was opened for it.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from service.api.deps import Judge, Parts, Reader, Responder, name_of
from service.api.pagination import Cursor, Limit, decode, envelope
from service.domain.approval import Draft
from service.domain.errors import ConflictError
from service.domain.events import ApprovalRequested, IncidentAcknowledged
from service.domain.ids import IncidentId, PersonId
from service.domain.incident import CaseVerdict, Incident, IncidentState, Severity
from service.domain.requests import false_closure_item, requested_entry
from service.domain.timeline import Entry
from service.flow.closure import close as close_incident
from service.ports.store.unit import UnitOfWork
from service.store.queries import reading
from service.store.tables.incident import incidents

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])

MAX_COMMENT = 4000


class CommentIn(BaseModel):
    """Something worth keeping in the timeline."""

    text: str = Field(min_length=1, max_length=MAX_COMMENT, examples=["Called the exchange's operator: not theirs."])


class AssignIn(BaseModel):
    """Who works on it."""

    person: str = Field(min_length=1, max_length=64, examples=["per_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P"])


class CloseIn(BaseModel):
    """What it was, and for single alerts what they were, where that differs."""

    verdict: CaseVerdict = Field(examples=["true_positive"])
    alerts: dict[str, CaseVerdict] = Field(default_factory=dict, max_length=1000)


@router.get("", summary="List incidents, newest first")
def list_incidents(
    parts: Parts,
    _reader: Reader,
    state: IncidentState | None = None,
    severity: Annotated[str | None, Query(pattern="^(low|medium|high|critical)$", description="At least.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, object]:
    """Return a page of incidents."""
    with parts.database.begin() as uow:
        found = reading.incidents_page(
            uow.connection,
            state=None if state is None else state.value,
            severity=None if severity is None else Severity[severity.upper()],
            after=decode(cursor),
            limit=limit,
        )
    return envelope(found)


@router.get("/{incident_id}", summary="One incident with alerts, plans, steps, timeline, messages and pages")
def get_incident(incident_id: str, parts: Parts, _reader: Reader) -> dict[str, object]:
    """Return one incident whole."""
    with parts.database.begin() as uow:
        return dict(reading.incident(uow.connection, incident_id))


@router.post("/{incident_id}/acknowledge", summary="Take it: escalation stops")
def acknowledge(incident_id: str, parts: Parts, responder: Responder) -> dict[str, object]:
    """Note who took the incident; the first one counts."""
    with parts.database.begin() as uow:
        incident = uow.incidents.lock_incident(IncidentId(incident_id))
        if uow.incidents.acknowledge(incident.id, name_of(responder)):
            entry = _entry(uow, incident, "incident.acknowledged", "Acknowledged", name_of(responder))
            uow.record(entry, IncidentAcknowledged(incident.id))
        return dict(reading.incident(uow.connection, incident_id))


@router.post("/{incident_id}/assign", summary="Say who works on it")
def assign(incident_id: str, body: AssignIn, parts: Parts, responder: Responder) -> dict[str, object]:
    """Assign the incident to a person."""
    with parts.database.begin() as uow:
        incident = uow.incidents.lock_incident(IncidentId(incident_id))
        person = uow.registry.person(PersonId(body.person))
        uow.connection.execute(
            incidents.update()
            .where(incidents.c.id == incident.id)
            .values(assignee=person.id, version=incidents.c.version + 1)
        )
        uow.record(_entry(uow, incident, "incident.assigned", f"Assigned to {person.id}", name_of(responder)))
        return dict(reading.incident(uow.connection, incident_id))


@router.post("/{incident_id}/comments", summary="Add a line to the timeline", status_code=201)
def comment(incident_id: str, body: CommentIn, parts: Parts, judge: Judge) -> dict[str, object]:
    """Write a comment into the timeline and the audit log."""
    with parts.database.begin() as uow:
        incident = uow.incidents.incident(IncidentId(incident_id))
        uow.record(_entry(uow, incident, "incident.commented", body.text, name_of(judge)))
        return dict(reading.incident(uow.connection, incident_id))


@router.post("/{incident_id}/close", summary="Close it with a verdict; its review is written")
def close(incident_id: str, body: CloseIn, parts: Parts, responder: Responder, response: Response) -> dict[str, object]:
    """Close an incident, or ask for the quorum that closing it as false needs (202)."""
    with parts.database.begin() as uow:
        incident = uow.incidents.lock_incident(IncidentId(incident_id))
        if incident.state is IncidentState.CLOSED:
            raise ConflictError(f"incident {incident_id} is closed already")
        if incident.severity is Severity.CRITICAL and body.verdict is CaseVerdict.FALSE_POSITIVE:
            draft = Draft(
                what=[false_closure_item(incident.id)],
                why="Closing a critical incident as false lets the engine learn from it.",
                requester=name_of(responder),
                incident=incident.id,
            )
            document = uow.approvals.propose(draft)
            uow.record(requested_entry(document), ApprovalRequested(document.id))
            response.status_code = 202
            return {"approval": document.id, "digest": document.digest}
        close_incident(uow, incident, body.verdict, body.alerts, name_of(responder))
        return dict(reading.incident(uow.connection, incident_id))


def _entry(uow: UnitOfWork, incident: Incident, kind: str, sentence: str, by: str) -> Entry:
    return Entry(kind=kind, at=uow.now, subject=incident.id, sentence=sentence, by=by, incident_id=incident.id)
