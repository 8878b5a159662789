"""Incidents as they are listed, shown whole, assigned, talked about and closed."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service.api.pagination import Asked
from service.api.schemas.alerts import AlertShown
from service.api.schemas.common import Body, SeverityWord, Shown, Words, shows
from service.domain.incident import CaseVerdict, IncidentKind, IncidentState
from service.domain.numbers import LARGEST, MOST
from service.domain.plan import Effect, Lane, StepState
from service.domain.settlement import Outcome

MAX_COMMENT = 4000
MAX_JUDGED = 1000
MAX_VERSION = 2**31 - 1

_EXAMPLE: dict[str, Any] = {
    "id": "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R",
    "kind": "drain",
    "severity": "critical",
    "state": "open",
    "title": "Funds are being drained",
    "entities": ["account:main/hot-eth-1"],
    "value_at_risk_usd": "8400000.00",
    "opened_at": "2026-01-05T09:12:44.180Z",
    "first_harm_at": "2026-01-05T09:12:44.021Z",
    "detected_at": "2026-01-05T09:12:44.102Z",
    "held_at": None,
    "contained_at": None,
    "recovered_at": None,
    "closed_at": None,
    "acknowledged_at": None,
    "acknowledged_by": None,
    "assignee": None,
    "verdict": None,
    "version": 1,
}


class IncidentShown(Shown):
    """One incident in a list. A moment that is null has not come."""

    model_config = shows(_EXAMPLE)

    id: str
    kind: IncidentKind
    severity: SeverityWord
    state: IncidentState
    title: str
    entities: list[str]
    value_at_risk_usd: Decimal
    opened_at: datetime
    first_harm_at: datetime
    detected_at: datetime
    held_at: datetime | None
    contained_at: datetime | None
    recovered_at: datetime | None
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    assignee: str | None
    verdict: CaseVerdict | None
    version: int


class PlanShown(Shown):
    """One plan; its digest is what approvals are bound to."""

    id: str
    playbook: str
    compromised: str = Field(description="none | leaf | account_key | seed")
    digest: str
    created_at: datetime


class StepShown(Shown):
    """One action on one target."""

    id: str
    plan_id: str
    position: int
    action: str
    target: dict[str, Any]
    params: dict[str, Any]
    effect: Effect
    lane: Lane
    state: StepState
    attempt: int
    after: list[str]
    approval_id: str | None
    receipt: dict[str, Any] | None
    verdict: str | None = Field(description="holds | does_not_hold | cannot_tell, as the other side last answered")
    reason: str | None
    created_at: datetime
    finished_at: datetime | None
    deadline_at: datetime | None
    confirm_by: datetime | None
    confirmed_by: str | None


class LineShown(Shown):
    """One line of the timeline."""

    model_config = shows(
        {
            "id": 4711,
            "kind": "step.verified",
            "subject": "stp_01JD2Z5Q8Z6W9X4V7T3S1R0Q8S",
            "sentence": "Holds: suspend withdrawals on hot-eth-1",
            "by": "portcullis",
            "facts": {},
            "at": "2026-01-05T09:12:44.612Z",
        }
    )

    id: int
    kind: str
    subject: str
    sentence: str
    by: str
    facts: dict[str, Any]
    at: datetime


class MessageShown(Shown):
    """One message: to whom in kind, about what, how it stands; never its text or recipient."""

    id: str
    audience: str
    channel: str
    subject: str
    state: str


class PageShown(Shown):
    """One person who was paged."""

    level: int
    person_id: str
    reason: str
    paged_at: datetime
    acknowledged_at: datetime | None


class RequestShown(Shown):
    """One approval that belongs to the incident."""

    id: str
    subject: str
    state: str
    approve_by: datetime


class IncidentWhole(IncidentShown):
    """One incident with everything that belongs to it, oldest first; `more` names what was cut to the newest 500."""

    model_config = shows(
        {
            **_EXAMPLE,
            "alerts": [],
            "plans": [],
            "steps": [],
            "timeline": [],
            "messages": [],
            "pages": [],
            "approvals": [],
            "more": [],
        }
    )

    alerts: list[AlertShown]
    plans: list[PlanShown]
    steps: list[StepShown]
    timeline: list[LineShown]
    messages: list[MessageShown]
    pages: list[PageShown]
    approvals: list[RequestShown]
    more: list[str]


class IncidentsAsked(Asked):
    """Which incidents to list."""

    state: IncidentState | None = None
    severity: Literal["low", "medium", "high", "critical"] | None = Field(default=None, description="At least.")
    kind: IncidentKind | None = None
    assignee: str | None = Field(default=None, max_length=64)


class CommentIn(Body):
    """Something worth keeping in the timeline. It is kept for good: write no personal data."""

    text: Words = Field(min_length=1, max_length=MAX_COMMENT, examples=["Called the exchange's operator: not theirs."])


class AssignIn(Body):
    """Who works on it."""

    person: str = Field(min_length=1, max_length=64, examples=["per_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P"])


class CloseIn(Body):
    """What it was, and for single alerts what they were, where that differs. `why` is read by those who must approve."""

    verdict: CaseVerdict = Field(examples=["true_positive"])
    version: int = Field(ge=1, le=MAX_VERSION, examples=[7], description="The incident's version that was looked at.")
    alerts: dict[str, CaseVerdict] = Field(
        default_factory=dict,
        max_length=MAX_JUDGED,
        examples=[{"alr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P": "inconclusive"}],
    )
    why: Words | None = Field(default=None, max_length=800, examples=["The transfer was our own migration."])


class ActionIn(Body):
    """`recover` loosens everything that this incident tightened; any other is an action of its playbook."""

    action: str = Field(min_length=1, max_length=64, pattern=r"^[a-z_]+$", examples=["recover", "freeze_workspace"])
    numbers: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")], Annotated[int, Field(ge=0, le=LARGEST)]] = Field(
        default_factory=dict, max_length=MOST, examples=[{"before": 2, "signatures": 3, "owners": 5}]
    )


class ActionAsked(Shown):
    """What was asked for; what comes of it appears in the incident's plans."""

    model_config = shows({"incident": "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R", "action": "recover"})

    incident: str
    action: str


class SettleIn(Body):
    """What became of a step in `unknown`, and how it is known; `why` is read by those who must approve."""

    outcome: Outcome = Field(examples=["happened"])
    why: Words = Field(min_length=1, max_length=800, examples=["The mail server's log shows it accepted the letter."])


class SettlementAsked(Shown):
    """Settling a step takes a quorum: the approval that was opened for it."""

    model_config = shows({"approval": "apr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8T", "digest": "9f86d081884c7d65"})

    approval: str
    digest: str


class ClosureAsked(Shown):
    """Closing takes a quorum: the approval that was opened for it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"approval": "apr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8T", "digest": "9f86d081884c7d65"}]}
    )

    approval: str
    digest: str
