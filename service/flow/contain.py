"""One step of a plan: preconditions → authorisation → intent, committed → call → receipt → verify until it holds.

Rules (design D2, D4, D5):
- A step is worked on under a lease with a fencing token; no transaction is held while the other side is asked.
- Before the first call the intent is committed. Whoever finds an intent without a receipt (the answer was lost, or the
  worker died) asks the other side first: holds → done; does not hold → call again under the same idempotency key; cannot
  tell → `unknown`, people are paged and the question is asked again later. Nothing is ever repeated blindly. After a call
  that surely did nothing (429) the intent is taken back, where it was the only one or nobody can ever be asked.
- A step whose action takes a quorum, and any other that has an approval, runs only after the votes were verified here, in
  the executing worker, against the pinned key and for exactly the row that is about to run.
- A platform that answers nothing is tried by one step at a time (`domain/line.py`); who waits for it uses up no attempt.
- Nobody tightens and loosens one target at the same time; what another incident tightened, or is about to, stays so.
- `MOST_ATTEMPTS` calls or dead workers end a step, so that a poisonous one cannot run for ever.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.actions.base import ActionContext, ContainmentAction
from service.domain import pauses
from service.domain.account import AccountRef
from service.domain.attention import before_it_ends
from service.domain.errors import (
    ApprovalError,
    CallDeferredError,
    MissingCapabilityError,
    PortcullisError,
    RateLimitedError,
    RefusedByOtherSideError,
    RetryKind,
    StaleFenceError,
)
from service.domain.events import StepFailed, StepUnknown, StepVerified
from service.domain.ids import AccountId, ConnectionId, StepId
from service.domain.line import MOST_AT_ONCE
from service.domain.plan import Effect, Lane, Receipt, Step, StepState, Verdict
from service.domain.quorum import PreAuthorised
from service.domain.timeline import Entry
from service.playbooks.outage import note_line
from service.playbooks.permission import require_authority
from service.ports.clock import Clock
from service.ports.custody import Capability, ContainmentCalls
from service.ports.keys import VaultKeys
from service.ports.multisig import MultisigControl
from service.ports.notify import Outside
from service.ports.store.plans import Change, Claim
from service.ports.store.unit import Database, UnitOfWork

MOST_ATTEMPTS: Final = 12
LEASE: Final = timedelta(seconds=6)
"""A living worker renews it; a dead one is noticed when it ends."""
log = structlog.get_logger(__name__)

Keep = Callable[[StepId, int], AbstractContextManager[None]]
"""Keeps a lease alive while its block runs."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What one worker acts with."""

    db: Database
    clock: Clock
    owner: str
    """Names the worker process in leases."""
    lane: Lane
    actions: Mapping[str, ContainmentAction]
    votes_key_pem: Callable[[], bytes]
    """Reads the authority's pinned vote key."""
    keep: Keep
    platform: Callable[[ConnectionId], ContainmentCalls] | None = None
    heard: Callable[[ConnectionId], bool | None] = lambda _: None
    """Whether a connection's platform answered when it was last called, None when it was not; asking forgets it."""
    hurry: Callable[[bool], None] = lambda _: None
    """Told before a platform is called whether that goes before other calls (`domain/pace.py`): what tightens does."""
    may_call: Callable[[ConnectionId], None] = lambda _: None
    ours: Callable[[ConnectionId], frozenset[Capability]] = lambda _: frozenset()
    """What our own gate does for a connection waits for no platform; `may_call` raises CallDeferredError for the rest."""
    foresee: Callable[[UnitOfWork, ConnectionId, bool | None], None] = lambda *_: None
    """Reads in the claim's transaction what the call needs; told whether it goes before others, None: there is none."""
    expect: Callable[[UnitOfWork, ConnectionId, bool | None], None] = lambda *_: None
    """Asks for what `foresee` reads, told the same, so that it comes with the claim."""
    about_to_call: Callable[[UnitOfWork], None] = lambda _: None
    """Reads in the intent's transaction what must be as new as can be when the platform is called."""
    leaves: Callable[[], bool] = lambda: False
    """Asked when a call was answered: whether the rest, to verify it, waits for a later turn because a hold waits now."""
    vault: VaultKeys | None = None
    multisig: MultisigControl | None = None
    outside: Outside | None = None
    most_at_once: int = MOST_AT_ONCE  # steps of one connection, with the one that is taken here


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that this worker claimed."""

    claim: Claim
    account_id: AccountId | None
    troubled: bool
    """Whether its platform did not answer when it was last called."""


def step(hands: Hands, step_id: StepId) -> StepId | None:
    """Work on one step, safely at any time, twice or at once; return what to go on with: itself, or who found no room."""
    with hands.db.begin(on_disk=False) as uow:  # the number of a forgotten claim is never given again
        taken = take(hands, uow, step_id)
    return None if taken is None else work(hands, taken)


def take(hands: Hands, uow: UnitOfWork, step_id: StepId) -> Taken | None:
    """Claim one step, if it is this lane's, free and due, and its platform has room; `work` once that is committed."""
    found = uow.plans.step(step_id)
    if found.lane is not hands.lane or found.action not in hands.actions:
        log.error("step.not_mine", step_id=step_id, lane=found.lane.value, action=found.action)
        return None
    action, connection = hands.actions[found.action], found.target.connection
    asks = hands.platform is not None and not action.needs <= hands.ours(connection)
    first = (action.effect is Effect.TIGHTENS) if asks else None
    uow.lock(f"target:{connection}/{found.target.value}", at_once=False)
    uow.ask(uow.plans.claim, step_id, owner=hands.owner, lease=LEASE)
    if asks:
        uow.ask(uow.lines.line, connection)
        uow.ask(uow.lines.admit, connection, step_id, None, hands.most_at_once)
    hands.expect(uow, connection, first)
    if (claim := uow.plans.claim(step_id, owner=hands.owner, lease=LEASE)) is None:
        return None
    line = uow.lines.line(connection) if asks else None
    if asks and (wait := uow.lines.admit(connection, step_id, line, hands.most_at_once)) is not None:
        uow.plans.put_off(step_id, claim.step.fence, wait)
        return None
    hands.foresee(uow, connection, first)
    return Taken(claim, _account(uow, claim.step), troubled=line is not None)


