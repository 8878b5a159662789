"""Of alerts that come at once every account is held before any hold is verified (ADR 0061)."""

from types import SimpleNamespace

import pytest

from service.domain.ids import AlertId
from service.domain.plan import Lane, StepState
from service.flow import contain
from tests.integration.containment.conftest import Scene
from tests.integration.containment.test_way_to_hold import alert_message, an_alert
from tests.support.incidents import CONNECTION, add_account, add_alert
from workers.hurry import Hurry
from workers.straight import Straight

pytestmark = pytest.mark.servers


def test_while_alerts_wait_each_is_held_before_any_is_verified(scene: Scene) -> None:
    raised = [an_alert(scene, "hot-0")]
    with scene.db.begin() as uow:
        for n in range(1, 5):
            add_account(uow.connection, f"hot-{n}")
            entities = (f"account:{CONNECTION}/hot-{n}",)
            raised.append(AlertId(add_alert(uow.connection, None, entities, kind="signing_tampering")))
    straight = Straight(scene.db, scene.desk, scene.hands())
    root = SimpleNamespace(db=scene.db, jobs={}, hurry=Hurry(), close=int)
    waiting = [alert_message(alert, number) for number, alert in enumerate(raised, start=1)]
    while waiting:
        straight.go(root, waiting.pop(0), lambda: bool(waiting))
    left = [step for step, _ in straight.left]
    assert len(left) == 4, "the last one is done whole, and none found the line full"
    assert {scene.step(one).state for one in left} == {StepState.VERIFYING}
    assert all(scene.step(one).receipt is not None for one in left)
    assert len(scene.ledger.holding) == 5
    with scene.db.begin() as uow:
        assert {due.id for due in uow.plans.due(limit=9, lanes=(Lane.CONTAINMENT,))} >= set(left), "also for others"
        assert not uow.noted(f"job:{1}:triage.alert")
    acted = len(scene.ledger.calls)
    assert contain.step(scene.hands(), left[3]) is None, "whoever comes first"
    while straight.finish(root):
        pass
    assert {scene.step(one).state for one in left} == {StepState.DONE}
    assert len(scene.ledger.calls) == acted, "what was left was asked about, and not done again"
    with scene.db.begin() as uow:
        assert all(uow.noted(f"job:{number}:triage.alert") for number in range(1, 6))


def test_no_more_is_left_than_can_be_remembered(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.straight.MOST_LEFT", 0)
    straight = Straight(scene.db, scene.desk, scene.hands())
    straight.go(
        SimpleNamespace(db=scene.db, jobs={}, hurry=Hurry(), close=int),
        alert_message(an_alert(scene, "hot-1")),
        lambda: True,
    )
    assert not straight.left
