"""How fast a platform is called, over all workers: its own rate, what a 429 asks for, and what tightens first."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import cast

import pytest

from service.custody.standard.calls import StandardCalls
from service.domain.account import AccountRef
from service.domain.errors import CallDeferredError, UnknownOutcomeError
from service.domain.ids import ConnectionId
from service.domain.plan import Step, StepState
from service.flow import contain
from service.flow.contain import LEASE, Hands
from service.ports.custody import ConnectionConfig, ContainmentCalls, GateHolds, Unpaced
from service.store.gate_holds import SqlGateHolds
from tests.integration.containment.conftest import LEASE_IS_OVER, Scene
from tests.integration.containment.test_outage import SECRET, incident_on
from tests.integration.containment.test_way_to_hold import statements
from tests.support.recording_platform import RecordingPlatform, serving
from workers.ahead import Ahead
from workers.lines import Lines
from workers.pace import CHILDREN_BUT_ONE, SHORT_PATIENCE_S, Turns

pytestmark = pytest.mark.servers
MAIN = ConnectionId("main")
RATE = 4
ENDED = {StepState.FAILED, StepState.REFUSED, StepState.UNKNOWN}


@contextmanager
def worker(scene: Scene, base: str, slept: list[float]) -> Iterator[Hands]:
    """One worker with lines of its own; it sleeps by the scene's clock."""

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        scene.clock.pass_by(timedelta(seconds=seconds))

    def platform(connection: ConnectionId) -> ContainmentCalls:
        settings = {"action_url": f"{base}/action", "status_url": f"{base}/status", "calls_per_s": str(RATE)}
        return lines.to(ConnectionConfig(connection, "standard", settings, lambda _: SECRET, ()), {})

    ahead = Ahead()
    paces = partial(Turns, scene.db, sleep=sleep, ahead=ahead)
    lines = Lines(lambda config: StandardCalls(config, SqlGateHolds(scene.db)), paces)
    try:
        yield replace(
            scene.hands(),
            platform=platform,
            heard=lines.heard,
            hurry=lines.hurry,
            may_call=lambda connection: Turns(scene.db, connection, ahead=ahead).require_open(),
            foresee=ahead.read,
            expect=ahead.expect,
            ours=lines.ours,
        )
    finally:
        lines.close()


def states(scene: Scene, held: list[Step]) -> set[StepState]:
    return {scene.step(step.id).state for step in held}


def turns(scene: Scene, *, urgent: bool) -> Callable[[float], float | None]:
    return Turns(scene.db, MAIN, lambda: urgent, lambda _: None).turn


def test_two_workers_share_one_rate(scene: Scene) -> None:
    held = incident_on(scene, MAIN, 6)
    platform, slept = RecordingPlatform(), list[float]()
    with serving(platform) as base, worker(scene, base, slept) as one, worker(scene, base, slept) as two:
        for number, step in enumerate(held):
            contain.step((one, two)[number % 2], step.id)
    assert states(scene, held) == {StepState.DONE}
    calls_made = 2 * len(held)  # one to hold, one to ask
    assert sum(slept) == pytest.approx((calls_made - RATE) / RATE, abs=0.05)


def test_after_a_429_nobody_calls_until_then_and_no_attempt_is_used_up(scene: Scene) -> None:
    first, *others = held = incident_on(scene, MAIN, 4)
    platform, slept = RecordingPlatform(), list[float]()
    platform.status_for_posts = 429
    with serving(platform) as base, worker(scene, base, slept) as one, worker(scene, base, slept) as two:
        contain.step(one, first.id)
        assert len(platform.requests) == 1
        for step in others:
            contain.step(two, step.id)
        assert len(platform.requests) == 1, "the other worker knows"
        assert {scene.step(step.id).attempt for step in others} == {0}
        platform.status_for_posts = 200
        scene.clock.pass_by(timedelta(seconds=6))
        for _ in range(3):
            for step in held:
                contain.step(two, step.id)
            scene.clock.pass_by(timedelta(seconds=2))
    assert states(scene, held) == {StepState.DONE}
    assert [action for _, action in platform.effects] == ["hold_outgoing"] * len(held)


