"""What failed once can be finished: followers wait for what was asked for again, and for nothing that is impossible.

Walks every `after` that a playbook declares, so that a new one is tried with them.
"""

from dataclasses import replace

import pytest

from service.domain.ids import ConnectionId, IncidentId, StepId
from service.domain.plan import Lane, Step, StepState
from service.flow import contain, respond
from service.flow.respond import Desk
from service.ports.custody import Capability
from tests.integration.containment.conftest import PLAYBOOKS, Scene
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident

pytestmark = pytest.mark.servers
BY_HAND = "an own wallet has no publish_address: give payers the new address by hand"
AFTERS = [
    (playbook.incident.value, template.action, first)
    for playbook in PLAYBOOKS
    for template in playbook.every_step
    for first in template.after
]


@pytest.fixture(autouse=True)
def _no_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything go without a vote: there is no policy here, and it is the order that is tried."""
    monkeypatch.setattr(respond, "_needs_approval", lambda _: False)


def planned(scene: Scene, kind: str, desk: Desk | None = None) -> str:
    """Return an incident with an own wallet and a multisig, its rotation prepared and planned."""
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "own", holder="vault_key", wallet="wal-1", path="m/44'/60'/0'")
        add_account(uow.connection, "safe", holder="multisig")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/own", f"account:{CONNECTION}/safe"), kind=kind)
    respond.plan(desk or scene.desk, IncidentId(incident))
    for (action, _), step in scene.steps(incident).items():
        if action == "prepare_rotation":
            contain.step(scene.hands(Lane.KEYS), step.id)
            respond.advance(desk or scene.desk, StepId(step.id))
    return incident


def newest(scene: Scene, incident: str, action: str) -> Step:
    return next(step for (name, _), step in scene.steps(incident).items() if name == action)


def ends(scene: Scene, step: Step, state: StepState) -> None:
    scene.overwrite(step.id, state=state.value, reason=None if state is StepState.DONE else "the node said no")
    respond.advance(scene.desk, step.id)


def ask(scene: Scene, incident: str, action: str, desk: Desk | None = None) -> Step:
    respond.request(desk or scene.desk, IncidentId(incident), action, "per_1")
    return newest(scene, incident, action)


def waiting(scene: Scene, case: tuple[str, str, str]) -> tuple[str, Step, Step]:
    """Return an incident with a step that waits for nothing but the one that comes first."""
    kind, follower, first = case
    incident = planned(scene, kind)
    for other in {one for k, f, one in AFTERS if (k, f) == (kind, follower)} - {first}:
        scene.overwrite(newest(scene, incident, other).id, state=StepState.DONE.value)
    step = newest(scene, incident, follower)
    scene.overwrite(step.id, state=StepState.WAITING_STEP.value, reason=None)
    scene.overwrite(newest(scene, incident, first).id, state=StepState.RUNNING.value, reason=None)
    return incident, step, newest(scene, incident, first)


@pytest.mark.parametrize("case", AFTERS, ids="-".join)
def test_a_follower_waits_for_the_newest_of_what_comes_first(scene: Scene, case: tuple[str, str, str]) -> None:
    incident, follower, first = waiting(scene, case)

    scene.overwrite(first.id, state=StepState.FAILED.value)  # and the job that would tell the follower is late
    second = ask(scene, incident, first.action)
    ends(scene, second, StepState.RUNNING)
    assert scene.step(follower.id).state is StepState.WAITING_STEP, "it waits for the new one"
    ends(scene, second, StepState.FAILED)
    assert scene.step(follower.id).state is StepState.REFUSED
    assert "comes first and was not done: the node said no" in str(scene.step(follower.id).reason)

    third = ask(scene, incident, first.action)
    ends(scene, third, StepState.RUNNING)
    late = ask(scene, incident, follower.action)
    assert (late.state, third.id in late.after) == (StepState.WAITING_STEP, True)
    assert not {first.id, second.id} & set(late.after)
    ends(scene, third, StepState.DONE)
    assert scene.step(late.id).state is StepState.READY

    scene.overwrite(late.id, state=StepState.FAILED.value)
    last = ask(scene, incident, follower.action)
    assert last.state is StepState.READY, "what comes first is done already"
    scene.overwrite(last.id, state=StepState.FAILED.value)
    scene.overwrite(third.id, state=StepState.UNDONE.value, reason=None)
    refused = ask(scene, incident, follower.action)
    assert (refused.state, str(refused.reason).rpartition(": ")[2]) == (StepState.REFUSED, "it is undone")


def lacking(scene: Scene) -> Desk:
    def lacks(_: ConnectionId, capability: Capability) -> str | None:
        return BY_HAND if capability is Capability.PUBLISH_ADDRESS else None

    return replace(scene.desk, lacks=lacks)


def test_a_rotation_ends_where_nothing_can_be_published(scene: Scene) -> None:
    """Whoever holds the keys himself has no platform to tell: the step says so, and destroying waits for retiring alone."""
    desk = lacking(scene)
    incident = planned(scene, "drain", desk)
    publish, destroy = newest(scene, incident, "publish_address"), newest(scene, incident, "destroy_key")
    retire, sweep = newest(scene, incident, "retire_key"), newest(scene, incident, "sweep_to_safe")
    assert (publish.state, publish.reason, publish.approval_id) == (StepState.REFUSED, BY_HAND, None)
    assert destroy.after == (retire.id,)
    assert sweep.state is StepState.REFUSED, "no safe destination yet"
    ends(scene, ask(scene, incident, "sweep_to_safe"), StepState.DONE)
    ends(scene, ask(scene, incident, "retire_key", desk), StepState.DONE)
    assert ask(scene, incident, "destroy_key", desk).state is StepState.READY


def test_what_the_worker_found_to_be_impossible_is_not_waited_for_when_asked_again(scene: Scene) -> None:
    """The connection lost its API user after the plan was made: people voted, the worker refused."""
    incident, destroy, publish = waiting(scene, ("drain", "destroy_key", "publish_address"))
    ends(scene, publish, StepState.REFUSED)
    assert scene.step(destroy.id).state is StepState.REFUSED
    assert ask(scene, incident, "destroy_key", lacking(scene)).state is StepState.READY
