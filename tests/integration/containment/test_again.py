"""What failed once can be finished: followers wait for what was asked for again, and for nothing that is impossible.

Walks every `after` that a playbook declares, so that a new one is tried with them.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hsm.memory import MemoryProtection
from hsm.power import Power
from service.config import Settings, TokenSettings
from service.domain import ids
from service.domain.ids import ConnectionId, IncidentId, StepId
from service.domain.plan import Lane, Step, StepState
from service.domain.secrets import Secret
from service.flow import contain, respond
from service.flow.respond import Desk
from service.ports.custody import Capability
from service.ports.store.unit import UnitOfWork
from tests.integration.containment.conftest import PLAYBOOKS, Scene, no_key
from tests.integration.hsm.tokens import set_up
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident
from tests.support.response import CONTAINMENT
from tests.support.servers import SoftHsm, url_of_role
from workers import roots
from workers.roots import WorkerRoot

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
    monkeypatch.setattr(respond, "_needs_approval", lambda *_: False)


def planned(scene: Scene, kind: str, desk: Desk | None = None, platform: str = "standard") -> str:
    """Return an incident with an own wallet and a multisig, its rotation prepared and planned."""
    with scene.db.begin() as uow:
        add_connection(uow.connection, platform=platform)
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
    done = state is StepState.DONE
    finished_at, reason = (scene.clock.now(), None) if done else (None, "the node said no")
    scene.overwrite(step.id, state=state.value, reason=reason, finished_at=finished_at)
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


def test_the_newest_is_the_one_planned_last_also_where_the_clock_was_set_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts' clocks differ: what was planned last on a slow one counts, not what failed before on a fast one."""
    incident, follower, first = waiting(scene, ("drain", "destroy_key", "retire_key"))
    scene.overwrite(first.id, state=StepState.FAILED.value)
    monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: 1_469_918_176_385_999_999))
    ends(scene, ask(scene, incident, first.action), StepState.DONE)
    assert scene.step(follower.id).state is StepState.READY

    held = newest(scene, incident, "suspend_withdrawals")
    scene.overwrite(held.id, state=StepState.DONE.value, finished_at=scene.clock.now())
    respond.request(scene.desk, IncidentId(incident), respond.RECOVER, "per_1")
    ends(scene, newest(scene, incident, "resume_withdrawals"), StepState.DONE)
    assert scene.step(held.id).state is StepState.UNDONE


def lacking(scene: Scene) -> Desk:
    def lacks(_uow: UnitOfWork, _connection: ConnectionId, capability: Capability) -> str | None:
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


@pytest.fixture
def worker(
    fresh_postgres_url: str, softhsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerRoot]:
    """The containment worker as its child wires it."""
    monkeypatch.setattr(
        roots, "protect_process", lambda: MemoryProtection(locked=True, no_core=True, not_dumpable=True)
    )
    label = "platform-of-again"
    config = set_up(softhsm.module, softhsm.configuration, tmp_path, Power.PLATFORM, label)
    uri = f"pkcs11:token={label}?module-path={config.module}&pin-source=file:{tmp_path}/pin"
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "authority-votes.pem").write_bytes(no_key())
    url = Secret(url_of_role(fresh_postgres_url, CONTAINMENT))
    settings = Settings("containment", tmp_path, url, tmp_path / "a.sock", TokenSettings(uri, softhsm.configuration))
    root = roots.containment_root(settings)
    yield root
    root.close()


def test_the_containment_worker_has_its_plans_ask_the_calls_of_a_connection(scene: Scene, worker: WorkerRoot) -> None:
    assert worker.straight is not None
    desk = worker.straight.desk
    incident = planned(scene, "drain", desk, platform="evm")
    publish, destroy = newest(scene, incident, "publish_address"), newest(scene, incident, "destroy_key")
    assert (publish.state, publish.reason) == (StepState.REFUSED, BY_HAND)
    assert publish.id not in destroy.after
    with scene.db.begin() as uow:  # nobody else sees this row: the plan's own transaction is asked
        add_connection(uow.connection, "new", "evm")
        assert desk.lacks(uow, ConnectionId("new"), Capability.PUBLISH_ADDRESS) == BY_HAND


def test_what_the_worker_found_to_be_impossible_is_not_waited_for_when_asked_again(scene: Scene) -> None:
    """The connection lost its API user after the plan was made: people voted, the worker refused."""
    incident, destroy, publish = waiting(scene, ("drain", "destroy_key", "publish_address"))
    ends(scene, publish, StepState.REFUSED)
    assert scene.step(destroy.id).state is StepState.REFUSED
    assert ask(scene, incident, "destroy_key", lacking(scene)).state is StepState.READY
