"""A small plan on one target and all that can happen to it: a state machine (hypothesis) over real rows and real votes.

The playbook has two that tighten, one that follows and needs votes, and one that follows on a chain. Every change of a
step's state is written down by the database itself, in the transaction that makes it, so that none is missed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select, text

from service.actions.base import ActionContext
from service.domain.approval import ApprovalState
from service.domain.errors import PortcullisError, RefusedByOtherSideError, UnknownOutcomeError
from service.domain.ids import AccountId, ApprovalId, IncidentId, StepId, new_id
from service.domain.incident import IncidentKind
from service.domain.looks import LOOK
from service.domain.plan import FINISHED, STARTS, TRANSITIONS, Effect, Lane, Receipt, Step, StepState
from service.flow import approve, contain, finality, respond
from service.flow.contain import LEASE, MOST_ATTEMPTS, Hands
from service.flow.finality import Looking
from service.flow.respond import Desk
from service.playbooks.model import Playbook, Playbooks, Selector, StepTemplate
from service.store.database import SqlDatabase
from service.store.tables.approval import approvals
from service.store.tables.attention import timers
from tests.integration.containment.conftest import ACTIONS, PLAYBOOKS, Scene
from tests.support.authority import House
from tests.support.fakes import FakeMultisig, FakePlatform, FakeVault, Ledger
from tests.support.incidents import add_account, add_connection, add_incident

SUSPEND, FREEZE, LOCK, CANCEL = "suspend_withdrawals", "freeze_account", "lock_multisig", "cancel_delayed"
AFTER: Final = {FREEZE: SUSPEND, CANCEL: LOCK}
BACK: Final = {SUSPEND: "resume_withdrawals", LOCK: "unlock_multisig"}
SMALL: Final = Playbook(
    playbook="small",
    version=1,
    incident=IncidentKind.DRAIN,
    title="Two that tighten, and what follows each",
    keys="untouched",
    steps=(
        StepTemplate(action=SUSPEND, targets=Selector.ACCOUNTS),
        StepTemplate(action=FREEZE, targets=Selector.ACCOUNTS, after=(SUSPEND,)),
        StepTemplate(action=LOCK, targets=Selector.MULTISIGS),
        StepTemplate(action=CANCEL, targets=Selector.MULTISIGS, after=(LOCK,)),
    ),
)
BOOKS: Final = Playbooks({p.incident: (p, "0" * 64) for p in (*PLAYBOOKS, SMALL)})
TOO_LATE_TO_VOTE, TOO_LATE_TO_RUN = timedelta(hours=5), timedelta(hours=17)
PAUSES: Final = (timedelta(seconds=3), 2 * LEASE, timedelta(minutes=11), TOO_LATE_TO_VOTE, TOO_LATE_TO_RUN)
WORKABLE: Final = frozenset({StepState.READY, StepState.RUNNING, StepState.VERIFYING, StepState.UNKNOWN})
ROUNDS: Final = 12
"""Of half an hour each, in which everything that is not broken comes to its end."""

WATCH: Final = """
    CREATE TABLE walked (n bigserial PRIMARY KEY, step text, old text, new text);
    CREATE FUNCTION walk() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        IF TG_OP = 'INSERT' THEN INSERT INTO walked (step, new) VALUES (NEW.id, NEW.state);
        ELSIF OLD.state <> NEW.state THEN INSERT INTO walked (step, old, new) VALUES (NEW.id, OLD.state, NEW.state);
        END IF; RETURN NULL; END $$;
    CREATE TRIGGER walk AFTER INSERT OR UPDATE OF state ON steps FOR EACH ROW EXECUTE FUNCTION walk()
