"""Alert → incident: join an open one that shares an account, actor, destination or device, or open a new one.

Rules: one alert belongs to one incident; triage of all alerts is serialised, so that two alerts of one attack never open
two incidents, and who has its turn waits `TURN` at most for an incident that somebody else works on; what joins may only
raise severity and value at risk, never lower them, and may move the first harm back; the plan is held against every alert
that joins, and people are woken anew where it makes the incident worse, or comes after loosening was asked for; accounts
that share the attacked account's keys count as attacked; an unknown value at risk is not a small one. An incident about a
listed destination takes in its own kind alone: a theft must not begin with a payment whose playbook does little.
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
TURN: Final = timedelta(seconds=1)
"""How long an incident that somebody else works on, such as a long plan, may keep all other alerts from triage; the alert
that joins it is tried again later."""

_TITLES: Final = {
    IncidentKind.DRAIN: "Funds are being drained",
    IncidentKind.ACCOUNT_TAKEOVER: "A person's access looks taken over",
    IncidentKind.INSIDER_POLICY_CHANGE: "A policy change looks like an insider's",
    IncidentKind.SIGNING_TAMPERING: "What would be signed is not what is shown",
    IncidentKind.LISTED_DESTINATION: "Money would go where a list warns of",
}


def triage(db: Database, alert_id: AlertId) -> IncidentId:
    """Give the alert its incident and return that; safe to repeat."""
    with db.begin(on_disk=False) as uow:  # a forgotten one is done again: its alert is on disk
        uow.lock("triage", at_once=False)
        uow.wait_at_most(TURN)
        alert = uow.incidents.alert(alert_id)
        if alert.incident_id is not None:
            return alert.incident_id
        reached = uow.incidents.reach(alert.entities)
        entities = tuple(dict.fromkeys([*alert.entities, *reached]))
        uow.ask(uow.incidents.open_sharing, entities, uow.now - JOIN_WINDOW)
        uow.ask(uow.incidents.balances, entities)
        matches = [
            one for one in uow.incidents.open_sharing(entities, uow.now - JOIN_WINDOW) if _covers(one.kind, alert.kind)
        ]
        if matches:
            return _join(uow, alert, matches[0], entities)
        return _open(uow, alert, entities)


def _covers(incident: IncidentKind, alert: IncidentKind) -> bool:
    """Say whether an incident's playbook does enough for an alert: one for a listed destination does little else."""
    return incident is not IncidentKind.LISTED_DESTINATION or alert is incident


def _at_risk(uow: UnitOfWork, alert: Alert, accounts: Sequence[str], before: Decimal) -> Decimal | None:
    """Return what an attacker could reach: what was known before, these accounts' balances, the alert's own amount.

    None when nothing is known of any: that is not the same as nothing.
    """
    balances = uow.incidents.balances(accounts)
    known = [before, *balances.values()] if before else list(balances.values())
    if not known:
        return alert.amount_usd
    return max(sum(known, Decimal(0)), alert.amount_usd or Decimal(0))


def _join(uow: UnitOfWork, alert: Alert, incident: Incident, entities: Sequence[str]) -> IncidentId:
    added = [e for e in entities if e not in incident.entities]
    at_risk = _at_risk(uow, alert, added, incident.value_at_risk_usd)
    severity = severity_of(alert.kind, alert.decision, at_risk)
    worse = severity > incident.severity
    if worse or uow.plans.loosened_since(incident.id):
        uow.incidents.alarm(incident.id)
    uow.incidents.join_alert(alert.id, incident.id)
    uow.incidents.widen(incident.id, added, severity, at_risk or Decimal(0), alert.raised_at)
    if added:
        uow.incidents.ask_learning("incident_opened", incident.id, _entities_payload(incident.id, sorted(added)))
    entry = Entry(
        kind="alert.joined",
        at=uow.now,
        subject=alert.id,
        sentence=f"Alert joined: {alert.kind.value.replace('_', ' ')}, score {alert.score:.1f}",
        incident_id=incident.id,
        facts={"activity": alert.activity_id, "wider": worse or bool(added)},
    )
    uow.record(entry, IncidentWidened(incident.id, alert.id))
    return incident.id


def _open(uow: UnitOfWork, alert: Alert, entities: Sequence[str]) -> IncidentId:
    at_risk = _at_risk(uow, alert, entities, Decimal(0))
    incident = Incident(
        id=IncidentId(new_id("inc")),
        kind=alert.kind,
        severity=severity_of(alert.kind, alert.decision, at_risk),
        state=IncidentState.OPEN,
        title=_TITLES[alert.kind],
        opened_at=uow.now,
        first_harm_at=alert.raised_at,
        detected_at=uow.now,
        value_at_risk_usd=at_risk or Decimal(0),
        entities=tuple(entities),
    )
    uow.incidents.add(incident)
    uow.incidents.join_alert(alert.id, incident.id)
    uow.incidents.ask_learning("incident_opened", incident.id, _entities_payload(incident.id, entities))
    reach = "what is in reach is unknown" if at_risk is None else f"{at_risk:,.0f} USD in reach"
    uow.record(
        Entry(
            kind="incident.opened",
            at=uow.now,
            subject=incident.id,
            sentence=f"Incident opened ({incident.severity.word}): {incident.title.lower()}, {reach}",
            incident_id=incident.id,
            facts={
                "alert": alert.id,
                "kind": incident.kind.value,
                "severity": incident.severity.word,
                "value_at_risk_usd": None if at_risk is None else str(at_risk),
                "entities": list(entities),
            },
        ),
        IncidentOpened(incident.id),
    )
    return incident.id


def _entities_payload(incident_id: str, entities: Sequence[str]) -> bytes:
    return json.dumps({"incident": incident_id, "entities": list(entities)}, sort_keys=True).encode()
