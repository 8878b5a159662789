"""API tokens and health, as they are shown."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from service.api.pagination import Asked
from service.api.schemas.common import Body, Shown, Words, shows
from service.domain.quorum import Role


class TokenIn(Body):
    """A token to make. An ingest token belongs to one connection; a person's token has one of his own roles."""

    label: Words = Field(min_length=1, max_length=100, examples=["batch loader"])
    role: Role = Field(examples=["ingest"])
    connection: str | None = Field(default=None, max_length=64, examples=["main"])
    person: str | None = Field(default=None, max_length=64)
    valid_days: int = Field(default=90, ge=1, le=366)


class TokenMade(Shown):
    """A new token, shown this once."""

    model_config = shows({"id": "tok_01JD2Z5Q8Z6W9X4V7T3S1R0Q8W", "token": "pcl_…"})

    id: str
    token: str


class TokenShown(Shown):
    """One token; nobody can read it again."""

    model_config = shows(
        {
            "id": "tok_01JD2Z5Q8Z6W9X4V7T3S1R0Q8W",
            "role": "viewer",
            "person_id": None,
            "connection_id": None,
            "label": "wall display",
            "created_at": "2026-01-05T09:00:00Z",
            "expires_at": "2026-04-05T09:00:00Z",
            "revoked_at": None,
        }
    )

    id: str
    role: Role
    person_id: str | None
    connection_id: str | None
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class TokensAsked(Asked):
    """Which tokens to list."""

    usable: bool = Field(default=False, description="Only those that are neither revoked nor expired.")


class HealthShown(Shown):
    """Whether the service can do its work."""

    model_config = shows({"status": "ok"})

    status: Literal["ok", "degraded"]


class RulesShown(Shown):
    """Which set of detectors is in force, which one waits for its quorum, and what is wrong."""

    in_force: str
    waiting: str | None
    approval: str | None
    finding: str | None = Field(description="Why the directory's set is not in force; null when nothing is wrong.")


class CalibrationShown(Shown):
    """How well one class of scores is calibrated; null: too few were seen to tell."""

    name: str
    scores: int
    drift_at_10_percent: float | None
    drift_at_1_percent: float | None


class BudgetShown(Shown):
    """One budget of alerts a day; null: none was asked for, or too little was seen to tell."""

    name: str
    asked: float | None
    realised: float | None


class StateShown(HealthShown):
    """The same with what waits: for those who may read."""

    model_config = shows(
        {
            "status": "ok",
            "oldest_event_waits_s": 0.2,
            "open_incidents": 1,
            "steps_unknown": 0,
            "approvals_waiting": 2,
            "messages_undelivered": 0,
            "listeners": 1,
            "suppressions_differ": [],
            "rules": {"in_force": "3c9a6e5d", "waiting": None, "approval": None, "finding": None},
            "sequence": 90344,
            "rows_behind": 0,
            "calibrations": [
                {"name": "money", "scores": 90210, "drift_at_10_percent": 1.02, "drift_at_1_percent": 0.97}
            ],
            "budgets": [{"name": "all", "asked": 20.0, "realised": 19.4}],
        }
    )

    oldest_event_waits_s: float = Field(description="Age of the oldest event that no worker has taken; 0 for none.")
    open_incidents: int
    steps_unknown: int = Field(description="Steps whose outcome nobody knows yet: a person should look.")
    approvals_waiting: int
    messages_undelivered: int
    listeners: int
    suppressions_differ: list[str] = Field(
        description="Suppressions that the engine goes by and no quorum approved, or the other way; in sentences."
    )
    rules: RulesShown | None = Field(description="The sets of detectors; null where no engine runs.")
    sequence: int | None = Field(
        description="Row of the learning sequence at which the engine stands; null: it is built."
    )
    rows_behind: int | None = Field(description="Rows after it, which others added: this process takes them over soon.")
    calibrations: list[CalibrationShown] = Field(
        description="Of each class of scores: the recent share of low p-values over what it should be; 1 is perfect."
    )
    budgets: list[BudgetShown] = Field(description="Alerts a day: asked (null: no budget) and lately realised.")
