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


_NEXT: Final[Mapping[StepState, frozenset[StepState]]] = {
    StepState.WAITING_APPROVAL: frozenset({StepState.READY, StepState.EXPIRED, StepState.REFUSED}),
    StepState.WAITING_STEP: frozenset(
        {StepState.WAITING_APPROVAL, StepState.READY, StepState.REFUSED, StepState.EXPIRED}
    ),
    StepState.READY: frozenset({StepState.RUNNING, StepState.REFUSED, StepState.EXPIRED}),
    StepState.RUNNING: frozenset(
        {
            StepState.RUNNING,
            StepState.VERIFYING,
            StepState.UNKNOWN,
            StepState.FAILED,
            StepState.REFUSED,
            StepState.READY,
        }
    ),
    StepState.VERIFYING: frozenset(
        {StepState.DONE, StepState.UNKNOWN, StepState.FAILED, StepState.VERIFYING, StepState.RUNNING}
    ),
    StepState.UNKNOWN: frozenset(
        {StepState.DONE, StepState.FAILED, StepState.READY, StepState.VERIFYING, StepState.RUNNING, StepState.REFUSED}
    ),
    StepState.DONE: frozenset({StepState.UNDONE}),
    StepState.FAILED: frozenset({StepState.READY}),
    StepState.REFUSED: frozenset(),
    StepState.EXPIRED: frozenset(),
    StepState.UNDONE: frozenset(),
}

FINISHED: Final = frozenset({StepState.DONE, StepState.FAILED, StepState.REFUSED, StepState.EXPIRED, StepState.UNDONE})


def limit_note(incident_id: IncidentId) -> str:
    """Return the key under which it is noted that a plan of this incident reached the hour's blast radius.

    Only workers write such notes; the timeline, which everybody may write, would not be proof.
    """
    return f"plan.blast_limit:{incident_id}"


def allowed(old: StepState, new: StepState) -> bool:
    """Say whether a step may go from `old` to `new`."""
    return new in _NEXT[old]


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
    """What a step acts on. `kind` is account | destination | transaction | credential | connection | key."""

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
