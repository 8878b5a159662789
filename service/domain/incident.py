"""Alerts and incidents: deduplicated signals awaiting triage, and what people respond to."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum

from service.domain.ids import ActivityId, AlertId, ConnectionId, IncidentId


class Severity(IntEnum):
    """Ordered; stored by name."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """The name as it is stored and shown."""
        return self.name.lower()


class IncidentKind(StrEnum):
    """What is assumed to be happening; names the playbook."""

    DRAIN = "drain"
    ACCOUNT_TAKEOVER = "account_takeover"
    INSIDER_POLICY_CHANGE = "insider_policy_change"
    SIGNING_TAMPERING = "signing_tampering"
    LISTED_DESTINATION = "listed_destination"


class IncidentState(StrEnum):
    """`contained` once every tightening step holds and nothing is unknown; `closed` by a person with a verdict."""

    OPEN = "open"
    CONTAINED = "contained"
    CLOSED = "closed"


class CaseVerdict(StrEnum):
    """What people decided about an alert or incident after looking."""

    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Alert:
    """Anomalous activity, deduplicated by `dedup_key` within its window."""

    id: AlertId
    connection: ConnectionId
    activity_id: ActivityId
    dedup_key: str
    kind: IncidentKind
    severity: Severity
    decision: str
    """alert | hold"""
    score: float
    p_value: float
    entities: tuple[str, ...]
    """`account:…`, `actor:…`, `destination:…`, `device:…` with the connection inside: what incidents join on."""
    amount_usd: Decimal | None
    raised_at: datetime
    judged: tuple[float, ...] = ()
    """What the engine's score was made of, as its assessment told it: a verdict's row gives it back."""
    incident_id: IncidentId | None = None
    verdict: CaseVerdict | None = None
    reported_by: str | None = None
    """The person who raised it on what the engine had let pass; None for an alert of the engine."""
    place: int = 0
    """Which of its incident's alerts it is, in the order in which they joined, from 1; 0 before it joined one."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What people respond to. Times are UTC; None means it has not happened."""

    id: IncidentId
    kind: IncidentKind
    severity: Severity
    state: IncidentState
    title: str
    opened_at: datetime
    first_harm_at: datetime
    """When the first alerted activity was received."""
    detected_at: datetime
    value_at_risk_usd: Decimal
    entities: tuple[str, ...]
    held_at: datetime | None = None
    contained_at: datetime | None = None
    recovered_at: datetime | None = None
    closed_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    assignee: str | None = None
    verdict: CaseVerdict | None = None
    alarm: int = 1
    """How often people were to be woken for it: again when it grew worse, or went on after loosening was asked for. Each
    time it has to be acknowledged anew."""
    version: int = 1
