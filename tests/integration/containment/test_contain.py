"""One step at a time against real rows and a platform that loses answers, lies still or takes over."""

from datetime import timedelta

import pytest

from service.domain.errors import RateLimitedError, RefusedByOtherSideError, StaleFenceError
from service.domain.ids import IncidentId
from service.domain.plan import Lane, Receipt, Step, StepState
from service.flow import contain, respond
from service.flow.contain import LEASE, MOST_ATTEMPTS
from service.ports.store.plans import Change
from tests.integration.containment.conftest import LEASE_IS_OVER, Scene
from tests.support.fakes import FakePlatform, PlatformWithout
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident

pytestmark = pytest.mark.servers
HOLD = f"hold {CONNECTION}/hot-1"


@pytest.fixture
def suspension(scene: Scene) -> Step:
    """The suspension that an incident on one account plans."""
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "hot-1")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/hot-1",))
    respond.plan(scene.desk, IncidentId(incident))
    return scene.steps(incident)["suspend_withdrawals", "hot-1"]


def events(scene: Scene) -> list[str]:
    with scene.db.begin() as uow:
        rows = uow.connection.exec_driver_sql("SELECT event FROM outbox ORDER BY id")
        return [row.event for row in rows]


def test_a_tightening_step_runs_and_is_verified(scene: Scene, suspension: Step) -> None:
    contain.step(scene.hands(), suspension.id)
    done = scene.step(suspension.id)
    assert done.state is StepState.DONE
    assert done.receipt is not None
    assert HOLD in scene.ledger.holding
    assert "step_verified" in events(scene)


def test_it_runs_once_however_often_the_job_comes(scene: Scene, suspension: Step) -> None:
    for _ in range(3):
        contain.step(scene.hands(), suspension.id)
    assert [effect for effect, _ in scene.ledger.calls] == [HOLD]


def test_while_one_worker_holds_the_lease_no_other_works(scene: Scene, suspension: Step) -> None:
    with scene.db.begin() as uow:
        assert uow.plans.claim(suspension.id, owner="first", lease=LEASE) is not None
    contain.step(scene.hands(owner="second"), suspension.id)
    assert scene.ledger.calls == []


def test_a_lost_answer_that_took_effect_is_not_repeated(scene: Scene, suspension: Step) -> None:
    scene.ledger.lose_next_answer = True
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.DONE
    assert len(scene.ledger.calls) == 1


def test_a_lost_call_that_never_arrived_is_made_again_under_the_same_key(scene: Scene, suspension: Step) -> None:
    scene.ledger.lose_next_answer = scene.ledger.deaf = True
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.RUNNING
    scene.clock.pass_by(timedelta(seconds=20))
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.DONE
    assert [key for _, key in scene.ledger.calls] == [suspension.idempotency_key] * 2


def test_cannot_tell_becomes_unknown_and_is_asked_again_not_repeated(scene: Scene, suspension: Step) -> None:
    scene.ledger.lose_next_answer = scene.ledger.blind = True
    contain.step(scene.hands(), suspension.id)
    for _ in range(3):
        scene.clock.pass_by(timedelta(minutes=10))
        contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.UNKNOWN
    assert events(scene).count("step_unknown") == 1, "people are told once"
    assert len(scene.ledger.calls) == 1
    scene.ledger.blind = False
    scene.clock.pass_by(timedelta(minutes=10))
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.DONE
    assert len(scene.ledger.calls) == 1


@pytest.mark.parametrize("accepted", [True, False])
def test_a_question_that_fails_again_and_again_becomes_unknown_after_the_deadline(
    scene: Scene, suspension: Step, monkeypatch: pytest.MonkeyPatch, *, accepted: bool
) -> None:
    def slow_down(*_: object, **__: object) -> Receipt:
        raise RateLimitedError("slower", retry_after_s=4)

    scene.ledger.lose_next_answer = not accepted
    with monkeypatch.context() as patch:
        for question in ("settled", "outgoing_held"):
            patch.setattr(FakePlatform, question, slow_down)
        for _ in range(30):
            contain.step(scene.hands(), suspension.id)
            scene.clock.pass_by(timedelta(seconds=30))
    assert scene.step(suspension.id).state is StepState.UNKNOWN
    assert events(scene).count("step_unknown") == 1, "people are told once"
    scene.clock.pass_by(timedelta(minutes=10))
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.DONE
    assert len(scene.ledger.calls) == 1


