"""A platform that answers nothing: tried by one step at a time, people are paged once, others are not kept waiting."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from service.custody.fireblocks.calls import FireblocksCalls
from service.custody.standard.calls import StandardCalls
from service.domain.events import ConnectionLost
from service.domain.ids import ConnectionId, IncidentId
from service.domain.line import DEAD_AFTER, MOST_AT_ONCE
from service.domain.plan import Lane, Step, StepState
from service.flow import contain, respond
from service.flow.contain import LEASE, Hands
from service.flow.notify import telling
from service.flow.routes import jobs_of
from service.ports.custody import ConnectionConfig, ContainmentCalls
from service.store.gate_holds import SqlGateHolds
from service.store.tables.attention import messages
from service.store.tables.incident import steps
from service.store.tables.proof import outbox, timeline
from service.store.tables.registry import channels, people
from tests.integration.containment.conftest import LEASE_IS_OVER, Scene
from tests.support.incidents import add_account, add_connection, add_incident
from tests.support.recording_platform import RecordingPlatform, serving
from workers.lines import Lines
from workers.pace import Turns

pytestmark = pytest.mark.servers
DEAD, ALIVE = "dead", "alive"
NOBODY = "http://127.0.0.1:9"  # the discard port: nobody listens
SECRET = b"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@contextmanager
def workers(scene: Scene, places: dict[str, str]) -> Iterator[Callable[[str], Hands]]:
    """Hands whose calls go over real sockets to each connection's own place."""
    lines = Lines(lambda config: StandardCalls(config, SqlGateHolds(scene.db)))

    def platform(connection: ConnectionId) -> ContainmentCalls:
        base = places[connection]
        settings = {"action_url": f"{base}/action", "status_url": f"{base}/status"}
        return lines.to(ConnectionConfig(connection, "standard", settings, lambda _: SECRET, ()), {})

    try:
        yield lambda owner: replace(scene.hands(owner=owner), platform=platform, heard=lines.heard)
    finally:
        lines.close()


def incident_on(scene: Scene, connection: str, accounts: int) -> list[Step]:
    refs = [f"{connection}-{n}" for n in range(accounts)]
    with scene.db.begin() as uow:
        add_connection(uow.connection, connection)
        for ref in refs:
            add_account(uow.connection, ref, connection=connection)
        entities = tuple(f"account:{connection}/{ref}" for ref in refs)
        incident = IncidentId(add_incident(uow.connection, entities, connection=connection))
    respond.plan(scene.desk, incident)
    found = scene.steps(incident)
    return [found["suspend_withdrawals", ref] for ref in refs]


def due_now(scene: Scene) -> list[str]:
    with scene.db.begin() as uow:
        return [step.id for step in uow.plans.due(limit=100, lanes=tuple(Lane))]


def told(scene: Scene, kind: str) -> int:
    with scene.db.begin() as uow:
        return len(uow.connection.execute(select(timeline.c.id).where(timeline.c.kind == kind)).all())


def let_pass(scene: Scene, rounds: int, hands: Hands) -> None:
    for _ in range(rounds):
        scene.clock.pass_by(timedelta(seconds=21))
        for step_id in due_now(scene):
            contain.step(hands, scene.step(step_id).id)


def test_a_dead_platform_is_tried_by_one_step_and_pages_once(scene: Scene) -> None:
    held = incident_on(scene, DEAD, 4)
    with workers(scene, {DEAD: NOBODY}) as hands:
        for step in held:
            contain.step(hands("one"), step.id)
        tried = [step for step in held if scene.step(step.id).attempt]
        assert len(tried) == 1, "after the first that got no answer the others wait without calling"
        let_pass(scene, 2 * DEAD_AFTER, hands("one"))
    assert told(scene, "connection.lost") == 1
    with scene.db.begin() as uow:
        (payload,) = uow.connection.execute(
            select(outbox.c.payload).where(outbox.c.event == ConnectionLost.name)
        ).scalars()
    assert payload["connection_id"] == DEAD
    assert jobs_of(ConnectionLost.name, payload) == ("notify.connection",)
    assert not {scene.step(step.id).state for step in held} & {StepState.FAILED, StepState.REFUSED}


def test_what_waited_is_due_at_once_when_it_answers_again(scene: Scene) -> None:
    held = incident_on(scene, DEAD, 3)
    platform, places = RecordingPlatform(), {DEAD: NOBODY}
    with serving(platform) as base, workers(scene, places) as hands:
        for step in held:
            contain.step(hands("one"), step.id)
        let_pass(scene, DEAD_AFTER + 1, hands("one"))
        places[DEAD] = base
        scene.clock.pass_by(timedelta(seconds=21))
        contain.step(hands("one"), due_now(scene)[0])  # type: ignore[arg-type]  # an id of the store
        assert told(scene, "connection.answers") == 1
        for _ in range(3):
            for step_id in due_now(scene):
                contain.step(hands("one"), step_id)  # type: ignore[arg-type]  # as above
            scene.clock.pass_by(timedelta(seconds=1))
    assert {scene.step(step.id).state for step in held} == {StepState.DONE}
    assert [action for _, action in platform.effects].count("hold_outgoing") == len(held)


