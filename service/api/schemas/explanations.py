"""Explanations of activities, as they are shown."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import Field

from service.api.schemas.common import Shown, shows


class ReasonShown(Shown):
    """One measured value that speaks against an activity."""

    feature: str
    meaning: str = Field(
        description="What the feature measures, in one sentence; empty for one that is no longer known."
    )
    observed: str
    usual: str = Field(description="The range in which about nine of ten of this entity's values lie, with its unit.")
    share: float = Field(description="Part of the score, 0 to 1.")
    detector: str | None = Field(description="The detector that read it; null for the score itself.")


class DetectorShown(Shown):
    """One detector that fired, as the set in force describes it now."""

    id: str
    known: bool = Field(description="false: the set in force has none of this id any more, and the rest is empty.")
    title: str
    severity: str
    decision: str
    status: str
    runbook: str


class ExplanationShown(Shown):
    """Why an activity was judged as it was."""

    model_config = shows(
        {
            "id": "act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q",
            "connection_id": "main",
            "kind": "withdrawal.requested",
            "status": "scored",
            "occurred_at": "2026-01-05T09:12:43Z",
            "account": "hot-eth-1",
            "actor": "api-key-7",
            "destination": "eip155:1:0xeb31973e0febf3e3d7058234a5ebbae1ab4b8c23",
            "amount_usd": "18342.50",
            "score": 5.4,
            "p_value": 4.0e-6,
            "decision": "hold",
            "history": "enough",
            "sentences": [
                "It was held: withdrawal requested.",
                "Score 5.4: about one in 250,000 activities is as odd.",
            ],
            "reasons": [
                {
                    "feature": "amount_usd",
                    "meaning": "The amount against what this account usually pays.",
                    "observed": "18,342 USD",
                    "usual": "40\u2013900 USD",
                    "share": 0.62,
                    "detector": None,
                }
            ],
            "detectors": [
                {
                    "id": "drain-velocity",
                    "known": True,
                    "title": "An account is being emptied",
                    "severity": "critical",
                    "decision": "hold",
                    "status": "live",
                    "runbook": "docs/runbooks/detector/drain-velocity.md",
                }
            ],
            "levels": {"alert_p": 0.001, "hold_p": 1e-05, "alerts_per_day": 20.0},
            "picture": "/v1/activities/act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q/picture.svg",
        }
    )

    id: str
    connection_id: str
    kind: str
    status: str
    occurred_at: datetime
    account: str | None
    actor: str | None
    destination: str | None
    amount_usd: Decimal | None
    score: float | None
    p_value: float | None
    decision: str | None = Field(description="allow | alert | hold; null when it was not scored")
    history: str | None = Field(description="enough | not_enough: then the score is the group's")
    sentences: list[str] = Field(description="The whole explanation for a person, in order.")
    reasons: list[ReasonShown]
    detectors: list[DetectorShown]
    levels: dict[str, Any] | None = Field(
        description="The settings that were in force and say from where on the score alone decides; null when not scored."
    )
    picture: str = Field(description="Path of the picture of what went before.")
