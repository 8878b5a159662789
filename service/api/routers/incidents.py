"""Incidents: reading them whole, taking them, talking about them, closing them.

Closing a critical incident as a false positive would blind the engine on one person's word, so it takes a quorum
(design D4): the call answers with the approval that was opened for it, and a second call with the same one while no other
alert has joined. Who closes names the version that he looked at, so that nobody judges what he has not seen.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from service.api.auth import Principal
from service.api.deps import Id, Judge, Parts, Reader, Responder, name_of, requester_of
from service.api.pagination import Listing, Paged, listing
from service.api.schemas.incidents import (
    AssignIn,
    CloseIn,
    ClosureAsked,
    CommentIn,
    IncidentsAsked,
    IncidentShown,
    IncidentWhole,
    LineShown,
)
from service.domain.approval import Draft, Subject, lists, one_line, parse
from service.domain.errors import ConflictError
from service.domain.events import ApprovalRequested, IncidentAcknowledged
from service.domain.ids import IncidentId, PersonId
from service.domain.incident import CaseVerdict, Incident, IncidentState, Severity
from service.domain.person import PersonState
from service.domain.requests import requested_entry
from service.domain.timeline import Entry
from service.flow.closure import Closing, asked_of
from service.flow.closure import close as close_incident
from service.ports.store.unit import UnitOfWork
from service.store.queries import incidents as queries
from service.store.tables.incident import incidents
from service.store.unit_of_work import SqlUnitOfWork

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])

_WHY: Final = "Closing a critical incident as false lets the engine learn from it."
_ASKED: Final[dict[int | str, dict[str, Any]]] = {202: {"model": ClosureAsked, "description": "It takes a quorum."}}


@router.get("", summary="List incidents, newest first")
def list_incidents(parts: Parts, _reader: Reader, asked: Annotated[IncidentsAsked, Query()]) -> Listing[IncidentShown]:
    """Return a page of incidents."""
    span = asked.span()
    filters = {"state": asked.state, "kind": asked.kind, "assignee": asked.assignee}
    severity = None if asked.severity is None else Severity[asked.severity.upper()]
    with parts.database.begin() as uow:
        found = queries.incidents_page(uow.connection, span, filters, severity=severity)
    return listing(found, IncidentShown)


@router.get("/{incident_id}", summary="One incident with alerts, plans, steps, timeline, messages and pages")
def get_incident(incident_id: Id, parts: Parts, _reader: Reader) -> IncidentWhole:
    """Return one incident whole."""
    with parts.database.begin() as uow:
        return whole(uow, incident_id)


@router.get("/{incident_id}/timeline", summary="What happened in an incident, newest first")
def get_timeline(
    incident_id: Id, parts: Parts, _reader: Reader, asked: Annotated[Paged, Query()]
) -> Listing[LineShown]:
    """Return a page of the timeline."""
    span = asked.span()
    with parts.database.begin() as uow:
        return listing(queries.timeline_page(uow.connection, incident_id, span), LineShown)


@router.post("/{incident_id}/acknowledge", summary="Take it: escalation stops")
def acknowledge(incident_id: Id, parts: Parts, responder: Responder) -> IncidentWhole:
    """Note who took the incident; the first one counts."""
    with parts.database.begin() as uow:
        incident = _open(uow, incident_id)
        if uow.incidents.acknowledge(incident.id, name_of(responder)):
            entry = _entry(uow, incident, "incident.acknowledged", "Acknowledged", name_of(responder))
            uow.record(entry, IncidentAcknowledged(incident.id))
        return whole(uow, incident_id)


@router.post("/{incident_id}/assign", summary="Say who works on it")
def assign(incident_id: Id, body: AssignIn, parts: Parts, responder: Responder) -> IncidentWhole:
    """Assign the incident to an active person."""
    with parts.database.begin() as uow:
        incident = _open(uow, incident_id)
        person = uow.registry.person(PersonId(body.person))
        if person.state is not PersonState.ACTIVE:
            raise ConflictError(f"{person.id} is {person.state.value}: assign an active person", field="person")
        if incident.assignee != person.id:
            uow.connection.execute(
                incidents.update()
                .where(incidents.c.id == incident.id)
                .values(assignee=person.id, version=incidents.c.version + 1)
            )
            uow.record(_entry(uow, incident, "incident.assigned", f"Assigned to {person.id}", name_of(responder)))
        return whole(uow, incident_id)


@router.post("/{incident_id}/comments", summary="Add a line to the timeline", status_code=201)
def comment(incident_id: Id, body: CommentIn, parts: Parts, judge: Judge) -> IncidentWhole:
    """Write a comment into the timeline and the audit log."""
    with parts.database.begin() as uow:
        incident = uow.incidents.incident(IncidentId(incident_id))
        uow.record(_entry(uow, incident, "incident.commented", body.text, name_of(judge)))
        return whole(uow, incident_id)


@router.post("/{incident_id}/close", summary="Close it with a verdict; its review is written", responses=_ASKED)
def close(
    incident_id: Id, body: CloseIn, parts: Parts, responder: Responder, response: Response
) -> IncidentWhole | ClosureAsked:
    """Close an incident, or ask for the quorum that closing it as false needs (202)."""
    with parts.database.begin() as uow:
        incident = _open(uow, incident_id)
        if incident.version != body.version:
            changed = f"incident {incident_id} has changed: it is at version {incident.version}, look at it again"
            raise ConflictError(changed, field="version")
        if incident.severity is Severity.CRITICAL and body.verdict is CaseVerdict.FALSE_POSITIVE:
            response.status_code = 202
            return _asked(uow, incident, body.why, responder)
        close_incident(uow, incident, Closing(body.verdict, body.alerts, name_of(responder)))
        return whole(uow, incident_id)


def whole(uow: SqlUnitOfWork, incident_id: str) -> IncidentWhole:
    """Return one incident as it is shown. Raises NotFoundError."""
    return IncidentWhole.model_validate(queries.incident(uow.connection, incident_id))


def _open(uow: SqlUnitOfWork, incident_id: str) -> Incident:
    incident = uow.incidents.lock_incident(IncidentId(incident_id))
    if incident.state is IncidentState.CLOSED:
        raise ConflictError(f"incident {incident_id} is closed already")
    return incident


def _asked(uow: SqlUnitOfWork, incident: Incident, why: str | None, asker: Principal) -> ClosureAsked:
    requester = requester_of(asker)
    wanted = asked_of(uow, incident)
    for waiting in queries.undecided(uow.connection, incident.id, Subject.BLIND):
        if waiting["approve_by"] > uow.now and lists(parse(waiting["document"]), wanted):
            return ClosureAsked(approval=waiting["id"], digest=waiting["digest"])
    draft = Draft(
        what=[wanted],
        why=one_line(why or _WHY),
        requester=requester,
        incident=incident.id,
    )
    document = uow.approvals.propose(draft)
    uow.record(requested_entry(document), ApprovalRequested(document.id))
    return ClosureAsked(approval=document.id, digest=document.digest)


def _entry(uow: UnitOfWork, incident: Incident, kind: str, sentence: str, by: str) -> Entry:
    return Entry(kind=kind, at=uow.now, subject=incident.id, sentence=sentence, by=by, incident_id=incident.id)
