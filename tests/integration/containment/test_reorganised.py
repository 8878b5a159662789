"""A lock whose block was dropped, beside people who lift it: what came last counts, whatever was planned first."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from service.domain.ids import IncidentId
from service.domain.looks import GIVEN_UP, LOOK
from service.domain.plan import Lane, Step, StepState
from service.flow import contain, finality, respond
from service.flow.finality import Looking
from service.store.tables.proof import outbox, timeline
from tests.integration.containment.conftest import ACTIONS, Scene
from tests.support.fakes import FakeMultisig
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident

pytestmark = pytest.mark.servers
LATER = timedelta(minutes=1)


@pytest.fixture
def lock(scene: Scene) -> Step:
    """The lock of a Safe that stands."""
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "safe-1", holder="multisig")
        incident = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/safe-1",)))
    respond.plan(scene.desk, incident)
    planned = scene.steps(incident)["lock_multisig", "safe-1"]
    work(scene, planned)
    return scene.step(planned.id)


def work(scene: Scene, step: Step) -> None:
    contain.step(replace(scene.hands(Lane.KEYS), multisig=FakeMultisig(scene.ledger)), step.id)
    respond.advance(scene.desk, step.id)


def look(scene: Scene) -> None:
    scene.clock.pass_by(LATER)
    with scene.db.begin() as uow:
        due = uow.attention.due_looks(10)
    for timer in due:
        finality.look(Looking(scene.db, scene.clock, ACTIONS, FakeMultisig(scene.ledger)), timer)


def asked_back(scene: Scene, lock: Step) -> Step:
    """The step that lifts it, as people ask for it."""
    respond.request(scene.desk, lock.incident_id, respond.RECOVER, "per_1")
    return scene.steps(lock.incident_id)["unlock_multisig", "safe-1"]


def lift(scene: Scene, unlock: Step) -> None:
    """As if people had voted for it and it had run."""
    scene.clock.pass_by(LATER)
    scene.ledger.holding.clear()
    scene.overwrite(unlock.id, state="done", finished_at=scene.clock.now())


def test_what_people_lifted_before_it_was_done_again_is_not_done_again(scene: Scene, lock: Step) -> None:
    unlock = asked_back(scene, lock)
    scene.ledger.holding.clear()
    look(scene)
    assert scene.step(lock.id).state is StepState.RUNNING, "nobody has approved the unlocking yet"
    lift(scene, unlock)
    scene.clock.pass_by(LATER)
    work(scene, lock)
    assert scene.ledger.holding == set()
    found = scene.step(lock.id)
    assert found.state is StepState.REFUSED
    assert "unlock_multisig took it back" in (found.reason or "")


def test_what_was_done_again_after_it_was_lifted_stands_and_can_be_lifted_again(scene: Scene, lock: Step) -> None:
    unlock, held = asked_back(scene, lock), set(scene.ledger.holding)
    lift(scene, unlock)
    scene.ledger.holding |= held
    scene.overwrite(lock.id, finished_at=scene.clock.now() + LATER)
    scene.clock.pass_by(2 * LATER)
    respond.advance(scene.desk, unlock.id)
    assert scene.step(lock.id).state is StepState.DONE
    again = asked_back(scene, lock)
    assert again.id != unlock.id
    scene.ledger.holding.clear()
    look(scene)
    assert scene.step(lock.id).state is StepState.RUNNING, "it was lifted before, not since"


def test_what_is_not_final_after_a_day_is_said_and_handed_over_once(scene: Scene, lock: Step) -> None:
    since_s = str(int(GIVEN_UP.total_seconds()))
    told = {"incident": lock.incident_id, "fence": str(lock.fence), "since_s": since_s}
    with scene.db.begin() as uow:
        uow.attention.cancel_timers(lock.id)
        uow.attention.set_timer(f"{LOOK}{lock.fence}:{since_s}", lock.id, uow.now, told)
    look(scene)
    with scene.db.begin() as uow:
        said = uow.connection.execute(select(timeline.c.kind).where(timeline.c.subject == lock.id)).scalars().all()
        left = (
            uow.connection.execute(select(outbox.c.payload).where(outbox.c.event == "step_not_final")).scalars().all()
        )
    assert said[-1] == "step.not_final"
    assert left == [{"step_id": lock.id, "incident_id": lock.incident_id}]