"""


@dataclass
class OtherSide(Ledger):
    """Platform and chain, which can also say no, or say yes and do nothing."""

    says_no: bool = False
    does_nothing: bool = False
    before: Callable[[Effect], None] = lambda _: None
    """Told of each call before it counts."""

    def do(self, effect: str, key: str, *, holds: bool = True) -> Receipt:
        self.before(Effect.TIGHTENS if holds else Effect.LOOSENS)
        if self.says_no:
            self.says_no = False
            raise RefusedByOtherSideError("the other side said no")
        if self.does_nothing:
            return Receipt("accepted", {})
        return super().do(effect, key, holds=holds)


@dataclass
class Here:
    """Where a machine runs: set by the test, shared by its examples."""

    scene: Scene
    house: House
    every: SqlDatabase
    """As superuser."""
    walks: Counter[tuple[StepState, StepState]] = field(default_factory=Counter)

    @property
    def desk(self) -> Desk:
        return replace(self.scene.desk, playbooks=BOOKS)


class SmallPlan(RuleBasedStateMachine):
    """One account with its plan, or two incidents' plans. `here` is set by the test."""

    here: Here

    @initialize()
    def plan_it(self) -> None:
        self.ref, self.connection = new_id("safe"), new_id("con")
        self.other_side = OtherSide(before=self.nobody_does_the_opposite)
        self.here.scene.ledger = self.other_side
        self.here.scene.platform = FakePlatform(self.other_side)
        self.incidents: list[IncidentId] = []
        self.order: list[StepId] = []
        self.states: dict[StepId, StepState] = {}
        self.known: dict[StepId, Step] = {}
        self.working: Step | None = None
        self.heard: set[tuple[ApprovalId, ApprovalState]] = set()
        with self.here.every.begin() as uow:
            self.read = int(uow.connection.execute(text("SELECT coalesce(max(n), 0) FROM walked")).scalar_one())
            add_connection(uow.connection, self.connection)
            self.account = AccountId(
                add_account(uow.connection, self.ref, holder="multisig", connection=self.connection)
            )
        self.an_incident_opens()

    # what happens

    @rule()
    def an_incident_opens(self) -> None:
        if len(self.incidents) == 2:
            return
        with self.here.every.begin() as uow:
            entities = (f"account:{self.connection}/{self.ref}",)
            incident = IncidentId(add_incident(uow.connection, entities, connection=self.connection))
        self.incidents.append(incident)
        respond.plan(self.here.desk, incident)

    @rule(which=st.integers(0, 20), told=st.booleans())
    def a_worker_gets_a_job(self, which: int, *, told: bool) -> None:
        if workable := [s for s in self.steps() if s.state in WORKABLE]:
            self.work(workable[which % len(workable)], told=told)

    @rule()
    def the_sweeper_looks(self) -> None:
        with self.here.every.begin() as uow:
            due = {one.id for one in uow.plans.due(limit=100_000, lanes=tuple(Lane))}
        for step in self.steps():
            if step.id in due:
                self.work(step)

    @rule()
    def what_ended_is_told(self) -> None:
        """One telling looks at all of its incident."""
        for step in {s.incident_id: s for s in self.steps() if s.state in FINISHED}.values():
            respond.advance(self.here.desk, step.id)

    @rule(which=st.integers(0, 20), called=st.booleans(), arrived=st.booleans())
    def a_worker_vanishes(self, which: int, *, called: bool, arrived: bool) -> None:
        """It has the lease, perhaps a committed intent; its call perhaps arrives, its answer never does."""
        ready = [s for s in self.steps() if s.state is StepState.READY and s.approval_id is None]
        if not ready:
            return
        step = ready[which % len(ready)]
        with self.database(step.lane).begin() as uow:
            claim = uow.plans.claim(step.id, owner="vanished", lease=LEASE)
            if claim is None:
                return
            if called:
                uow.plans.intend(step.id, claim.step.fence, uow.now + ACTIONS[step.action].deadline)
        if called and arrived:
            self.working = step
            ctx = replace(self.context(step), key=claim.step.idempotency_key)
            with suppress(UnknownOutcomeError, RefusedByOtherSideError):
                ACTIONS[step.action].execute(ctx)

    @rule(action=st.sampled_from([SUSPEND, FREEZE, LOCK, CANCEL, respond.RECOVER]), which=st.integers(0, 1))
    def people_ask(self, action: str, which: int = 0) -> None:
        respond.request(self.here.desk, self.incidents[which % len(self.incidents)], action, "per_1")

    @rule(which=st.integers(0, 5), decision=st.sampled_from(["approve", "approve", "deny"]), told=st.booleans())
    def people_vote(self, which: int, decision: str = "approve", *, told: bool = True) -> None:
        waiting = [identity for identity, state in self.requests() if state is ApprovalState.WAITING]
        if not waiting:
            return
        chosen = waiting[which % len(waiting)]
        with self.here.every.begin() as uow:
            document = uow.approvals.document(chosen)
        late = self.here.scene.clock.now() > document.approve_by
        for person in self.here.house.phones:
            with suppress(PortcullisError):
                if self.here.house.vote(document, person, decision).state is not ApprovalState.WAITING:
                    break
        if late:
            assert dict(self.requests())[chosen] not in {ApprovalState.APPROVED, ApprovalState.EXECUTED}
        if told:
            self.decided(chosen)

    @rule()
    def the_votes_are_told(self) -> None:
        approve.expire(self.here.scene.db)
        for identity, state in self.requests():
            if state is not ApprovalState.WAITING and (identity, state) not in self.heard:
                self.heard.add((identity, state))
                self.decided(identity)

    @rule(by=st.sampled_from(PAUSES))
    def the_clock_moves(self, by: timedelta) -> None:
        self.here.scene.clock.pass_by(by)

    @rule(deaf=st.booleans())
    def the_next_answer_is_lost(self, *, deaf: bool = False) -> None:
        self.other_side.lose_next_answer, self.other_side.deaf = True, deaf

    @rule(blind=st.booleans(), says_no=st.booleans(), does_nothing=st.booleans())
    def the_other_side_is(self, *, blind: bool = False, says_no: bool = False, does_nothing: bool = False) -> None:
        self.other_side.blind, self.other_side.says_no, self.other_side.does_nothing = blind, says_no, does_nothing

    @rule(which=st.integers(0, 20))
    def most_attempts_went_by(self, which: int) -> None:
        if running := [s for s in self.steps() if s.state in WORKABLE - {StepState.READY}]:
            self.here.scene.overwrite(running[which % len(running)].id, attempt=MOST_ATTEMPTS)

    @rule(dropped=st.booleans())
    def the_chain_is_looked_at(self, *, dropped: bool) -> None:
        if dropped:
            self.other_side.holding.discard(f"lock multisig {self.account}")
        looking = Looking(self.database(Lane.KEYS), self.here.scene.clock, ACTIONS, FakeMultisig(self.other_side), None)
        with self.here.every.begin() as uow:
            set_here = select(timers.c.id, timers.c.subject).where(timers.c.kind.startswith(LOOK))
            found = uow.connection.execute(set_here.order_by(timers.c.due_at)).all()
        for timer in found:
            if timer.subject in self.known:
                finality.look(looking, timer.id)

    # what must be so

    @invariant()
    def the_table_is_kept_and_no_follower_is_let_go_early(self) -> None:
        query = text(
            "SELECT n, step, old, new FROM walked JOIN steps ON steps.id = step"
            " WHERE n > :n AND incident_id = ANY(:mine) ORDER BY n"
        )
        with self.here.every.begin() as uow:
            walked = uow.connection.execute(query, {"n": self.read, "mine": self.incidents}).all()
            for row in walked:
                if row.old is None:
                    self.known[row.step] = uow.plans.step(StepId(row.step))
        for row in walked:
            self.one_walk(StepId(row.step), row.old and StepState(row.old), StepState(row.new))
            self.read = row.n

    def one_walk(self, step: StepId, old: StepState | None, new: StepState) -> None:
        if old is None:
            assert new in STARTS
            self.order.append(step)
        else:
            assert self.states[step] is old
            assert new in TRANSITIONS[old], (self.known[step].action, old, new)
            self.here.walks[old, new] += 1
        self.states[step] = new
        if old is StepState.WAITING_STEP and new in {StepState.READY, StepState.WAITING_APPROVAL}:
            first = self.newest(AFTER[self.known[step].action], self.known[step].incident_id)
            assert self.states[first] is StepState.DONE, "what comes first is done"

    def nobody_does_the_opposite(self, does: Effect) -> None:
        """Nobody works on the contrary just now, and nobody else's hold is loosened."""
        mine = self.working
        assert mine is not None
        opposite = {Effect.TIGHTENS: Effect.LOOSENS, Effect.LOOSENS: Effect.TIGHTENS}[does]
        query = text("SELECT action FROM steps WHERE id <> :i AND lease_until > :now AND target ->> 'value' = :ref")
        with self.here.every.begin() as uow:
            busy = uow.connection.execute(query, {"i": mine.id, "now": uow.now, "ref": self.ref}).scalars()
            assert opposite not in {ACTIONS[action].effect for action in busy}
        if does is Effect.LOOSENS:
            for other in self.steps():
                if BACK.get(other.action) == mine.action and other.incident_id != mine.incident_id:
                    assert other.state not in {StepState.DONE, *WORKABLE}, "another incident needs it"

    def teardown(self) -> None:
        """All is well again: everything ends, and what is asked for again is done."""
        if not hasattr(self, "read"):
            return
        self.the_table_is_kept_and_no_follower_is_let_go_early()
        self.other_side.lose_next_answer = self.other_side.deaf = False
        self.the_other_side_is()
        self.comes_to_rest()
        for action in (SUSPEND, FREEZE, LOCK, CANCEL):
            for incident in self.incidents:
                if self.newest_state(action, incident) is not StepState.DONE:
                    respond.request(self.here.desk, incident, action, "per_1")
            self.comes_to_rest()
        for incident in self.incidents:
            ended = {action: self.newest_state(action, incident) for action in (SUSPEND, FREEZE, LOCK, CANCEL)}
            assert set(ended.values()) == {StepState.DONE}, ended

    def comes_to_rest(self) -> None:
        for _ in range(ROUNDS):
            self.the_table_is_kept_and_no_follower_is_let_go_early()
            if not self.unfinished():
                return
            self.here.scene.clock.pass_by(timedelta(minutes=31))
            self.what_ended_is_told()
            self.the_votes_are_told()
            while any(state is ApprovalState.WAITING for _, state in self.requests()):
                self.people_vote(0)
            self.the_sweeper_looks()
        raise AssertionError([(s.action, s.state, s.reason) for s in self.unfinished()])

    # how

    def work(self, step: Step, *, told: bool = True) -> None:
        self.working = step
        contain.step(self.hands(step.lane), step.id)
        if told:
            respond.advance(self.here.desk, step.id)

    def decided(self, approval: ApprovalId) -> None:
        approve.release(self.here.scene.db, approval)
        approve.ended(self.here.scene.db, approval)

    def hands(self, lane: Lane) -> Hands:
        scene = self.here.scene
        return replace(scene.hands(lane), multisig=FakeMultisig(self.other_side) if lane is Lane.KEYS else None)

    def context(self, step: Step) -> ActionContext:
        return ActionContext(
            target=step.target,
            params=step.params,
            key=step.idempotency_key,
            clock=self.here.scene.clock,
            account_id=self.account,
            custody=FakePlatform(self.other_side),
            vault=FakeVault(self.other_side),
            multisig=FakeMultisig(self.other_side),
        )

    def database(self, lane: Lane) -> SqlDatabase:
        found = self.here.scene.keys_db if lane is Lane.KEYS else self.here.scene.db
        assert found is not None
        return found

    def steps(self) -> list[Step]:
        with self.here.every.begin() as uow:
            return [step for incident in self.incidents for step in uow.plans.steps_of(incident)]

    def unfinished(self) -> list[Step]:
        return [s for s in self.steps() if s.state not in FINISHED]

    def requests(self) -> Sequence[tuple[ApprovalId, ApprovalState]]:
        query = select(approvals.c.id, approvals.c.state).where(approvals.c.incident_id.in_(self.incidents))
        with self.here.every.begin() as uow:
            found = uow.connection.execute(query.order_by(approvals.c.id)).all()
        return [(ApprovalId(row.id), ApprovalState(row.state)) for row in found]

    def newest(self, action: str, incident: IncidentId) -> StepId:
        return next(self._newest(action, incident))

    def newest_state(self, action: str, incident: IncidentId) -> StepState:
        return self.states[self.newest(action, incident)]

    def _newest(self, action: str, incident: IncidentId) -> Iterator[StepId]:
        for step in reversed(self.order):
            if (self.known[step].action, self.known[step].incident_id) == (action, incident):
                yield step
