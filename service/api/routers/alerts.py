"""Alerts: what the engine found, and what people decided about it."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.api.deps import Judge, Parts, Reader, name_of
from service.api.pagination import Cursor, Limit, decode, envelope
from service.domain.ids import AlertId
from service.domain.incident import CaseVerdict
from service.domain.timeline import Entry
from service.store.queries import reading

router = APIRouter(prefix="/v1/alerts", tags=["alerts"])


class VerdictIn(BaseModel):
    """What a person decided."""

    verdict: CaseVerdict = Field(examples=["true_positive"])


@router.get("", summary="List alerts, newest first")
def list_alerts(
    parts: Parts,
    _reader: Reader,
    incident: Annotated[str | None, Query(max_length=40)] = None,
    waiting: Annotated[bool, Query(description="Only those without a verdict.")] = False,  # noqa: FBT002  a query flag
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, object]:
    """Return a page of alerts."""
    with parts.database.begin() as uow:
        found = reading.alerts_page(
            uow.connection, incident=incident, waiting=waiting, after=decode(cursor), limit=limit
        )
    return envelope(found)


@router.get("/{alert_id}", summary="One alert")
def get_alert(alert_id: str, parts: Parts, _reader: Reader) -> dict[str, object]:
    """Return one alert."""
    with parts.database.begin() as uow:
        return dict(reading.alert(uow.connection, alert_id))


@router.post("/{alert_id}/verdict", summary="Say whether an alert was right")
def set_verdict(alert_id: str, body: VerdictIn, parts: Parts, judge: Judge) -> dict[str, object]:
    """Store a verdict; it reaches the engine when the incident's review is written."""
    with parts.database.begin() as uow:
        alert = uow.incidents.alert(AlertId(alert_id))
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
        return dict(reading.alert(uow.connection, alert_id))
