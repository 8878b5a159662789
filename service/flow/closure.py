"""Closing an incident: by a responder at once, or after a quorum where closing would blind the engine (design D4).

Rules: calling a critical incident false, or any alert of one, takes a quorum, by whichever way it is said. Votes count for
the alerts that the incident had when they were asked for: when another has joined, people look again. Timers need no
cancelling: what fires for a closed incident finds it closed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.domain.approval import ApprovalState, Item, Subject, lists
from service.domain.authorisation import check_document
from service.domain.errors import ConflictError, InputError
from service.domain.events import IncidentClosed
from service.domain.ids import AlertId, ApprovalId, IncidentId
from service.domain.incident import CaseVerdict, Incident, IncidentState, Severity
from service.domain.requests import CLOSE_AS_FALSE, false_closure_item
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork


@dataclass(frozen=True, slots=True)
class Closing:
    """What an incident is closed as, what single alerts were where that differs, and who says so."""

    verdict: CaseVerdict
    of_alerts: Mapping[str, CaseVerdict] = field(default_factory=dict)
    by: str = "portcullis"
    by_quorum: bool = False


def close(uow: UnitOfWork, incident: Incident, closing: Closing) -> None:
    """Close a locked incident; alerts that are not named keep their verdict or take the incident's.

    Raises ConflictError when it is closed already, InputError for an alert that is not its own, and for a verdict that
    takes a quorum.
    """
    if incident.state is IncidentState.CLOSED:
        raise ConflictError(f"incident {incident.id} is closed already")
    for alert_id, verdict in _verdicts(uow, incident, closing).items():
        uow.incidents.set_verdict(alert_id, verdict, closing.by)
    uow.incidents.close(incident.id, closing.verdict)
    uow.record(
        Entry(
            kind="incident.closed",
            at=uow.now,
            subject=incident.id,
            sentence=f"Closed: {closing.verdict.value.replace('_', ' ')}",
            by=closing.by,
            incident_id=incident.id,
            facts={"verdict": closing.verdict.value},
        ),
        IncidentClosed(incident.id),
    )


def released(db: Database, authority_pem: bytes, approval_id: ApprovalId) -> None:
    """Close an incident as false once its quorum is there, after checking the votes."""
    with db.begin() as uow:
        if uow.approvals.document(approval_id).subject is not Subject.BLIND:
            return
        document = check_document(uow.approvals.evidence(approval_id), public_key_pem=authority_pem, now=uow.now)
        if not document.incident or CLOSE_AS_FALSE not in document.actions:
            return
        incident = uow.incidents.lock_incident(IncidentId(document.incident))
        if incident.state is IncidentState.CLOSED:
            uow.approvals.end(approval_id, ApprovalState.VOID, "the incident had been closed otherwise")
        elif not lists(document, asked_of(uow, incident)):
            _void(uow, incident, approval_id)
        elif uow.approvals.end(approval_id, ApprovalState.EXECUTED):
            decided = Closing(CaseVerdict.FALSE_POSITIVE, by=document.requester, by_quorum=True)
            close(uow, incident, decided)


def asked_of(uow: UnitOfWork, incident: Incident) -> Item:
    """Return the item that asks to close a locked incident, as it stands now, as false."""
    return false_closure_item(incident.id, [alert.id for alert in uow.incidents.alerts_of(incident.id)])


def _void(uow: UnitOfWork, incident: Incident, approval_id: ApprovalId) -> None:
    reason = "its alerts are no longer those that people voted on: look at them, then ask again"
    if uow.approvals.end(approval_id, ApprovalState.VOID, reason):
        uow.record(
            Entry(
                kind="incident.not_closed",
                at=uow.now,
                subject=incident.id,
                sentence=f"Not closed: {reason}",
                incident_id=incident.id,
                facts={"approval": approval_id},
            )
        )


def _verdicts(uow: UnitOfWork, incident: Incident, closing: Closing) -> Mapping[AlertId, CaseVerdict]:
    alerts = uow.incidents.alerts_of(incident.id)
    unknown = sorted(set(closing.of_alerts) - {alert.id for alert in alerts})
    if unknown:
        raise InputError(f"{unknown[0]} is no alert of this incident", field="alerts")
    if closing.by_quorum:
        return {alert.id: closing.verdict for alert in alerts}
    found = {a.id: closing.of_alerts.get(a.id, a.verdict or closing.verdict) for a in alerts}
    false = sorted(a for a, verdict in found.items() if verdict is CaseVerdict.FALSE_POSITIVE)
    if incident.severity is Severity.CRITICAL and (false or closing.verdict is CaseVerdict.FALSE_POSITIVE):
        raise InputError(
            f"the incident is critical: calling {false[0] if false else 'it'} false takes a quorum; close the whole as "
            "false_positive to ask for one, or say inconclusive",
            field="alerts" if false else "verdict",
        )
    return found
