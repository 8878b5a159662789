"""Plans and steps: what will be done to which target, frozen for one incident.

A plan's digest covers its incident, its playbook and every step's action, target and parameters, so that approvals of
one plan cannot be carried to another. States and their transitions are data here; `allowed` is the only judge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from service.domain.ids import ApprovalId, ConnectionId, IncidentId, PlanId, StepId

Json = Mapping[str, object]


class Effect(StrEnum):
    """What a step does to the attacker's and the owner's freedom (design D4)."""

    TIGHTENS = "tightens"
    LOOSENS = "loosens"
    IRREVERSIBLE = "irreversible"


class StepState(StrEnum):
    """Where a step is. `unknown` waits for the other side's word or a person's."""

    WAITING_APPROVAL = "waiting_approval"
    WAITING_STEP = "waiting_step"
    READY = "ready"
    RUNNING = "running"
    VERIFYING = "verifying"
    UNKNOWN = "unknown"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    """Preconditions unmet, a missing capability, or over the blast radius; the reason is stored."""
    EXPIRED = "expired"
    UNDONE = "undone"


TRANSITIONS: Final[Mapping[StepState, Mapping[StepState, str]]] = {
    StepState.WAITING_STEP: {
        StepState.READY: "what it waited for is done",
        StepState.WAITING_APPROVAL: "what it waited for is done, its votes are not all there",
        StepState.REFUSED: "what it waited for was not done, or a deeper rotation gave up what it publishes",
        StepState.EXPIRED: "its approval ended",
    },
    StepState.WAITING_APPROVAL: {
        StepState.READY: "the quorum is complete",
        StepState.REFUSED: "somebody voted no, or a deeper rotation gave up what it publishes",
        StepState.EXPIRED: "nobody decided in time",
    },
    StepState.READY: {
        StepState.RUNNING: "a worker committed its intent",
        StepState.REFUSED: "a precondition or the votes do not hold, the platform lacks the call, or it was given up",
        StepState.EXPIRED: "its approval ended before it was begun",
    },
    StepState.RUNNING: {
        StepState.VERIFYING: "the other side gave a receipt",
        StepState.UNKNOWN: "the answer was lost and the other side cannot tell",
        StepState.FAILED: "the other side said no, or too many tries",
        StepState.REFUSED: "the platform lacks the call, the votes no longer hold, or it was taken back since",
    },
    StepState.VERIFYING: {
        StepState.DONE: "the other side says that it holds",
        StepState.RUNNING: "there is more to do under the same key",
        StepState.UNKNOWN: "the deadline passed and the other side cannot tell",
        StepState.FAILED: "the deadline passed and it does not hold",
        StepState.REFUSED: "the row no longer says what its action does",
    },
    StepState.UNKNOWN: {
        StepState.VERIFYING: "the other side can tell again",
        StepState.RUNNING: "the other side says that it did not happen: the same key once more",
        StepState.FAILED: "it did not happen and there were too many tries",
        StepState.REFUSED: "it did not happen and may no longer be done",
    },
    StepState.DONE: {
        StepState.UNDONE: "a quorum loosened it again",
        StepState.RUNNING: "its block was dropped before it was final: the same key once more",
    },
    StepState.FAILED: {},
    StepState.REFUSED: {},
    StepState.EXPIRED: {},
    StepState.UNDONE: {},
}
"""Every way a step can go, and why: the only table. Code asks `allowed`, the documents draw it, tests walk it."""

STARTS: Final = (StepState.READY, StepState.WAITING_APPROVAL, StepState.WAITING_STEP, StepState.REFUSED)
"""What a plan may make of a step."""
FINISHED: Final = frozenset({StepState.DONE, StepState.FAILED, StepState.REFUSED, StepState.EXPIRED, StepState.UNDONE})

NEARBY_ACTION: Final = "lock_multisig"
"""The one action that reaches what no alert names and no lost key exposes: what is merely near (ADR 0049)."""


def limit_note(incident_id: IncidentId) -> str:
    """Return the key under which it is noted that a plan of this incident reached the hour's blast radius.

    Only workers write such notes; the timeline, which everybody may write, would not be proof.
    """
    return f"plan.blast_limit:{incident_id}"


def allowed(old: StepState, new: StepState) -> bool:
    """Say whether a step may go from `old` to `new`."""
    return new in TRANSITIONS[old]


class Verdict(StrEnum):
    """The other side's answer to whether an effect holds. "Cannot tell" is never "no" (design D5)."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does_not_hold"
    CANNOT_TELL = "cannot_tell"


def opposite(verdict: Verdict) -> Verdict:
    """Return what the answer about an effect says about the lack of that effect; cannot tell stays cannot tell."""
    return {Verdict.HOLDS: Verdict.DOES_NOT_HOLD, Verdict.DOES_NOT_HOLD: Verdict.HOLDS}.get(verdict, verdict)


class Lane(StrEnum):
    """Which worker runs a step: the one with platform keys or the one with wallet keys."""

    CONTAINMENT = "containment"
    KEYS = "keys"


@dataclass(frozen=True, slots=True)
class Target:
    """What a step acts on. `kind` is account | destination | transaction | credential | connection | key | asset."""

    kind: str
    connection: ConnectionId
    value: str
    """The platform's id of it; for a destination CAIP-10 or the platform's own."""
    account: str | None = None
    """The custody account's ref that a transaction or key belongs to."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The other side's reference for what we did: `reference` is its id, `facts` what it said (JSON, no secrets)."""

    reference: str
    facts: Json


def listed(receipt: Receipt | None, name: str) -> list[str]:
    """Return the list that a receipt has under this name, as strings; empty where it has none, or there is no receipt."""
    found = None if receipt is None else receipt.facts.get(name)
    return [str(one) for one in found] if isinstance(found, list) else []


@dataclass(frozen=True, slots=True)
class Step:
    """One action on one target in a plan."""

    id: StepId
    plan_id: PlanId
    incident_id: IncidentId
    position: int
    action: str
    target: Target
    params: Json
    effect: Effect
    lane: Lane
    state: StepState
    idempotency_key: str
    attempt: int
    fence: int
    after: tuple[StepId, ...]
    """Steps that must be done first."""
    approval_id: ApprovalId | None
    receipt: Receipt | None
    reason: str | None
    """Why it failed, was refused or is unknown: a sentence a person can act on."""
    deadline_at: datetime | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A playbook's frozen instance for one incident."""

    id: PlanId
    incident_id: IncidentId
    playbook: str
    playbook_digest: str
    policy_digest: str
    compromised: str
    """none | leaf | account_key | seed: what the plan assumes the attacker holds."""
    digest: str
    created_at: datetime
    steps: tuple[Step, ...]
    alerts: int = 0
    """How many alerts its incident had when it was made: it knows of no later one (`Alert.place`)."""
