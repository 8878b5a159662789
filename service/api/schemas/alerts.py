"""Alerts as they are shown and judged."""

from datetime import datetime
from decimal import Decimal

from pydantic import Field

from service.api.pagination import Asked
from service.api.schemas.common import Body, SeverityWord, Shown, shows
from service.domain.incident import CaseVerdict, IncidentKind


class AlertShown(Shown):
    """One alert."""

    model_config = shows(
        {
            "id": "alr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P",
            "connection_id": "main",
            "activity_id": "act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q",
            "incident_id": "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R",
            "kind": "drain",
            "severity": "critical",
            "decision": "hold",
            "score": 12.4,
            "p_value": 4.1e-9,
            "title": "First withdrawal to a new destination, 40 times the usual amount",
            "entities": ["account:main/hot-eth-1"],
            "amount_usd": "1204310.00",
            "count": 3,
            "raised_at": "2026-01-05T09:12:44.102Z",
            "last_at": "2026-01-05T09:13:01.440Z",
            "verdict": None,
            "verdict_by": None,
            "verdict_at": None,
            "reported_by": None,
        }
    )

    id: str
    connection_id: str
    activity_id: str
    incident_id: str | None
    kind: IncidentKind
    severity: SeverityWord
    decision: str = Field(description="alert | hold")
    score: float
    p_value: float
    title: str
    entities: list[str]
    amount_usd: Decimal | None
    count: int = Field(description="How many activities it stands for.")
    raised_at: datetime
    last_at: datetime
    verdict: CaseVerdict | None
    verdict_by: str | None
    verdict_at: datetime | None
    reported_by: str | None = Field(description="Who raised it; null for an alert of the engine.")


class AlertsAsked(Asked):
    """Which alerts to list."""

    incident: str | None = Field(default=None, max_length=64)
    connection: str | None = Field(default=None, max_length=64)
    kind: IncidentKind | None = None
    waiting: bool = Field(default=False, description="Only those without a verdict.")


class VerdictIn(Body):
    """What a person decided."""

    verdict: CaseVerdict = Field(examples=["true_positive"])
