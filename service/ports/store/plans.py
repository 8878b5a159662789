"""Plans, their steps with leases and fences, and the holds of our gate, as flow steps see them.

A step is worked on by one worker at a time: `claim` takes a lease by compare-and-swap and raises the step's fence, and
every later write names that fence. A worker whose lease ran out and was taken over gets StaleFenceError instead of
writing. Leases are renewed while the work lasts (`extend`), so that a dead worker is noticed within seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from service.domain.ids import ApprovalId, ConnectionId, IncidentId, PlanId, StepId
from service.domain.plan import Lane, Plan, Receipt, Step, StepState, Verdict


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's right to work on a step until the lease ends."""

    step: Step
    """As it was when claimed; its `fence` is the one to write with."""
    intent_at: datetime | None
    """When an earlier attempt committed itself to the call; None: no call reached the other side."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one transition writes. None leaves a column as it is, except that `due_at` is always written."""

    state: StepState
    reason: str | None = None
    receipt: Receipt | None = None
    verdict: Verdict | None = None
    due_at: datetime | None = None
    """When the sweeper looks at the step again; None: not before an event."""
    deadline_at: datetime | None = None
    confirm_by: datetime | None = None
    did_nothing: bool = False
    """The call is known to have reached nobody: the intent is taken back, and the next attempt does not ask first."""
    free: bool = False
    """A call was put off by our own pace before it was made: the attempt does not count."""


@dataclass(frozen=True, slots=True)
class DueStep:
    """An unfinished step that nobody works on."""

    id: StepId
    lane: Lane
    due_at: datetime
    trace_id: str | None
    """The trace of what planned it."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What tightening began to act on by itself."""

    kind: str
    value: str
    nearby: bool
    """Locked because it is near what alerts name, and named by no alert of the incident itself."""


class PlanStore(Protocol):
    """Plans and steps of incidents."""

    def add(self, plan: Plan, document: str) -> None:
        """Store a plan with all its steps. `document` is the canonical JSON that `plan.digest` covers."""
        ...

    def of_incident(self, incident_id: IncidentId) -> tuple[Plan, ...]:
        """Return the incident's plans with their steps, oldest first."""
        ...

    def is_planned(self, incident_id: IncidentId) -> bool:
        """Say whether the incident has a plan."""
        ...

    def known_alerts(self, incident_id: IncidentId) -> Mapping[PlanId, int]:
        """Return how many alerts the incident had when each of its plans was made."""
        ...

    def document(self, plan_id: PlanId) -> str:
        """Return a plan's canonical JSON. Raises NotFoundError."""
        ...

    def step(self, step_id: StepId) -> Step:
        """Return one step. Raises NotFoundError."""
        ...

    def steps_of(self, incident_id: IncidentId) -> tuple[Step, ...]:
        """Return every step of the incident's plans, oldest plan first (their ids are in that order), in order."""
        ...

    def steps_of_approval(self, approval_id: ApprovalId) -> tuple[Step, ...]:
        """Return the steps that one action document lists."""
        ...

    def open_loosenings(self, incident_id: IncidentId, *, lock: bool = False) -> tuple[Step, ...]:
        """Return the incident's steps that loosen and that no worker has begun, in order; `lock`: nor will meanwhile."""
        ...

    def loosened_since(self, incident_id: IncidentId) -> bool:
        """Say whether loosening was asked for since the incident's newest alert, and has not come to nothing."""
        ...

    def release(self, approval_id: ApprovalId) -> tuple[Step, ...]:
        """Make ready every step that waited for nothing but this approval; return exactly those.

        Steps of the same document that still wait for another step stay so: `respond.advance` readies them. Takes the
        lock `approval:<id>` until the transaction ends.
        """
        ...

    def give_up(self, approval_id: ApprovalId, state: StepState, reason: str) -> tuple[Step, ...]:
        """Move the document's steps that have not begun to `expired` or `refused`; return exactly those."""
        ...

    def move(self, step_id: StepId, new: StepState, *, reason: str | None = None) -> Step:
        """Move a step that nobody works on (a transition that needs no lease).

        Raises ConflictError for a transition that `domain/plan.py` does not allow.
        """
        ...

    def do_again(self, step_id: StepId) -> Step:
        """Let a step that was done run again: what it did is gone. Raises ConflictError for any other.

        Its attempts of before count on: one that vanishes again and again ends with people.
        """
        ...

    def take_unknown(self, step_id: StepId) -> Step:
        """Take a step in `unknown` from whoever asks about it and return it with the fence to write with.

        Raises NotFoundError, ConflictError in any other state.
        """
        ...

    def claim(self, step_id: StepId, *, owner: str, lease: timedelta) -> Claim | None:
        """Take the step if it is unfinished, due and free; None otherwise.

        Not free either while somebody works on a step that does the opposite to the same target, or on one of the keys lane
        that does not tighten, as this one; the caller holds the lock `target:<connection>/<value>`, so that two such claims
        come one after the other.

        The lease counts from when the step is taken, however long the transaction waited for locks before that.
        Taking over a lease that ended without being given back counts as an attempt: its worker died.
        """
        ...

    def put_off(self, step_id: StepId, fence: int, until: datetime) -> None:
        """Give a claimed step back as it was, to be looked at again at `until`. Raises StaleFenceError."""
        ...

    def extend(self, step_id: StepId, fence: int, lease: timedelta) -> None:
        """Renew a lease that has not ended: else somebody may have worked on the target since. Raises StaleFenceError."""
        ...

    def require_lease(self, step_id: StepId, fence: int) -> None:
        """Keep the step from everybody else until the transaction ends. Raises StaleFenceError once its lease is over."""
        ...

    def intend(self, step_id: StepId, fence: int, deadline_at: datetime) -> None:
        """Record that the call to the other side is about to be made: state `running`, one attempt more.

        The deadline is written once; a later attempt keeps the first. Raises StaleFenceError.
        """
        ...

    def write(self, step_id: StepId, fence: int, change: Change, *, keep_lease: bool = False) -> None:
        """Write a transition and give the lease back. Raises StaleFenceError, ConflictError for a wrong transition."""
        ...

    def due(self, *, limit: int, lanes: Iterable[Lane]) -> tuple[DueStep, ...]:
        """Return unfinished steps that are due and that nobody holds, oldest first."""
        ...

    def touched_targets(self, connection: ConnectionId, since: datetime) -> frozenset[Touched]:
        """Return every target that tightening steps which need no approval were aimed at since then."""
        ...

    def confirmed(self, step_id: str) -> bool:
        """Say whether a person confirmed a tightening step, or it was undone meanwhile."""
        ...

    def also_needed_by(self, step: Step, tightenings: Iterable[str]) -> tuple[IncidentId, ...]:
        """Return other incidents, not closed, in which one of these actions holds the step's target or is about to."""
        ...

    def done_since(self, step: Step, action: str) -> bool:
        """Say whether this action was done on the step's target after the step was, in any incident, closed or not.

        Of a step that is being done again it is asked since it was last begun; False of one that never was.
        """
        ...

    def place_hold(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> str:
        """Place a hold of our gate and return its id; the same key again returns the same id."""
        ...

    def release_holds(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> int:
        """Release every hold on it and return how many were in force."""
        ...

    def held(self, connection: ConnectionId, scope: str, value: str) -> bool:
        """Say whether a hold is in force."""
        ...