def test_the_other_platforms_hold_goes_out_at_once(scene: Scene) -> None:
    dead, (alive,) = incident_on(scene, DEAD, 6), incident_on(scene, ALIVE, 1)
    platform = RecordingPlatform()
    with serving(platform) as base, workers(scene, {DEAD: NOBODY, ALIVE: base}) as hands:
        for step in dead:
            contain.step(hands("one"), step.id)
        contain.step(hands("one"), alive.id)
    assert scene.step(alive.id).state is StepState.DONE
    assert sum(scene.step(step.id).attempt for step in dead) == 1


def test_a_hanging_platform_never_has_all_of_a_workers_children(scene: Scene) -> None:
    """The first time nobody knows that it hangs: as many as may be at once are stuck in it, and one child is left."""
    held = incident_on(scene, DEAD, MOST_AT_ONCE + 2)
    with scene.db.begin() as uow:
        for number, step in enumerate(held[:MOST_AT_ONCE]):
            assert uow.plans.claim(step.id, owner=f"stuck-{number}", lease=LEASE) is not None
    platform = RecordingPlatform()
    with serving(platform) as base, workers(scene, {DEAD: base}) as hands:
        contain.step(hands("free"), held[-1].id)
        assert (scene.step(held[-1].id).state, platform.effects) == (StepState.READY, [])
        scene.clock.pass_by(LEASE_IS_OVER)
        contain.step(hands("free"), held[-1].id)
    assert scene.step(held[-1].id).state is StepState.DONE


def test_whoever_is_on_call_is_told_and_an_invented_event_tells_nobody(scene: Scene) -> None:
    (step,) = incident_on(scene, DEAD, 1)
    with scene.db.begin() as uow:
        uow.connection.execute(insert(channels).values(id="page", kind="webhook", config={}, created_at=uow.now))
        uow.connection.execute(
            insert(people).values(
                id="per_1",
                name="A",
                email="a@example.org",
                roles=["responder"],
                oncall_level=2,
                channels=[{"channel": "page", "recipient": "pager"}],
                state="active",
                created_at=uow.now,
            )
        )
    telling.connection(scene.db, ConnectionId(DEAD), step.incident_id)
    assert bodies(scene) == []
    with workers(scene, {DEAD: NOBODY}) as hands:
        contain.step(hands("one"), step.id)
        let_pass(scene, 2 * DEAD_AFTER, hands("one"))
    for _ in range(2):
        telling.connection(scene.db, ConnectionId(DEAD), step.incident_id)
    (body,) = bodies(scene)
    assert "has answered nothing since" in body


def bodies(scene: Scene) -> list[str]:
    with scene.db.begin() as uow:
        return list(uow.connection.execute(select(messages.c.body)).scalars())


def test_a_turn_that_made_no_call_is_given_on(scene: Scene) -> None:
    one, two = incident_on(scene, DEAD, 2)
    with workers(scene, {DEAD: NOBODY}) as hands:
        contain.step(hands("one"), one.id)
        with scene.db.begin() as uow:
            uow.connection.execute(update(steps).where(steps.c.id == two.id).values(action="resume_withdrawals"))
        scene.clock.pass_by(timedelta(seconds=2))
        contain.step(hands("one"), two.id)
        assert scene.step(two.id).state is StepState.REFUSED
        with scene.db.begin() as uow:
            line = uow.lines.line(ConnectionId(DEAD))
            assert line is not None
            assert line.closed_until <= uow.now


def test_what_our_own_gate_holds_waits_for_no_platform(scene: Scene) -> None:
    first, second, third = incident_on(scene, DEAD, 3)
    lines = Lines(lambda config: FireblocksCalls(config, None, SqlGateHolds(scene.db)))

    def platform(connection: ConnectionId) -> ContainmentCalls:
        return lines.to(ConnectionConfig(connection, "fireblocks", {}, lambda _: SECRET, ()), {})

    def may_call(connection: ConnectionId) -> None:
        Turns(scene.db, connection).require_open()

    hands = replace(scene.hands(), platform=platform, heard=lines.heard, may_call=may_call, ours=lines.ours)
    Turns(scene.db, ConnectionId(DEAD)).slow_down(300)
    contain.step(hands, first.id)
    with scene.db.begin() as uow:
        for _ in range(DEAD_AFTER):
            uow.lines.fail(ConnectionId(DEAD))
    for held in (second, third):
        contain.step(hands, held.id)
    assert {scene.step(held.id).state for held in (first, second, third)} == {StepState.DONE}
