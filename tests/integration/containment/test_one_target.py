"""Several incidents and one target: nobody tightens and loosens it at once, and the stronger action wins."""

from dataclasses import replace

import pytest

from service.domain.errors import StaleFenceError
from service.domain.ids import AccountId, IncidentId
from service.domain.plan import Lane, Receipt, Step, StepState
from service.flow import contain, respond
from service.flow.contain import LEASE
from service.ports.keys import StillMine
from tests.integration.containment.conftest import LEASE_IS_OVER, Scene
from tests.support.fakes import FakeVault
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident

pytestmark = pytest.mark.servers
ENTITY = f"account:{CONNECTION}/hot-1"


@pytest.fixture
def two(scene: Scene) -> tuple[Step, Step]:
    """The suspensions of one account that two incidents plan."""
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "hot-1")
        first, second = (IncidentId(add_incident(uow.connection, (ENTITY,))) for _ in range(2))
    for incident in (first, second):
        respond.plan(scene.desk, incident)
    one, other = (scene.steps(incident)["suspend_withdrawals", "hot-1"] for incident in (first, second))
    return one, other


def loosening(scene: Scene, step: Step) -> None:
    scene.overwrite(step.id, action="resume_withdrawals", effect="loosens")


@pytest.mark.parametrize("held_loosens", [True, False])
def test_the_opposite_is_not_begun_while_somebody_works_on_the_target(
    scene: Scene, two: tuple[Step, Step], *, held_loosens: bool
) -> None:
    held, asked = two
    loosening(scene, held if held_loosens else asked)
    with scene.db.begin() as uow:
        assert uow.plans.claim(held.id, owner="busy", lease=LEASE) is not None
    contain.step(scene.hands(), asked.id)
    assert scene.step(asked.id).fence == 0, "it was not even taken"
    scene.clock.pass_by(LEASE_IS_OVER)
    contain.step(scene.hands(), asked.id)
    assert scene.step(asked.id).state is (StepState.DONE if held_loosens else StepState.REFUSED)


def of_keys(scene: Scene, step: Step, action: str, effect: str) -> None:
    scene.overwrite(step.id, action=action, effect=effect, lane="keys")


def test_of_two_uses_of_its_keys_that_do_not_tighten_one_waits(scene: Scene, two: tuple[Step, Step]) -> None:
    held, asked = two
    of_keys(scene, held, "retire_key", "irreversible")
    of_keys(scene, asked, "lift_key_restriction", "loosens")
    with scene.db.begin() as uow:
        assert uow.plans.claim(held.id, owner="busy", lease=LEASE) is not None
    contain.step(scene.hands(Lane.KEYS), asked.id)
    assert scene.step(asked.id).fence == 0
    scene.clock.pass_by(LEASE_IS_OVER)
    contain.step(scene.hands(Lane.KEYS), asked.id)
    assert scene.step(asked.id).fence > 0


@pytest.mark.parametrize("taken_over", [True, False])
def test_who_paused_past_his_lease_loosens_no_key(
    scene: Scene, two: tuple[Step, Step], monkeypatch: pytest.MonkeyPatch, *, taken_over: bool
) -> None:
    """Also where nobody took his step: somebody may have tightened meanwhile, because its lease was over."""

    class Slow(FakeVault):
        def lift_restriction(self, account: AccountId, *, key: str, still_mine: StillMine) -> Receipt:
            with scene.db.begin() as uow:
                still_mine(uow)
            scene.clock.pass_by(LEASE_IS_OVER)
            if taken_over:
                with scene.db.begin() as uow:
                    assert uow.plans.claim(asked.id, owner="quick", lease=LEASE) is not None
            else:
                with pytest.raises(StaleFenceError), scene.db.begin() as uow:
                    uow.plans.extend(asked.id, scene.step(asked.id).fence, LEASE)
            with scene.db.begin() as uow:
                still_mine(uow)
            return super().lift_restriction(account, key=key, still_mine=still_mine)

    monkeypatch.setattr(contain, "require_authority", lambda *_: None)
    asked, _ = two
    of_keys(scene, asked, "lift_key_restriction", "loosens")
    contain.step(replace(scene.hands(Lane.KEYS), vault=Slow(scene.ledger)), asked.id)
    assert (scene.step(asked.id).state, scene.ledger.calls) == (StepState.RUNNING, [])


def test_two_that_tighten_need_not_wait_for_each_other(scene: Scene, two: tuple[Step, Step]) -> None:
    one, other = two
    with scene.db.begin() as uow:
        assert uow.plans.claim(one.id, owner="busy", lease=LEASE) is not None
    contain.step(scene.hands(), other.id)
    assert scene.step(other.id).state is StepState.DONE


@pytest.mark.parametrize("state", ["ready", "running", "verifying", "unknown", "done"])
def test_what_another_incident_tightens_or_is_about_to_is_not_loosened(
    scene: Scene, two: tuple[Step, Step], state: str
) -> None:
    wanted, needed = two
    scene.overwrite(needed.id, state=state)
    with scene.db.begin() as uow:
        assert uow.plans.also_needed_by(wanted, ["suspend_withdrawals"]) == (needed.incident_id,)


@pytest.mark.parametrize("state", ["failed", "refused", "expired", "undone"])
def test_what_has_ended_without_a_hold_stands_in_nobodys_way(scene: Scene, two: tuple[Step, Step], state: str) -> None:
    wanted, ended = two
    scene.overwrite(ended.id, state=state)
    with scene.db.begin() as uow:
        assert uow.plans.also_needed_by(wanted, ["suspend_withdrawals"]) == ()


def test_a_plan_that_fails_undoes_no_hold_by_itself(scene: Scene, two: tuple[Step, Step]) -> None:
    held, _ = two
    contain.step(scene.hands(), held.id)
    cancelling = scene.steps(held.incident_id)["cancel_pending", "hot-1"]
    scene.overwrite(cancelling.id, state="failed", reason="the platform answered 500")
    for step in (held, cancelling):
        respond.advance(scene.desk, step.id)
    assert f"hold {CONNECTION}/hot-1" in scene.ledger.holding
    assert scene.step(held.id).state is StepState.DONE
    assert "resume_withdrawals" not in {action for action, _ in scene.steps(held.incident_id)}
