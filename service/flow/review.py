"""Incident closed → its review, as JSON and as one self-contained HTML page, and the verdicts fed back to learning.

Rules: written once, from what is stored at that moment; the page loads nothing from anywhere and escapes every value.
"""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Final

import structlog
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from rules.learning import RecordKind
from service.domain import verdicts
from service.domain.errors import NotFoundError
from service.domain.events import ReviewWritten
from service.domain.explaining import Assessed, DetectorNote, picture, sentences
from service.domain.ids import IncidentId
from service.domain.incident import Alert, CaseVerdict, Incident, IncidentState, Severity
from service.domain.review import Facts, Found, StepLine, build
from service.domain.timeline import Entry
from service.domain.verdicts import TOLD
from service.ports.store.unit import Database, UnitOfWork

_log = structlog.get_logger(__name__)
_MINUTE: Final = 60
_HOUR: Final = 3_600
MOST_PICTURES: Final = 10
"""Alerts of one incident that are drawn: the page stays small enough to be mailed."""


def write(db: Database, incident_id: IncidentId) -> None:
    """Write the review of a closed incident; safe to repeat, and nothing while it is open, whatever an event says."""
    with db.begin() as uow:
        facts = _gather(uow, incident_id)
        if facts.incident.state is not IncidentState.CLOSED:
            _log.error("review.not_closed", incident=incident_id)
            return
        review = build(facts, uow.now)
        pictures = {alert: Markup(found.picture) for alert, found in facts.found.items()}  # noqa: S704  our own, escaped
        traced = uow.forensics.trace(incident_id)
        trace = Markup(traced.drawing or "") if traced is not None else ""  # noqa: S704  as above
        page = _page().render(review=review, pictures=pictures, trace=trace)
        if not uow.attention.save_review(incident_id, json.dumps(review), page):
            return
        for alert in facts.alerts:
            if alert.verdict in TOLD and _may_teach(facts.incident, alert):
                known = verdicts.payload(alert, alert.verdict, _assessed(uow, alert), uow.now)
                uow.incidents.ask_learning(RecordKind.VERDICT.value, alert.id, known)
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


def _may_teach(incident: Incident, alert: Alert) -> bool:
    """Say whether an alert's verdict goes to the engine: a false one of a critical incident only with the whole.

    Who may write alerts may have called this one false before it was joined; only a quorum calls the whole so. A person's
    report that was wrong teaches nothing, or by reporting it anybody could have a payment of his choice called good.
    """
    if alert.reported_by is not None and alert.verdict is CaseVerdict.FALSE_POSITIVE:
        return False
    if incident.severity is not Severity.CRITICAL or alert.verdict is not CaseVerdict.FALSE_POSITIVE:
        return True
    return incident.verdict is CaseVerdict.FALSE_POSITIVE


def _found(uow: UnitOfWork, alerts: Sequence[Alert]) -> dict[str, Found]:
    """Return why each alert was raised; the first `MOST_PICTURES` are drawn, too."""
    found: dict[str, Found] = {}
    for number, alert in enumerate(alerts):
        assessed = _assessed(uow, alert)
        if assessed is None:
            continue
        told = sentences(assessed, [DetectorNote(name) for name in assessed.detectors])
        drawn = ""
        if number < MOST_PICTURES:
            drawn = _drawn(uow, assessed, f"past-{number}")
        found[alert.id] = Found(told, drawn)
    return found


def _drawn(uow: UnitOfWork, assessed: Assessed, name: str) -> str:
    """Return the picture, or nothing: a review is written whatever cannot be drawn."""
    try:
        past, complete = uow.findings.past(assessed)
        return picture(assessed, past, complete=complete, name=name)
    except Exception as error:  # noqa: BLE001  whatever broke, the review matters more
        _log.warning("review.not_drawn", activity=assessed.id, error=type(error).__name__)
        return ""


def _assessed(uow: UnitOfWork, alert: Alert) -> Assessed | None:
    try:
        return uow.findings.assessed(alert.activity_id)
    except NotFoundError:  # a review is written whatever is missing
        return None


def _gather(uow: UnitOfWork, incident_id: IncidentId) -> Facts:
    alerts = uow.incidents.alerts_of(incident_id)
    steps = [
        StepLine(s.action, s.target.value, s.state.value, s.effect.value, s.attempt, s.reason)
        for s in uow.plans.steps_of(incident_id)
    ]
    traced = uow.forensics.trace(incident_id)
    return Facts(
        evidence=None if traced is None or traced.report is None else json.loads(traced.report),
        incident=uow.incidents.incident(incident_id),
        alerts=alerts,
        found=_found(uow, alerts),
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
