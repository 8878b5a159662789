"""A lock whose block a reorganisation drops is noticed, done again and said; one that is final is left alone."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from service.domain.ids import StepId
from service.domain.looks import LOOK
from service.domain.plan import Lane, StepState, Verdict
from service.flow import respond
from service.flow.finality import Looking
from service.store.tables.attention import timers
from service.store.tables.incident import steps
from service.store.tables.keys import accounts
from service.store.tables.proof import outbox
from tests.integration.multisig.conftest import SafeHouse
from tests.integration.multisig.watching import ACTIONS, DEEP, Watched, watching
from tests.support.incidents import CONNECTION, add_incident


@pytest.fixture
def watched(safe_house: SafeHouse) -> Watched:
    return watching(safe_house)


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
