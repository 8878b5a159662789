"""Incident closed → its review, as JSON and as one self-contained HTML page, and the verdicts fed back to learning.

Rules: written once, from what is stored at that moment; the page loads nothing from anywhere and escapes every value.
"""

import json
import math
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, StrictUndefined, Template

from service.domain.events import ReviewWritten
from service.domain.ids import IncidentId
from service.domain.review import Facts, StepLine, build
from service.domain.timeline import Entry
from service.ports.store.unit import Database, UnitOfWork

_MINUTE: Final = 60
_HOUR: Final = 3_600


def write(db: Database, incident_id: IncidentId) -> None:
    """Write the review of a closed incident; safe to repeat."""
    with db.begin() as uow:
        facts = _gather(uow, incident_id)
        review = build(facts, uow.now)
        if not uow.attention.save_review(incident_id, json.dumps(review), _page().render(review=review)):
            return
        for alert in facts.alerts:
            if alert.verdict is not None:
                payload = {"activity": alert.activity_id, "verdict": alert.verdict.value}
                uow.incidents.ask_learning("verdict", alert.id, json.dumps(payload, sort_keys=True).encode())
        released = {"incident": incident_id, "entities": list(facts.incident.entities)}
        uow.incidents.ask_learning("incident_closed", incident_id, json.dumps(released, sort_keys=True).encode())
        uow.record(
            Entry(
                kind="review.written",
                at=uow.now,
                subject=incident_id,
                sentence="Review written",
                incident_id=incident_id,
                facts={"lost_usd": str(facts.lost_usd), "at_risk_usd": str(facts.incident.value_at_risk_usd)},
            ),
            ReviewWritten(incident_id),
        )


def _gather(uow: UnitOfWork, incident_id: IncidentId) -> Facts:
    steps = [
        StepLine(s.action, s.target.value, s.state.value, s.effect.value, s.attempt, s.reason)
        for s in uow.plans.steps_of(incident_id)
    ]
    return Facts(
        incident=uow.incidents.incident(incident_id),
        alerts=uow.incidents.alerts_of(incident_id),
        steps=steps,
        decisions=uow.approvals.decisions_of(incident_id),
        timeline=uow.attention.timeline_of(incident_id),
        lost_usd=uow.incidents.moved_usd(incident_id),
    )


def _clock(moment: str) -> str:
    """Return the time of day of an RFC 3339 moment, in UTC to the millisecond."""
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def _day(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d")


def _duration(seconds: float | None) -> str:
    """Return a duration as people read it: 0.4 s, 2 min 5 s, 3 h 20 min."""
    if seconds is None:
        return "—"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
    return f"{seconds // _HOUR:,.0f} h {seconds % _HOUR // _MINUTE:.0f} min"


@cache
def _page() -> Template:
    text = (files("service.flow") / "templates" / "review.html").read_text()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"log10_of": math.log10, "clock": _clock, "day": _day, "duration": _duration}
    return environment.from_string(text)
