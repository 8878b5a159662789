"""Activities with their assessments, as they are listed and shown."""

import base64
import json
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from service.api.pagination import Asked
from service.api.schemas.common import BaseUnits, Body, Shown, Words, shows
from service.domain.incident import IncidentKind


def _reasons(stored: object) -> object:
    return json.loads(stored) if isinstance(stored, str) else stored or []


def _raw(stored: object) -> object:
    return base64.b64encode(stored).decode() if isinstance(stored, bytes | memoryview) else stored


class ActivityShown(Shown):
    """One activity: what the platform said happened, and what the engine thought of it.

    `reasons` name the observed and the usual value and each one's share of the score.
    """

    model_config = shows(
        {
            "id": "act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q",
            "connection_id": "main",
            "event_id": "evt-20260105-000042",
            "kind": "withdrawal.requested",
            "status": "scored",
            "occurred_at": "2026-01-05T09:12:43Z",
            "received_at": "2026-01-05T09:12:44.021Z",
            "account": "hot-eth-1",
            "actor": "api-key-7",
            "transaction": "tx-881",
            "asset": "eip155:1/slip44:60",
            "destination": "eip155:1:0xeb31973e0febf3e3d7058234a5ebbae1ab4b8c23",
            "amount_base_units": "400000000000000000000",
            "amount_usd": "1204310.00",
            "balance_usd": "8400000.00",
            "score": 12.4,
            "p_value": 4.1e-9,
            "decision": "hold",
            "history": "enough",
            "reasons": [{"feature": "amount_usd", "observed": "1204310", "usual": "2900", "share": 6.1}],
            "detectors": ["drain_velocity"],
            "seq": 90210,
        }
    )

    id: str
    connection_id: str
    event_id: str
    kind: str
    status: str = Field(description="scored | unattributed | repeated | history")
    occurred_at: datetime
    received_at: datetime
    account: str | None
    actor: str | None
    transaction: str | None
    asset: str | None
    destination: str | None
    amount_base_units: BaseUnits | None
    amount_usd: Decimal | None
    balance_usd: Decimal | None
    score: float | None
    p_value: float | None
    decision: str | None = Field(description="allow | alert | hold; null when it was not scored")
    history: str | None = Field(description="enough | not_enough: then the score is the group's")
    reasons: Annotated[list[Any], BeforeValidator(_reasons)]
    detectors: list[str] | None
    seq: int | None = Field(description="Its place in the learning sequence.")


class ActivityWhole(ActivityShown):
    """One activity, with its raw body (base64) where that was asked for."""

    raw: Annotated[str | None, BeforeValidator(_raw)] = None


class ClearIn(Body):
    """Why a held activity should pass; read by those who must approve."""

    why: Words | None = Field(default=None, max_length=800, examples=["Announced by the treasury, called back."])


class ClearanceAsked(Shown):
    """Clearing takes a quorum: the approval that was opened for it."""

    model_config = shows({"approval": "apr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8T", "digest": "9f86d081884c7d65"})

    approval: str
    digest: str


class ReportIn(Body):
    """What a person thinks is happening."""

    kind: IncidentKind | None = Field(
        default=None,
        description="Names the playbook; left out: by what the activity is.",
        examples=["account_takeover"],
    )


class VouchedShown(Shown):
    """Who vouched for an activity."""

    model_config = shows({"activity": "act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q", "by": "per_ada", "at": "2026-01-12T08:00:00Z"})

    activity: str
    by: str
    at: datetime


class ActivitiesAsked(Asked):
    """Which activities to list; what is left out does not matter."""

    connection: str | None = Field(default=None, max_length=64)
    account: str | None = Field(default=None, max_length=200)
    actor: str | None = Field(default=None, max_length=200)
    kind: str | None = Field(default=None, max_length=64, examples=["withdrawal.requested"])
    transaction: str | None = Field(default=None, max_length=200)
    destination: str | None = Field(default=None, max_length=200)
    anomalous: bool = Field(default=False, description="Only what was alerted or held.")
    sample: bool = Field(
        default=False, description="Only what was let pass, drawn to be vouched for, and waits for it."
    )

    def filters(self) -> dict[str, str]:
        """Return the columns that must equal a value."""
        asked = {
            "connection_id": self.connection,
            "account": self.account,
            "actor": self.actor,
            "kind": self.kind,
            "transaction": self.transaction,
            "destination": self.destination,
        }
        return {name: value for name, value in asked.items() if value is not None}
