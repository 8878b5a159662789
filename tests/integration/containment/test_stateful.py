"""One step through whatever workers, platform and clock can do to it: a state machine (hypothesis) over real rows.

Whatever happens, in whatever order: the effect takes place at most once for its key, states change only as the one table
says, fences only rise, nobody who was taken over writes, people hear of `unknown` once for each time it begins, and when
everything is well again the step ends in a way that tells the truth about the platform.
"""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from service.domain.errors import PortcullisError, StaleFenceError, UnknownOutcomeError
from service.domain.ids import IncidentId, StepId, new_id
from service.domain.plan import FINISHED, TRANSITIONS, Lane, StepState
from service.flow import contain, respond
from service.flow.contain import LEASE, MOST_ATTEMPTS
from service.ports.store.plans import Change, Claim
from service.store.tables.proof import outbox
from tests.integration.containment.conftest import Scene
from tests.support.fakes import FakePlatform, Ledger
from tests.support.incidents import add_account, add_connection, add_incident

pytestmark = pytest.mark.servers
OWNERS = ("one", "two")


def reachable(old: StepState) -> frozenset[StepState]:
    """Every state that the table lets a step come to from `old`, over any number of transitions."""
    found, new = {old}, {old}
    while new:
        new = {after for state in new for after in TRANSITIONS[state]} - found
        found |= new
    return frozenset(found)


