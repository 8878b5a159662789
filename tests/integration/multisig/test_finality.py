"""A lock whose block a reorganisation drops is noticed, done again and said; one that is final is left alone."""

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from service.actions.base import actions_in
from service.domain.ids import IncidentId, StepId
from service.domain.looks import FIRST, LOOK
from service.domain.plan import Lane, Step, StepState, Verdict
from service.flow import contain, finality, respond
from service.flow.contain import Hands
from service.flow.finality import Looking
from service.flow.respond import Desk
from service.playbooks.loader import load
from service.store.tables.attention import timers
from service.store.tables.incident import steps
from service.store.tables.keys import accounts
from service.store.tables.proof import outbox, timeline
from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import CHAIN
from tests.support.authority import MovedClock
from tests.support.incidents import CONNECTION, add_incident

ACTIONS = actions_in("service.actions")
DEEP = 70
"""More blocks than anvil needs to call one finalized."""


@dataclass
class Watched:
    """A Safe with an incident that names it, and the key worker's hands and looks."""

    house: SafeHouse
    incident: IncidentId
    hands: Hands
    looking: Looking
    desk: Desk

    def lock(self) -> Step:
        respond.plan(self.desk, self.incident)
        self.work()
        return self.step()

    def work(self) -> None:
        contain.step(self.hands, self.step().id)
        respond.advance(self.desk, self.step().id)

    def step(self) -> Step:
        with self.house.house.superuser.begin() as uow:
            (found,) = [s for s in uow.plans.steps_of(self.incident) if s.action == "lock_multisig"]
        return found

    def look(self) -> None:
        """Let the next look be due, and look."""
        with self.house.house.superuser.begin() as uow:
            waiting = (timers.c.fired_at.is_(None), timers.c.kind.startswith(LOOK))
            uow.connection.execute(update(timers).where(*waiting).values(due_at=uow.now - FIRST))
        with self.house.house.superuser.begin() as uow:
            due = uow.attention.due_looks(10)
        for timer in due:
            finality.look(self.looking, timer)

    def said(self) -> list[str]:
        with self.house.house.superuser.begin() as uow:
            wanted = select(timeline.c.kind).where(timeline.c.subject == self.step().id).order_by(timeline.c.id)
            return [kind for kind in uow.connection.execute(wanted).scalars() if kind != "step.started"]


@pytest.fixture
def watched(safe_house: SafeHouse) -> Watched:
    house = safe_house
    db = house.house.superuser
    ref = f"{CHAIN}:{house.address}"
    with db.begin() as uow:
        known = {"connection_id": CONNECTION, "ref": ref}
        uow.connection.execute(update(accounts).where(accounts.c.id == house.account).values(**known))
        incident = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/{ref}",)))
    hands = Hands(
        db=db, clock=MovedClock(), owner="one", lane=Lane.KEYS, actions=ACTIONS, votes_key_pem=lambda: b"",
        keep=lambda _step, _fence: nullcontext(), multisig=house.multisigs,
    )  # fmt: skip
    desk = Desk(db, ACTIONS, load(ACTIONS), lambda: b"")
    return Watched(house, incident, hands, Looking(db, hands.clock, ACTIONS, house.multisigs), desk)


def test_a_lock_that_a_reorganisation_drops_is_done_again_and_said_and_final_in_the_end(watched: Watched) -> None:
    house, step = watched.house, watched.lock()
    assert step.state is StepState.DONE
    watched.look()
    assert watched.step().state is StepState.DONE, "in a block, not final: nothing changes"
    assert house.multisigs.final().locked(house.account) is not Verdict.HOLDS
    house.chain.rpc("anvil_reorg", 1, [])
    assert house.multisigs.locked(house.account) is Verdict.DOES_NOT_HOLD
    watched.look()
    assert watched.step().state is StepState.RUNNING
    assert watched.said()[-1] == "step.vanished"
    with house.house.superuser.begin() as uow:
        events = uow.connection.execute(select(outbox.c.payload).where(outbox.c.event == "step_ready")).scalars()
        assert watched.step().id in {payload["step_id"] for payload in events}
        assert watched.step().id in {due.id for due in uow.plans.due(limit=10, lanes=[Lane.KEYS])}
    watched.work()
    assert watched.step().state is StepState.DONE
    assert house.multisigs.locked(house.account) is Verdict.HOLDS
    house.chain.rpc("anvil_mine", hex(DEEP))
    watched.look()
    assert watched.said()[-1] == "step.final"
    before = watched.said()
    watched.look()
    assert watched.said() == before, "what is final is not looked at again"


def test_a_lock_that_people_lift_is_not_put_back(watched: Watched) -> None:
    house, step = watched.house, watched.lock()
    respond.request(watched.desk, watched.incident, respond.RECOVER, "per_1")
    with house.house.superuser.begin() as uow:
        undo = steps.c.action == "unlock_multisig"
        uow.connection.execute(update(steps).where(undo).values(state=StepState.RUNNING.value))
    house.multisigs.unlock(house.account)
    watched.look()
    assert watched.step().state is StepState.DONE
    assert "step.vanished" not in watched.said()
    with house.house.superuser.begin() as uow:
        uow.plans.move(StepId(step.id), StepState.UNDONE)
    watched.look()
    assert watched.step().state is StepState.UNDONE


@pytest.mark.parametrize(("later", "state"), [(1, StepState.DONE), (-1, StepState.RUNNING)])
def test_a_lock_that_a_closed_incident_lifted_is_put_back_only_where_that_came_before(
    watched: Watched, later: int, state: StepState
) -> None:
    house, step = watched.house, watched.lock()
    respond.request(watched.desk, watched.incident, respond.RECOVER, "per_1")
    with house.house.superuser.begin() as uow:
        other = add_incident(uow.connection, (f"account:{CONNECTION}/else",), state="closed")
        done_at = uow.connection.execute(select(steps.c.finished_at).where(steps.c.id == step.id)).scalar_one()
        undone = {"incident_id": other, "state": "done", "finished_at": done_at + timedelta(seconds=later)}
        uow.connection.execute(update(steps).where(steps.c.action == "unlock_multisig").values(**undone))
    house.multisigs.unlock(house.account)
    watched.look()
    assert watched.step().state is state


def test_a_chain_that_cannot_be_asked_changes_nothing_and_is_asked_again(watched: Watched) -> None:
    watched.lock()
    away = Looking(watched.looking.db, watched.looking.clock, ACTIONS, None)
    watched.looking = away
    watched.look()
    assert watched.step().state is StepState.DONE
    with watched.house.house.superuser.begin() as uow:
        waiting = select(timers.c.payload).where(timers.c.fired_at.is_(None), timers.c.kind.startswith(LOOK))
        (told,) = uow.connection.execute(waiting).scalars()
        late = {**told, "since_s": str(int(timedelta(days=1).total_seconds()))}
        uow.connection.execute(update(timers).where(timers.c.fired_at.is_(None)).values(payload=late))
    watched.look()
    assert watched.said()[-1] == "step.not_final"


def test_only_the_account_of_the_step_is_asked(watched: Watched) -> None:
    """A look without a registered account cannot tell, and leaves the step as it is."""
    watched.lock()
    with watched.house.house.superuser.begin() as uow:
        gone = update(accounts).where(accounts.c.id == watched.house.account).values(ref="elsewhere")
        uow.connection.execute(gone)
    watched.look()
    assert (watched.step().state, watched.said()[-1]) == (StepState.DONE, "step.verified")
