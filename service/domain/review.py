"""The review of a closed incident: what happened, how quickly, what it cost, who decided what.

All times are counted in seconds from the moment the first harmful activity was received. Value lost is what our own
records saw leave (transfers that were broadcast or confirmed and belong to the incident's alerts); value saved is what
was in reach at that moment less what was lost; an incident that turned out to be none lost nothing. Both are our view; a
platform's ledger may differ, and the review says so.

What the timeline says of messages in the same words within a minute is one line with a count: a page to nine people is one
thing that happened. The stored timeline keeps every line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from service.domain.incident import Alert, CaseVerdict, Incident

_ACCESS_SHOWN: Final = ("at", "kind", "actor", "country", "session", "shares")
"""A review is kept and mailed: addresses and devices of people stay in the evidence."""

_MESSAGES: Final = "message."
_AT_ONCE: Final = timedelta(minutes=1)
"""Messages of the same words within that time of the first are told as one line."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One vote as the review shows it."""

    approval_id: str
    person: str
    decision: str
    at: datetime
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepLine:
    """One containment step as the review shows it."""

    action: str
    target: str
    state: str
    effect: str
    attempts: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """Why an alert was raised: sentences, and where it was drawn the picture of what went before (SVG)."""

    sentences: Sequence[str] = ()
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a review is made from."""

    incident: Incident
    alerts: Sequence[Alert]
    steps: Sequence[StepLine]
    decisions: Sequence[Decision]
    timeline: Sequence[Mapping[str, object]]
    lost_usd: Decimal
    found: Mapping[str, Found] = field(default_factory=dict)
    """By alert id."""
    evidence: Mapping[str, Any] | None = None
    """The report of `forensics/report.py`; None while nothing was traced."""


def build(facts: Facts, written_at: datetime) -> dict[str, object]:
    """Return the review as JSON values; amounts are decimal strings, moments RFC 3339, durations seconds or None."""
    incident = facts.incident
    lost = Decimal(0) if incident.verdict is CaseVerdict.FALSE_POSITIVE else facts.lost_usd
    return {
        "v": 1,
        "incident": {
            "id": incident.id,
            "kind": incident.kind.value,
            "severity": incident.severity.word,
            "title": incident.title,
            "verdict": None if incident.verdict is None else incident.verdict.value,
            "opened_at": incident.opened_at.isoformat(),
            "closed_at": None if incident.closed_at is None else incident.closed_at.isoformat(),
            "entities": list(incident.entities),
            "acknowledged_by": incident.acknowledged_by,
        },
        "times_s": {
            "detect": _since(incident, incident.detected_at),
            "open": _since(incident, incident.opened_at),
            "first_hold": _since(incident, incident.held_at),
            "contain": _since(incident, incident.contained_at),
            "recover": _since(incident, incident.recovered_at),
            "acknowledge": _since(incident, incident.acknowledged_at),
            "close": _since(incident, incident.closed_at),
        },
        "value_usd": {
            "at_risk": str(incident.value_at_risk_usd),
            "lost": str(lost),
            "saved": str(max(incident.value_at_risk_usd - lost, Decimal(0))),
            "source": "our records: amounts the platform told us, of transfers that left",
        },
        "alerts": [_alert(a, facts.found.get(a.id, Found())) for a in facts.alerts],
        "steps": [_step(s) for s in facts.steps],
        "decisions": [_decision(d) for d in facts.decisions],
        "evidence": None if facts.evidence is None else _evidence(facts.evidence),
        "timeline": [_line(lines) for lines in _folded(facts.timeline)],
        "written_at": written_at.isoformat(),
    }


def _since(incident: Incident, moment: datetime | None) -> float | None:
    return None if moment is None else round((moment - incident.first_harm_at).total_seconds(), 3)


def _alert(alert: Alert, found: Found) -> dict[str, object]:
    return {
        "id": alert.id,
        "activity": alert.activity_id,
        "kind": alert.kind.value,
        "score": alert.score,
        "decision": alert.decision,
        "amount_usd": None if alert.amount_usd is None else str(alert.amount_usd),
        "raised_at": alert.raised_at.isoformat(),
        "verdict": None if alert.verdict is None else alert.verdict.value,
        "because": list(found.sentences),
    }


def _evidence(report: Mapping[str, Any]) -> dict[str, object]:
    """Return what a review shows of the evidence: how far each chain was followed, and where money reached a service."""
    chains = [
        {
            "chain": chain["chain"],
            "complete": chain["complete"],
            "cut": list(chain["cut"]),
            "movements": len(chain["movements"]) + chain["more_movements"],
            "addresses": len(chain["addresses"]),
            "services": [
                {"address": one["address"], **one["label"], "received": one["received"]}
                for one in chain["addresses"]
                if one["label"] is not None
            ],
        }
        for chain in report["chains"]
    ]
    access = [{name: line[name] for name in _ACCESS_SHOWN} for line in report["access"]]
    return {"chains": chains, "access": access, "lists": report["lists"], "notes": report["notes"]}


def _step(step: StepLine) -> dict[str, object]:
    return {
        "action": step.action,
        "target": step.target,
        "state": step.state,
        "effect": step.effect,
        "attempts": step.attempts,
        "reason": step.reason,
    }


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "approval": decision.approval_id,
        "person": decision.person,
        "decision": decision.decision,
        "at": decision.at.isoformat(),
        "what": list(decision.sentences),
    }


def _folded(timeline: Sequence[Mapping[str, object]]) -> list[list[Mapping[str, object]]]:
    """Return the lines in their order, those that are told as one together, at the place of the first."""
    folds: list[list[Mapping[str, object]]] = []
    opened: dict[tuple[object, ...], list[Mapping[str, object]]] = {}
    for line in timeline:
        same = (line["kind"], line["sentence"], line["by"])
        fold = opened.get(same)
        if fold is None or not _told_together(fold[0], line):
            fold = opened[same] = []
            folds.append(fold)
        fold.append(line)
    return folds


def _told_together(first: Mapping[str, object], line: Mapping[str, object]) -> bool:
    began, at = first["at"], line["at"]
    if not str(line["kind"]).startswith(_MESSAGES) or not (isinstance(began, datetime) and isinstance(at, datetime)):
        return False
    return at - began <= _AT_ONCE


def _line(lines: Sequence[Mapping[str, object]]) -> dict[str, object]:
    first, last = lines[0], lines[-1]
    return {
        "at": _moment(first["at"]),
        "until": _moment(last["at"]),
        "times": len(lines),
        "kind": first["kind"],
        "sentence": first["sentence"],
        "by": first["by"],
    }


def _moment(at: object) -> str:
    return at.isoformat() if isinstance(at, datetime) else str(at)