def test_a_worker_that_died_after_its_intent_is_taken_over_by_asking_first(scene: Scene, suspension: Step) -> None:
    with scene.db.begin() as uow:
        claim = uow.plans.claim(suspension.id, owner="dead", lease=LEASE)
        assert claim is not None
        uow.plans.intend(suspension.id, claim.step.fence, uow.now + timedelta(minutes=2))
    scene.ledger.do(HOLD, suspension.idempotency_key)
    scene.clock.pass_by(LEASE_IS_OVER)
    contain.step(scene.hands(owner="living"), suspension.id)
    assert scene.step(suspension.id).state is StepState.DONE
    assert len(scene.ledger.calls) == 1, "only the dead worker's own call"


def test_who_was_taken_over_writes_nothing(scene: Scene, suspension: Step) -> None:
    with scene.db.begin() as uow:
        slow = uow.plans.claim(suspension.id, owner="slow", lease=LEASE)
    assert slow is not None
    scene.clock.pass_by(LEASE_IS_OVER)
    contain.step(scene.hands(owner="quick"), suspension.id)
    with pytest.raises(StaleFenceError), scene.db.begin() as uow:
        uow.plans.write(suspension.id, slow.step.fence, Change(StepState.FAILED, reason="late"))
    with pytest.raises(StaleFenceError), scene.db.begin() as uow:
        uow.plans.extend(suspension.id, slow.step.fence, LEASE)
    assert scene.step(suspension.id).state is StepState.DONE