def work(hands: Hands, taken: Taken) -> StepId | None:
    """Work on a step whose claim is committed; see `step`."""
    on, attempt = taken.claim.step, _Attempt(hands, taken.claim, taken.account_id)
    try:
        with hands.keep(on.id, on.fence):
            attempt.run()
    except StaleFenceError:
        log.warning("step.taken_over", step_id=on.id, fence=on.fence)
    finally:
        connection = on.target.connection
        healthy = hands.platform is not None and note_line(
            hands.db, connection, on.incident_id, hands.heard(connection), troubled=taken.troubled
        )
    if attempt.left:
        return on.id
    if not healthy:
        return None
    with hands.db.begin(on_disk=False) as uow:
        return uow.lines.make_room(on.target.connection)


def _account(uow: UnitOfWork, planned: Step) -> AccountId | None:
    if planned.lane is Lane.CONTAINMENT and planned.approval_id is None:
        return None  # a platform knows the account by its own name
    ref = planned.target.value if planned.target.kind == "account" else planned.target.account
    found = None if ref is None else uow.registry.account_at(AccountRef(planned.target.connection, ref))
    return None if found is None else found.id


class _Attempt:
    """One worker's attempt at one step; every write names the claim's fence."""

    def __init__(self, hands: Hands, claim: Claim, account_id: AccountId | None) -> None:
        self._hands = hands
        self._claim = claim
        self._step = claim.step
        self._action = hands.actions[claim.step.action]
        self._account_id = account_id
        self._state = claim.step.state
        self._called = claim.intent_at is not None
        self._began = claim.intent_at or hands.clock.now()
        self.left = False  # whether the step is anybody's again, with its receipt

    def run(self) -> None:
        """Do what the step's state asks for."""
        if (self._step.effect, self._step.lane) != (self._action.effect, self._action.lane):
            # A row that calls a loosening action tightening would otherwise need no approval.
            reason = f"the row says {self._step.effect.value}, but {self._step.action} {self._action.effect.value}"
            self._refuse("step.not_authorised", f"not authorised: {reason}, so it needs its own quorum", {})
            return
        if self._step.attempt >= 2 * MOST_ATTEMPTS:
            self._stop_dying()
            return
        try:
            ctx = self._context()
            if not self._called:
                self._begin(ctx)
            elif self._state is StepState.VERIFYING:
                self._verify(ctx, self._step.receipt)
            else:
                self._ask_what_happened(ctx)
        except StaleFenceError:
            raise
        except PortcullisError as error:
            # Raised before the other side was called, or while it was only asked: nothing can have happened.
            self._postpone_or_refuse(error)

    def _context(self) -> ActionContext:
        planned = self._step
        self._hands.hurry(self._action.effect is Effect.TIGHTENS)
        custody = self._hands.platform(planned.target.connection) if self._hands.platform is not None else None
        if custody is not None and not self._action.needs <= custody.ours:
            self._hands.may_call(planned.target.connection)
        return ActionContext(
            target=planned.target,
            params=planned.params,
            key=planned.idempotency_key,
            clock=self._hands.clock,
            account_id=self._account_id,
            outside=self._hands.outside,
            custody=custody if self._action.lane is Lane.CONTAINMENT else None,
            vault=self._hands.vault if self._action.lane is Lane.KEYS else None,
            multisig=self._hands.multisig if self._action.lane is Lane.KEYS else None,
            receipt=planned.receipt,
            still_mine=lambda uow: uow.plans.require_lease(planned.id, planned.fence),
        )

    def _begin(self, ctx: ActionContext) -> None:
        if unmet := self._action.preconditions(ctx):
            self._refuse("step.refused", "; ".join(u.sentence for u in unmet), {"unmet": [u.code for u in unmet]})
            return
        self._execute(ctx)

    def _execute(self, ctx: ActionContext) -> None:
        if self._step.attempt >= MOST_ATTEMPTS:
            self._give_up()
            return
        if not self._authorised():
            return
        self._intend()
        try:
            receipt = self._action.execute(ctx)
        except RefusedByOtherSideError as error:
            self._fail(str(error))
        except MissingCapabilityError as error:
            self._refuse("step.refused", str(error), {"unmet": ["missing_capability"]})
        except StaleFenceError:
            raise
        except Exception as error:
            # Whatever it was, the call may have reached the other side.
            if isinstance(error, PortcullisError) and error.retry is RetryKind.LATER:
                self._try_later(error)
                return
            log.warning("step.answer_lost", step_id=self._step.id, error=type(error).__name__, exc_info=error)
            self._ask_what_happened(ctx, fresh=True)
        else:
            self.left = self._hands.leaves()
            due_at = self._hands.clock.now() if self.left else None
            self._write(Change(StepState.VERIFYING, receipt=receipt, due_at=due_at), keep_lease=not self.left)
            if not self.left:
                self._verify(ctx, receipt)

    def _intend(self) -> None:
        with self._hands.db.begin() as uow:
            intent = self._step.id, self._step.fence, uow.now + self._action.deadline
            uow.ask(uow.plans.intend, *intent)
            self._hands.about_to_call(uow)
            uow.plans.intend(*intent)
            uow.record(self._entry(uow, "step.started", f"Begun: {self.sentence}"))
        self._state = StepState.RUNNING
        self._called = True

    def _authorised(self) -> bool:
        approval = self._step.approval_id
        if self._action.runs_at_once and approval is None and self._step.receipt is None:
            return True
        try:
            with self._hands.db.begin() as uow:
                require_authority(uow, self._step, self._account_id, self._hands.actions, self._hands.votes_key_pem)
        except ApprovalError as error:
            self._refuse("step.not_authorised", f"not authorised: {error}", {"approval": approval or ""})
            return False
        return True

    def _ask_what_happened(self, ctx: ActionContext, *, fresh: bool = False) -> None:
        """Settle a call whose answer nobody has; a fresh one is not repeated at once, its request may still be moving."""
        verdict = self._action.verify(ctx, self._step.receipt)
        if verdict is Verdict.HOLDS:
            self._done(ctx, self._step.receipt)
        elif verdict is Verdict.CANNOT_TELL:
            self._doubt("the answer was lost and the other side cannot tell whether it holds")
        elif fresh:
            self._write(Change(StepState.RUNNING, verdict=verdict, due_at=self._later(None)))
        else:
            self._execute(ctx)

    def _verify(self, ctx: ActionContext, receipt: Receipt | None) -> None:
        verdict = self._action.verify(ctx, receipt)
        if verdict is Verdict.HOLDS:
            self._done(ctx, receipt)
        elif verdict is Verdict.DOES_NOT_HOLD and self._action.repeats:
            self._write(Change(StepState.RUNNING, verdict=verdict, due_at=self._later(None)))
        elif not self._is_late():
            self._write(Change(StepState.VERIFYING, verdict=verdict, due_at=self._later(None)))
        elif verdict is Verdict.DOES_NOT_HOLD:
            self._fail("the other side accepted it, and yet it does not hold after the deadline")
        else:
            self._doubt("after the deadline the other side still cannot tell whether it holds")

    def _done(self, ctx: ActionContext, receipt: Receipt | None) -> None:
        planned, receipt = self._step, self._action.marked(ctx, receipt)
        with self._hands.db.begin() as uow:
            confirm_by = None
            if isinstance(self._action.approval, PreAuthorised) and planned.approval_id is None:
                confirm_by = uow.now + self._action.approval.confirm_within
                uow.attention.set_timer("step.confirm", planned.id, confirm_by, {"incident": planned.incident_id})
            if (ends_at := self._action.ends_at(receipt, uow.now)) is not None:
                uow.attention.set_timer(*before_it_ends(planned, ends_at))
            if self._state is not StepState.VERIFYING:
                uow.plans.write(planned.id, planned.fence, Change(StepState.VERIFYING), keep_lease=True)
            change = Change(StepState.DONE, receipt=receipt, verdict=Verdict.HOLDS, confirm_by=confirm_by)
            uow.plans.write(planned.id, planned.fence, change)
            facts = {"receipt": receipt.reference if receipt else ""}
            entry = self._entry(uow, "step.verified", f"Holds: {self.sentence}{self._action.remark(receipt)}", facts)
            uow.record(entry, StepVerified(planned.id, planned.incident_id))

    def _give_up(self) -> None:
        reason = f"given up after {self._step.attempt} attempts: look at the other side, then decide by hand"
        if self._called:
            self._fail(reason)
        else:
            self._refuse("step.refused", reason, {"unmet": ["too_many_attempts"]})

    def _stop_dying(self) -> None:
        """End a step whose workers die; whether a call of theirs holds is for a person to find out."""
        if not self._called:
            self._give_up()
            return
        reason = "its workers die of it: look at the other side, then decide by hand"
        self._end(StepState.UNKNOWN, "step.unknown", f"Unknown: {self.sentence}: {reason}", reason)

    def _fail(self, reason: str) -> None:
        self._end(StepState.FAILED, "step.failed", f"Failed: {self.sentence}: {reason}", reason)

    def _refuse(self, kind: str, reason: str, facts: Mapping[str, object]) -> None:
        self._end(StepState.REFUSED, kind, f"Not done: {self.sentence}: {reason}", reason, facts)

    def _end(
        self, state: StepState, kind: str, sentence: str, reason: str, facts: Mapping[str, object] | None = None
    ) -> None:
        with self._hands.db.begin() as uow:
            uow.plans.write(self._step.id, self._step.fence, Change(state, reason=reason))
            told = StepUnknown if state is StepState.UNKNOWN else StepFailed
            uow.record(self._entry(uow, kind, sentence, facts), told(self._step.id, self._step.incident_id))

    def _doubt(self, reason: str) -> None:
        """Become `unknown` and ask again later; people are told once."""
        due_at = (now := self._hands.clock.now()) + pauses.in_doubt(now - self._began)
        change = Change(StepState.UNKNOWN, reason=reason, verdict=Verdict.CANNOT_TELL, due_at=due_at)
        event = StepUnknown(self._step.id, self._step.incident_id)
        with self._hands.db.begin() as uow:
            uow.plans.write(self._step.id, self._step.fence, change)
            if self._state is not StepState.UNKNOWN:
                uow.record(self._entry(uow, "step.unknown", f"Unknown: {self.sentence}: {reason}"), event)

    def _postpone_or_refuse(self, error: PortcullisError) -> None:
        if error.retry is RetryKind.LATER and not (self._called and self._is_late(pauses.past_deadline(error))):
            self._write(Change(self._state, reason=str(error), due_at=self._later(error.retry_after_s)))
        elif not self._called:
            self._refuse("step.refused", str(error), {"unmet": [error.code]})
        else:
            self._doubt(str(error))

    def _try_later(self, error: PortcullisError) -> None:
        due_at, left = self._later(error.retry_after_s), MOST_ATTEMPTS - self._step.attempt
        only = self._action.one_call and self._claim.intent_at is None and isinstance(error, RateLimitedError)
        if not (asked := self._action.can_be_asked):
            due_at = self._hands.clock.now() + pauses.of_attempts(left, self._action.deadline)
        free, nothing = isinstance(error, CallDeferredError), only or not asked
        self._write(Change(StepState.RUNNING, reason=str(error), due_at=due_at, did_nothing=nothing, free=free))

    def _is_late(self, patience: timedelta = timedelta(0)) -> bool:
        return (until := self._step.deadline_at) is not None and self._hands.clock.now() > until + patience

    def _write(self, change: Change, *, keep_lease: bool = False) -> None:
        with self._hands.db.begin() as uow:
            uow.plans.write(self._step.id, self._step.fence, change, keep_lease=keep_lease)
        self._state = change.state

    def _later(self, wanted_s: float | None) -> datetime:
        return (now := self._hands.clock.now()) + pauses.until_next(now - self._began, self._action.deadline, wanted_s)

    @property
    def sentence(self) -> str:
        """What the step does, as people read it."""
        return self._action.title.format(target=self._step.target.value)

    def _entry(self, uow: UnitOfWork, kind: str, sentence: str, facts: Mapping[str, object] | None = None) -> Entry:
        planned, by, on = self._step, self._hands.lane.value, self._step.incident_id
        own = {"action": planned.action, "target": planned.target.value, "connection": planned.target.connection}
        return Entry(kind, uow.now, planned.id, sentence, by=by, incident_id=on, facts={**own, **(facts or {})})