class OneStep(RuleBasedStateMachine):
    """One suspension. `scene` is set by the test."""

    scene: Scene

    @initialize()
    def plan_it(self) -> None:
        ref, connection = (
            new_id("hot"),
            new_id("con"),
        )  # a connection of its own: the hour's blast radius is the connection's
        self.scene.ledger = Ledger()
        self.scene.platform = FakePlatform(self.scene.ledger)
        with self.scene.db.begin() as uow:
            add_connection(uow.connection, connection)
            add_account(uow.connection, ref, connection=connection)
            entities = (f"account:{connection}/{ref}",)
            incident = IncidentId(
                add_incident(uow.connection, entities, kind="signing_tampering", connection=connection)
            )
        respond.plan(self.scene.desk, incident)
        self.step_id = self.scene.steps(incident)["suspend_withdrawals", ref].id
        self.effect = f"hold {connection}/{ref}"
        self.seen = StepState.READY
        self.fence = 0
        self.paused: list[Claim] = []

    @rule(owner=st.sampled_from(OWNERS))
    def a_worker_gets_the_job(self, owner: str) -> None:
        contain.step(self.scene.hands(owner=owner), self.step_id)

    @rule()
    def two_workers_get_the_job(self) -> None:
        for owner in OWNERS:
            contain.step(self.scene.hands(owner=owner), self.step_id)

    @rule()
    def a_sweeper_looks(self) -> None:
        with self.scene.db.begin() as uow:
            due = uow.plans.due(limit=100_000, lanes=tuple(Lane))
        if self.step_id in {step.id for step in due}:
            contain.step(self.scene.hands(owner="swept"), self.step_id)

    @rule(called=st.booleans(), arrived=st.booleans())
    def a_worker_pauses(self, *, called: bool, arrived: bool) -> None:
        """It takes the lease, perhaps commits its intent, its call perhaps arrives; then nobody hears of it for a while."""
        with self.scene.db.begin() as uow:
            claim = uow.plans.claim(self.step_id, owner="pausing", lease=LEASE)
            if claim is None:
                return
            if (
                called
                and claim.step.state in {StepState.READY, StepState.RUNNING}
                and claim.step.attempt < MOST_ATTEMPTS
            ):
                uow.plans.intend(self.step_id, claim.step.fence, uow.now + timedelta(minutes=2))
        self.paused.append(claim)
        if called and arrived and claim.step.state is StepState.READY:
            with suppress(UnknownOutcomeError):
                self.scene.ledger.do(self.effect, claim.step.idempotency_key)

    @rule(state=st.sampled_from([StepState.FAILED, StepState.DONE, StepState.VERIFYING]))
    def a_paused_worker_writes_late(self, state: StepState) -> None:
        """Once it was taken over, nothing that it writes counts."""
        for claim in self.paused:
            if claim.step.fence == self.scene.step(self.step_id).fence:
                continue  # still its own: what it may write then is the other rules' business
            before = self.scene.step(self.step_id)
            with pytest.raises(StaleFenceError), self.scene.db.begin() as uow:
                uow.plans.write(self.step_id, claim.step.fence, Change(state, reason="late"))
            assert self.scene.step(self.step_id) == before

    @rule(seconds=st.sampled_from([0.4, 3.0, 7.0, 40.0, 200.0, -5.0, -4000.0, 4000.0]))
    def the_clock_moves(self, seconds: float) -> None:
        self.scene.clock.pass_by(timedelta(seconds=seconds))

    @rule(deaf=st.booleans())
    def the_next_answer_is_lost(self, *, deaf: bool) -> None:
        self.scene.ledger.lose_next_answer, self.scene.ledger.deaf = True, deaf

    @rule(blind=st.booleans())
    def the_platform_cannot_be_asked(self, *, blind: bool) -> None:
        self.scene.ledger.blind = blind

    @invariant()
    def the_table_is_kept(self) -> None:
        if not hasattr(self, "seen"):
            return
        now = self.scene.step(self.step_id)
        assert now.state in reachable(self.seen)
        assert now.fence >= self.fence
        self.seen, self.fence = now.state, now.fence

    @invariant()
    def a_key_acts_once_and_done_means_that_it_holds(self) -> None:
        if not hasattr(self, "seen"):
            return
        step, ledger = self.scene.step(self.step_id), self.scene.ledger
        assert ledger.keys <= {step.idempotency_key}
        assert {key for _, key in ledger.calls} <= {step.idempotency_key}
        if step.state is StepState.DONE:
            assert self.effect in ledger.holding

    @invariant()
    def what_people_are_told_is_what_happened(self) -> None:
        if hasattr(self, "seen"):
            told = self.events()
            assert told.count("step_verified") == (self.seen is StepState.DONE)
            assert told.count("step_failed") == (self.seen in {StepState.FAILED, StepState.REFUSED})
            assert (self.seen is StepState.UNKNOWN) <= ("step_unknown" in told)

    def events(self) -> list[str]:
        query = select(outbox.c.event).where(outbox.c.payload["step_id"].astext == self.step_id)
        with self.scene.db.begin() as uow:
            return list(uow.connection.execute(query).scalars())

    def teardown(self) -> None:
        """All is well again: the sweeper alone must bring the step to its end."""
        if not hasattr(self, "seen"):
            return
        ledger = self.scene.ledger
        ledger.blind = ledger.deaf = ledger.lose_next_answer = False
        for _ in range(3 * MOST_ATTEMPTS):
            if self.scene.step(self.step_id).state in FINISHED:
                break
            self.scene.clock.pass_by(timedelta(minutes=6))
            with suppress(PortcullisError):
                self.a_sweeper_looks()
        step = self.scene.step(self.step_id)
        self.seen = step.state
        died = "its workers die of it" in (step.reason or "")
        assert step.state in FINISHED or (died and step.state is StepState.UNKNOWN)
        self.a_key_acts_once_and_done_means_that_it_holds()
        self.what_people_are_told_is_what_happened()
        if step.state is not StepState.DONE:
            assert step.attempt >= MOST_ATTEMPTS, step.reason


def test_whatever_happens_to_a_step_it_acts_once_and_ends_truthfully(scene: Scene) -> None:
    class Here(OneStep):
        pass

    Here.scene = scene
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_state_is_in_the_table_and_every_end_is_an_end() -> None:
    assert set(TRANSITIONS) == set(StepState)
    assert {state for state in StepState if not TRANSITIONS[state]} | {StepState.DONE} == FINISHED
    assert reachable(StepState.WAITING_STEP) | {StepState.WAITING_STEP} == set(StepState)


def test_a_step_is_named_by_its_id_alone(scene: Scene) -> None:
    with pytest.raises(PortcullisError, match="there is no step"):
        contain.step(scene.hands(), StepId("stp_none"))