def test_a_clear_no_fails_with_the_reason(scene: Scene, suspension: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Receipt:
        raise RefusedByOtherSideError("the platform answered 403")

    monkeypatch.setattr(FakePlatform, "hold_outgoing", refuse)
    contain.step(scene.hands(), suspension.id)
    failed = scene.step(suspension.id)
    assert failed.state is StepState.FAILED
    assert failed.reason == "the platform answered 403"


def test_being_slowed_down_is_no_unknown_outcome(
    scene: Scene, suspension: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_down(*_: object, **__: object) -> Receipt:
        raise RateLimitedError("slower", retry_after_s=4)

    with monkeypatch.context() as patch:
        patch.setattr(FakePlatform, "hold_outgoing", slow_down)
        contain.step(scene.hands(), suspension.id)
        contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).attempt == 1, "not due yet"
    scene.clock.pass_by(timedelta(seconds=5))
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.DONE


@pytest.mark.parametrize("before", ["nothing", "a lost answer"])
def test_a_call_that_was_put_off_leaves_nothing_to_ask_about(
    scene: Scene, suspension: Step, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """A platform that cannot be asked: only where no earlier call is in doubt is a 429 a certain no."""

    def slow_down(*_: object, **__: object) -> Receipt:
        raise RateLimitedError("slower", retry_after_s=4)

    if before == "a lost answer":
        scene.ledger.lose_next_answer = scene.ledger.deaf = True
        contain.step(scene.hands(), suspension.id)
        scene.clock.pass_by(timedelta(seconds=20))
    with monkeypatch.context() as patch:
        patch.setattr(FakePlatform, "hold_outgoing", slow_down)
        contain.step(scene.hands(), suspension.id)
    made = len(scene.ledger.calls)
    scene.ledger.blind = True
    scene.clock.pass_by(timedelta(seconds=20))
    contain.step(scene.hands(), suspension.id)
    if before == "a lost answer":
        assert (scene.step(suspension.id).state, len(scene.ledger.calls)) == (StepState.UNKNOWN, made)
        return
    assert scene.step(suspension.id).state is StepState.VERIFYING
    assert len(scene.ledger.calls) == 1


def test_a_step_that_never_holds_is_given_up_after_bounded_attempts(scene: Scene, suspension: Step) -> None:
    for _ in range(3 * MOST_ATTEMPTS):
        scene.ledger.lose_next_answer = scene.ledger.deaf = True
        contain.step(scene.hands(), suspension.id)
        scene.clock.pass_by(timedelta(minutes=1))
    assert scene.step(suspension.id).state is StepState.FAILED
    assert len(scene.ledger.calls) == MOST_ATTEMPTS


def test_a_step_that_workers_die_of_stops(scene: Scene, suspension: Step) -> None:
    for _ in range(2 * MOST_ATTEMPTS + 1):
        with scene.db.begin() as uow:
            uow.plans.claim(suspension.id, owner="dead", lease=LEASE)
        scene.clock.pass_by(LEASE_IS_OVER)
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.REFUSED
    assert scene.ledger.calls == []


def test_a_missing_capability_refuses_and_names_it(scene: Scene, suspension: Step) -> None:
    scene.platform = PlatformWithout(scene.ledger)
    contain.step(scene.hands(), suspension.id)
    refused = scene.step(suspension.id)
    assert refused.state is StepState.REFUSED
    assert refused.reason is not None
    assert "hold_outgoing" in refused.reason


def test_an_accepted_hold_that_does_not_hold_fails_after_the_deadline(
    scene: Scene, suspension: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePlatform, "hold_outgoing", lambda *_, **__: Receipt("promised", {}))
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.VERIFYING
    scene.clock.pass_by(timedelta(minutes=3))
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.FAILED


@pytest.mark.parametrize("effect", ["loosens", "irreversible"])
def test_a_row_alone_is_no_authority(scene: Scene, suspension: Step, effect: str) -> None:
    action = {"loosens": "resume_withdrawals", "irreversible": "freeze_workspace"}[effect]
    scene.overwrite(suspension.id, action=action, effect=effect)
    contain.step(scene.hands(), suspension.id)
    refused = scene.step(suspension.id)
    assert refused.state is StepState.REFUSED
    assert refused.reason is not None
    assert "quorum" in refused.reason
    assert scene.ledger.calls == []


def test_a_step_that_lies_about_its_effect_does_not_run(scene: Scene, suspension: Step) -> None:
    scene.overwrite(suspension.id, action="resume_withdrawals", effect="tightens")
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.REFUSED
    assert scene.ledger.calls == []


def test_a_step_of_the_other_lane_is_not_run_here(scene: Scene, suspension: Step) -> None:
    scene.overwrite(suspension.id, action="restrict_key", lane="keys")
    contain.step(scene.hands(Lane.CONTAINMENT), suspension.id)
    assert scene.ledger.calls == []


def test_a_clock_that_was_set_back_keeps_no_step_from_running(scene: Scene, suspension: Step) -> None:
    """A worker whose clock was an hour ahead took the lease and died; its lease and due time end in the far future."""
    scene.clock.pass_by(timedelta(hours=1))
    with scene.db.begin() as uow:
        claim = uow.plans.claim(suspension.id, owner="ahead", lease=LEASE)
        assert claim is not None
    scene.clock.pass_by(timedelta(hours=-1))
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.DONE


def test_a_due_time_that_a_wrong_clock_wrote_is_over(scene: Scene, suspension: Step) -> None:
    scene.overwrite(suspension.id, due_at=scene.clock.now() + timedelta(hours=1))
    with scene.db.begin() as uow:
        assert suspension.id in {step.id for step in uow.plans.due(limit=10, lanes=[Lane.CONTAINMENT])}
    contain.step(scene.hands(), suspension.id)
    assert scene.step(suspension.id).state is StepState.DONE


def test_a_step_that_was_put_off_is_left_alone_until_then(scene: Scene, suspension: Step) -> None:
    scene.overwrite(suspension.id, due_at=scene.clock.now() + timedelta(minutes=20))
    contain.step(scene.hands(), suspension.id)
    assert scene.ledger.calls == []
