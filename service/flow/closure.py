"""Closing an incident: by a responder at once, or after a quorum where closing would blind the engine (design D4)."""

from collections.abc import Mapping

from service.domain.approval import ApprovalState, Subject, lists
from service.domain.authorisation import check_document
from service.domain.errors import ConflictError, InputError
from service.domain.events import IncidentClosed
from service.domain.ids import ApprovalId, IncidentId
from service.domain.incident import CaseVerdict, Incident, IncidentState
from service.domain.requests import false_closure_item
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork


def close(
    uow: UnitOfWork, incident: Incident, verdict: CaseVerdict, of_alerts: Mapping[str, CaseVerdict], by: str
) -> None:
    """Close a locked incident; alerts that are not named keep their verdict or take the incident's.

    Raises ConflictError when it is closed already, InputError for an alert that is not its own.
    """
    if incident.state is IncidentState.CLOSED:
        raise ConflictError(f"incident {incident.id} is closed already")
    alerts = uow.incidents.alerts_of(incident.id)
    unknown = sorted(set(of_alerts) - {alert.id for alert in alerts})
    if unknown:
        raise InputError(f"{unknown[0]} is no alert of this incident", field="alerts")
    for alert in alerts:
        uow.incidents.set_verdict(alert.id, of_alerts.get(alert.id, alert.verdict or verdict), by)
    uow.incidents.close(incident.id, verdict)
    uow.attention.cancel_timers(incident.id)
    uow.record(
        Entry(
            kind="incident.closed",
            at=uow.now,
            subject=incident.id,
            sentence=f"Closed: {verdict.value.replace('_', ' ')}",
            by=by,
            incident_id=incident.id,
            facts={"verdict": verdict.value},
        ),
        IncidentClosed(incident.id),
    )


def released(db: Database, authority_pem: bytes, approval_id: ApprovalId) -> None:
    """Close an incident as false once its quorum is there, after checking the votes."""
    with db.begin() as uow:
        if uow.approvals.document(approval_id).subject is not Subject.BLIND:
            return
        document = check_document(uow.approvals.evidence(approval_id), public_key_pem=authority_pem, now=uow.now)
        if not document.incident or not lists(document, false_closure_item(document.incident)):
            return
        incident = uow.incidents.lock_incident(IncidentId(document.incident))
        if uow.approvals.end(approval_id, ApprovalState.EXECUTED):
            close(uow, incident, CaseVerdict.FALSE_POSITIVE, {}, document.requester)
