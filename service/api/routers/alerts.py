"""Alerts: what the engine found, and what people decided about it.

Rules: a verdict is fed to the engine when the incident's review is written, so none is taken after that; in a critical
incident nobody alone may call an alert false, because that would blind the engine (design D4).
"""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.deps import Id, Judge, Parts, Reader, name_of
from service.api.pagination import Listing, listing
from service.api.schemas.alerts import AlertsAsked, AlertShown, VerdictIn
from service.domain.errors import ConflictError
from service.domain.ids import AlertId
from service.domain.incident import CaseVerdict, IncidentState, Severity
from service.domain.timeline import Entry
from service.store.queries import reading
from service.store.unit_of_work import SqlUnitOfWork

router = APIRouter(prefix="/v1/alerts", tags=["alerts"])


@router.get("", summary="List alerts, newest first")
def list_alerts(parts: Parts, _reader: Reader, asked: Annotated[AlertsAsked, Query()]) -> Listing[AlertShown]:
    """Return a page of alerts."""
    span = asked.span()
    filters = {"incident_id": asked.incident, "connection_id": asked.connection, "kind": asked.kind}
    with parts.database.begin() as uow:
        found = reading.alerts_page(uow.connection, span, filters, waiting=asked.waiting)
    return listing(found, AlertShown)


@router.get("/{alert_id}", summary="One alert")
def get_alert(alert_id: Id, parts: Parts, _reader: Reader) -> AlertShown:
    """Return one alert."""
    with parts.database.begin() as uow:
        return _shown(uow, alert_id)


@router.post("/{alert_id}/verdict", summary="Say whether an alert was right")
def set_verdict(alert_id: Id, body: VerdictIn, parts: Parts, judge: Judge) -> AlertShown:
    """Store a verdict; it reaches the engine when the incident's review is written."""
    with parts.database.begin() as uow:
        alert = uow.incidents.alert(AlertId(alert_id))
        if alert.incident_id is not None:
            incident = uow.incidents.lock_incident(alert.incident_id)
            if incident.state is IncidentState.CLOSED:
                raise ConflictError(f"incident {incident.id} is closed and reviewed: its verdicts stay")
            if incident.severity is Severity.CRITICAL and body.verdict is CaseVerdict.FALSE_POSITIVE:
                raise ConflictError(
                    f"incident {incident.id} is critical: calling its alerts false takes a quorum; close the incident "
                    "as false_positive to ask for one",
                    field="verdict",
                )
        uow.incidents.set_verdict(alert.id, body.verdict, name_of(judge))
        uow.record(
            Entry(
                kind="alert.judged",
                at=uow.now,
                subject=alert.id,
                sentence=f"Alert judged {body.verdict.value.replace('_', ' ')}",
                by=name_of(judge),
                incident_id=alert.incident_id,
                facts={"verdict": body.verdict.value},
            )
        )
        return _shown(uow, alert_id)


def _shown(uow: SqlUnitOfWork, alert_id: str) -> AlertShown:
    return AlertShown.model_validate(reading.alert(uow.connection, alert_id))
