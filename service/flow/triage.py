"""Alert → incident: join an open one that shares an account, actor, destination or device, or open a new one.

Rules: one alert belongs to one incident; triage of all alerts is serialised, so that two alerts of one attack never open
two incidents; what joins may only raise severity and value at risk, never lower them; accounts that share the attacked
account's keys count as attacked.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final

from service.domain.events import IncidentOpened, IncidentWidened
from service.domain.ids import AlertId, IncidentId, new_id
from service.domain.incident import Alert, Incident, IncidentKind, IncidentState
from service.domain.severity import severity_of
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork

JOIN_WINDOW: Final = timedelta(hours=24)

_TITLES: Final = {
    IncidentKind.DRAIN: "Funds are being drained",
    IncidentKind.ACCOUNT_TAKEOVER: "A person's access looks taken over",
    IncidentKind.INSIDER_POLICY_CHANGE: "A policy change looks like an insider's",
    IncidentKind.SIGNING_TAMPERING: "What would be signed is not what is shown",
}


def triage(db: Database, alert_id: AlertId) -> IncidentId:
    """Give the alert its incident and return that; safe to repeat."""
    with db.begin() as uow:
        uow.lock("triage")
        alert = uow.incidents.alert(alert_id)
        if alert.incident_id is not None:
            return alert.incident_id
        reached, reachable_usd = uow.incidents.reach(alert.entities)
        at_risk = max(reachable_usd, alert.amount_usd or Decimal(0))
        entities = tuple(dict.fromkeys([*alert.entities, *reached]))
        matches = uow.incidents.open_sharing(entities, uow.now - JOIN_WINDOW)
        if matches:
            return _join(uow, alert, matches[0], entities, at_risk)
        return _open(uow, alert, entities, at_risk)


def _join(uow: UnitOfWork, alert: Alert, incident: Incident, entities: Sequence[str], at_risk: Decimal) -> IncidentId:
    severity = severity_of(alert.kind, alert.decision, at_risk)
    wider = severity > incident.severity or not set(entities) <= set(incident.entities)
    uow.incidents.join_alert(alert.id, incident.id)
    if wider:
        uow.incidents.widen(incident.id, entities, severity, at_risk)
        added = sorted(set(entities) - set(incident.entities))
        uow.incidents.ask_learning("incident_opened", incident.id, _entities_payload(incident.id, added))
    entry = Entry(
        kind="alert.joined",
        at=uow.now,
        subject=alert.id,
        sentence=f"Alert joined: {alert.kind.value.replace('_', ' ')}, score {alert.score:.1f}",
        incident_id=incident.id,
        facts={"activity": alert.activity_id, "wider": wider},
    )
    events = (IncidentWidened(incident.id, alert.id),) if wider else ()
    uow.record(entry, *events)
    return incident.id


def _open(uow: UnitOfWork, alert: Alert, entities: Sequence[str], at_risk: Decimal) -> IncidentId:
    incident = Incident(
        id=IncidentId(new_id("inc")),
        kind=alert.kind,
        severity=severity_of(alert.kind, alert.decision, at_risk),
        state=IncidentState.OPEN,
        title=_TITLES[alert.kind],
        opened_at=uow.now,
        first_harm_at=alert.raised_at,
        detected_at=alert.raised_at,
        value_at_risk_usd=at_risk,
        entities=tuple(entities),
    )
    uow.incidents.add(incident)
    uow.incidents.join_alert(alert.id, incident.id)
    uow.incidents.ask_learning("incident_opened", incident.id, _entities_payload(incident.id, entities))
    uow.record(
        Entry(
            kind="incident.opened",
            at=uow.now,
            subject=incident.id,
            sentence=f"Incident opened ({incident.severity.word}): {incident.title.lower()}, {at_risk:,.0f} USD in reach",
            incident_id=incident.id,
            facts={
                "alert": alert.id,
                "kind": incident.kind.value,
                "severity": incident.severity.word,
                "value_at_risk_usd": str(at_risk),
                "entities": list(entities),
            },
        ),
        IncidentOpened(incident.id),
    )
    return incident.id


def _entities_payload(incident_id: str, entities: Sequence[str]) -> bytes:
    return json.dumps({"incident": incident_id, "entities": list(entities)}, sort_keys=True).encode()
