"""Suppressions and the engine's settings, as they are shown and asked for."""

from datetime import datetime
from typing import Any, Self

from pydantic import AwareDatetime, Field

from service.api.pagination import Paged
from service.api.schemas.common import Body, Shown, Words, shows
from service.ports.store.blinding import StandingSuppression

_SUPPRESSION = {
    "id": "sup_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R",
    "entity": "account:main/hot-eth-1",
    "detector": "payout-burst",
    "owner": "per_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P",
    "reason": "Weekly payroll run, announced by the treasury.",
    "expires_at": "2026-02-01T00:00:00Z",
    "approval": "apr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8T",
    "created_at": "2026-01-05T09:12:43Z",
    "state": "active",
    "lifted_at": None,
    "lifted_by": None,
}


class SuppressionShown(Shown):
    """One suppression that a quorum approved."""

    model_config = shows(_SUPPRESSION)

    id: str
    entity: str
    detector: str | None = Field(description="null: the score itself")
    owner: str
    reason: str
    expires_at: datetime
    approval: str
    created_at: datetime
    state: str = Field(description="active | expired | lifted")
    lifted_at: datetime | None
    lifted_by: str | None

    @classmethod
    def of(cls, standing: StandingSuppression, now: datetime) -> Self:
        """Return a suppression as it stands now."""
        told = standing.told
        return cls(
            id=told.id,
            entity=told.entity,
            detector=told.detector,
            owner=told.owner,
            reason=told.reason,
            expires_at=told.expires_at,
            approval=standing.approval_id,
            created_at=standing.created_at,
            state=standing.state(now),
            lifted_at=standing.lifted_at,
            lifted_by=standing.lifted_by,
        )


class SuppressionsAsked(Paged):
    """Which suppressions to list."""

    active: bool = Field(default=False, description="Only those in force.")


class SuppressionIn(Body):
    """What shall decide nothing for a while."""

    entity: str = Field(
        max_length=300,
        description="account:CONNECTION/ID, actor:CONNECTION/ID, device:CONNECTION/ID, destination:ID or network:NAME "
        "(asN, or a block: /24 of IPv4 or /48 of IPv6), exactly.",
        examples=["account:main/hot-eth-1"],
    )
    detector: str | None = Field(default=None, max_length=80, description="A detector's id; absent: the score itself.")
    expires_at: AwareDatetime = Field(
        description="RFC 3339 with offset, at most 90 days ahead.", examples=["2026-02-01T00:00:00Z"]
    )
    reason: Words = Field(max_length=500, examples=["Weekly payroll run, announced by the treasury."])
    owner: str | None = Field(
        default=None, max_length=64, description="The person who answers for it; absent: who asks."
    )


class BlindingAsked(Shown):
    """It takes a quorum: the approval that was opened for it."""

    model_config = shows({"approval": "apr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8T", "digest": "9f86d081884c7d65"})

    approval: str
    digest: str


class SettingShown(Shown):
    """One setting that may be changed while the engine runs."""

    name: str
    value: Any
    loosens: str = Field(description="Which way makes the engine see less and takes a quorum: lower | higher | both")


class SettingsShown(Shown):
    """The engine's settings, without its salt."""

    model_config = shows(
        {
            "digest": "3c9a6e5d",
            "changeable": [{"name": "hold_p", "value": 1e-05, "loosens": "lower"}],
            "settings": {"alert_p": 0.001, "hold_p": 1e-05},
        }
    )

    digest: str
    changeable: list[SettingShown]
    settings: dict[str, Any]


class SettingsIn(Body):
    """Settings to change."""

    changes: dict[str, Any] = Field(min_length=1, max_length=10, examples=[{"hold_p": 1e-6}])
    why: Words = Field(max_length=800, examples=["Too many holds of the payroll account at month's end."])


class MovedShown(Shown):
    """One setting that changes."""

    name: str
    old: Any
    new: Any
    loosens: bool


class SettingsAsked(Shown):
    """What became of it: applied at once when every change tightens, else the approval that was opened."""

    model_config = shows(
        {
            "applied": False,
            "changes": [{"name": "hold_p", "old": 1e-05, "new": 1e-06, "loosens": True}],
            "approval": "apr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8T",
            "digest": "9f86d081884c7d65",
        }
    )

    applied: bool
    changes: list[MovedShown]
    approval: str | None
    digest: str | None
