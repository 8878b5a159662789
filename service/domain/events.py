"""Events: what happened, in the past tense, carrying ids only (design D2, section 3).

A step writes its events into the outbox in the same transaction as its change; `flow/routes.py` says which jobs each
event starts. Whoever receives one re-reads everything else under its own rights.
"""

from dataclasses import asdict, dataclass
from typing import ClassVar, Final


@dataclass(frozen=True)
class Event:
    """Base: `name` is what the outbox stores, the fields are ids."""

    name: ClassVar[str] = ""

    def payload(self) -> dict[str, str]:
        """The ids, as stored in the outbox and sent in job messages."""
        return asdict(self)


@dataclass(frozen=True)
class AlertRaised(Event):
    name: ClassVar[str] = "alert_raised"
    alert_id: str


@dataclass(frozen=True)
class ActivityVouched(Event):
    """A person says that nothing was wrong with an activity that was let pass."""

    name: ClassVar[str] = "activity_vouched"
    activity_id: str


@dataclass(frozen=True)
class IncidentOpened(Event):
    name: ClassVar[str] = "incident_opened"
    incident_id: str


@dataclass(frozen=True)
class IncidentWidened(Event):
    """An alert joined: the plan must be held against it, also where it names nothing new but what held was loosened."""

    name: ClassVar[str] = "incident_widened"
    incident_id: str
    alert_id: str


@dataclass(frozen=True)
class IncidentAcknowledged(Event):
    name: ClassVar[str] = "incident_acknowledged"
    incident_id: str


@dataclass(frozen=True)
class IncidentContained(Event):
    name: ClassVar[str] = "incident_contained"
    incident_id: str


@dataclass(frozen=True)
class IncidentClosed(Event):
    name: ClassVar[str] = "incident_closed"
    incident_id: str


@dataclass(frozen=True)
class PlanProposed(Event):
    name: ClassVar[str] = "plan_proposed"
    plan_id: str
    incident_id: str


@dataclass(frozen=True)
class BlastLimitReached(Event):
    """A plan has tightening steps that the hour's blast radius no longer covers: they wait for people."""

    name: ClassVar[str] = "blast_limit_reached"
    plan_id: str
    incident_id: str


@dataclass(frozen=True)
class ActionRequested(Event):
    """A person asks for an action of an incident's playbook once more, or for `recover`: loosen what was tightened."""

    name: ClassVar[str] = "action_requested"
    incident_id: str
    action: str
    requester: str
    numbers: str = ""
    """What he tells with it (`domain/numbers.py`)."""
    request: str = ""
    """Its own name: delivered again, it is planned once."""

    def payload(self) -> dict[str, str]:
        """See the base; without numbers there is no word of them."""
        return {name: value for name, value in super().payload().items() if value}


@dataclass(frozen=True)
class StepReady(Event):
    """A tightening step was planned, or everything a step waited for is there."""

    name: ClassVar[str] = "step_ready"
    step_id: str
    lane: str


@dataclass(frozen=True)
class StepVerified(Event):
    name: ClassVar[str] = "step_verified"
    step_id: str
    incident_id: str


@dataclass(frozen=True)
class StepUnknown(Event):
    name: ClassVar[str] = "step_unknown"
    step_id: str
    incident_id: str


@dataclass(frozen=True)
class StepFailed(Event):
    """Failed or refused: the stored reason says which."""

    name: ClassVar[str] = "step_failed"
    step_id: str
    incident_id: str


@dataclass(frozen=True)
class StepNotFinal(Event):
    """Done on a chain, and not in a final block after a day."""

    name: ClassVar[str] = "step_not_final"
    step_id: str
    incident_id: str


@dataclass(frozen=True)
class GuardianSpent(Event):
    """The guardian's gas of an hour is used up on a chain (CAIP-2).

    `hour` as `attention.hour_of` writes it, `what` a word of `attention.Spent`.
    """

    name: ClassVar[str] = "guardian_spent"
    chain: str
    hour: str
    what: str


@dataclass(frozen=True)
class ConnectionLost(Event):
    """A connection's platform answers nothing; the incident is one whose steps wait for it."""

    name: ClassVar[str] = "connection_lost"
    connection_id: str
    incident_id: str


@dataclass(frozen=True)
class ApprovalRequested(Event):
    name: ClassVar[str] = "approval_requested"
    approval_id: str


@dataclass(frozen=True)
class StepApproved(Event):
    """The quorum of one action document is complete; its steps may go, after the executing worker has checked it."""

    name: ClassVar[str] = "step_approved"
    approval_id: str


@dataclass(frozen=True)
class VoteCast(Event):
    """A vote was stored: its voter is told which document it was counted for."""

    name: ClassVar[str] = "vote_cast"
    approval_id: str
    person_id: str


@dataclass(frozen=True)
class FactorChanged(Event):
    """A person's enrolment code was shown, or its factor confirmed (`what`: shown | confirmed)."""

    name: ClassVar[str] = "factor_changed"
    person_id: str
    factor_id: str
    what: str


@dataclass(frozen=True)
class ApprovalEnded(Event):
    """Refused by a vote, expired or void."""

    name: ClassVar[str] = "approval_ended"
    approval_id: str


@dataclass(frozen=True)
class MessageQueued(Event):
    name: ClassVar[str] = "message_queued"
    message_id: str


@dataclass(frozen=True)
class AccountRegistered(Event):
    """A registered account needs its vault wallet and signed safe destination."""

    name: ClassVar[str] = "account_registered"
    account_id: str


@dataclass(frozen=True)
class EvidencePending(Event):
    """A slice of tracing ended with more to follow."""

    name: ClassVar[str] = "evidence_pending"
    incident_id: str


@dataclass(frozen=True)
class EvidenceRequested(Event):
    """A person asks that an incident be traced from its beginning once more."""

    name: ClassVar[str] = "evidence_requested"
    incident_id: str
    past_labels: bool = False
    """Whether money is followed past labels, but those of kind `service`."""


@dataclass(frozen=True)
class ReviewWritten(Event):
    name: ClassVar[str] = "review_written"
    incident_id: str


EVENTS: Final[dict[str, type[Event]]] = {cls.name: cls for cls in Event.__subclasses__()}
"""Every event by name."""