def test_from_its_second_step_on_a_worker_takes_the_turn_with_the_claim(scene: Scene) -> None:
    first, second, third = incident_on(scene, MAIN, 3)
    platform, slept = RecordingPlatform(), list[float]()
    with serving(platform) as base, worker(scene, base, slept) as one:
        contain.step(one, first.id)
        with statements() as said:
            contain.step(one, second.id)
        intent = next(n for n, statement in enumerate(said) if "intent_at=" in statement)
        assert [s for s in said[:intent] if s.startswith("BEGIN")] == ["BEGIN", "BEGIN"], "one claims, one intends"
        made = len(platform.requests)
        Turns(scene.db, MAIN).slow_down(300)
        contain.step(one, third.id)
        assert len(platform.requests) == made
    assert scene.step(third.id).attempt == 0
    assert states(scene, [first, second]) == {StepState.DONE}


def test_what_tightens_goes_before_everything_else(scene: Scene) -> None:
    for _ in range(RATE // 2):
        turns(scene, urgent=False)(RATE)
    with pytest.raises(CallDeferredError) as caught:
        turns(scene, urgent=False)(RATE)
    assert 0 < (caught.value.retry_after_s or 0) <= 1
    for _ in range(RATE):
        turns(scene, urgent=True)(RATE)
    with pytest.raises(CallDeferredError):
        turns(scene, urgent=False)(RATE)


def test_who_has_the_last_free_child_waits_for_an_answer_for_a_short_while(scene: Scene) -> None:
    held = incident_on(scene, MAIN, CHILDREN_BUT_ONE + 1)
    turn = turns(scene, urgent=True)
    for free, step in enumerate(held):
        assert turn(RATE) is None, f"{free} children are busy"
        with scene.db.begin() as uow:
            assert uow.plans.claim(step.id, owner=f"child-{free}", lease=LEASE) is not None
    assert turn(RATE) == SHORT_PATIENCE_S
    scene.clock.pass_by(LEASE_IS_OVER)
    assert turn(RATE) is None
    assert Turns(scene.db, MAIN, poll=True).turn(RATE) == SHORT_PATIENCE_S, "a poll is asked again anyway"


def test_who_claims_at_the_same_moment_is_seen_before_the_call(scene: Scene) -> None:
    children = []
    for number in range(CHILDREN_BUT_ONE + 1):
        connection, ahead = ConnectionId(f"platform-{number}"), Ahead()
        (step,) = incident_on(scene, connection, 1)
        ahead.turn(connection, RATE)  # the rate of an earlier call
        children.append((step, ahead, Turns(scene.db, connection, lambda: True, ahead=ahead)))
    with ExitStack() as claims:
        for step, ahead, _ in children:
            uow = claims.enter_context(scene.db.begin(on_disk=False))
            assert uow.plans.claim(step.id, owner=step.id, lease=LEASE) is not None
            ahead.read(uow, step.target.connection, urgent=True)
    assert [turns.turn(RATE) for _, _, turns in children] == [SHORT_PATIENCE_S] * len(children)


def test_patience_is_as_short_as_told() -> None:
    """A platform that takes the connection and answers nothing, for a caller with little patience."""

    class Hurried(Unpaced):
        def turn(self, per_s: float) -> float:
            return 0.05 + 0 * per_s

    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = {"action_url": f"{base}/action", "status_url": f"{base}/status"}
        config = ConnectionConfig(MAIN, "standard", settings, lambda _: SECRET, (), pace=Hurried())
        calls = StandardCalls(config, cast("GateHolds", None))
        with pytest.raises(UnknownOutcomeError):
            calls.hold_outgoing(AccountRef(MAIN, "a"), key="key-1")
        calls.close()


def test_a_step_without_a_turn_is_put_off_and_comes_again(scene: Scene) -> None:
    (step,) = incident_on(scene, MAIN, 1)
    for _ in range(RATE + 2 * RATE):  # the burst, and all who may wait
        turns(scene, urgent=True)(RATE)
    platform = RecordingPlatform()
    with serving(platform) as base, worker(scene, base, []) as hands:
        contain.step(hands, step.id)
        found = scene.step(step.id)
        assert (found.state in ENDED, platform.requests) == (False, [])
        scene.clock.pass_by(timedelta(seconds=4))
        contain.step(hands, step.id)
        scene.clock.pass_by(timedelta(seconds=1))
        contain.step(hands, step.id)
    assert scene.step(step.id).state is StepState.DONE
