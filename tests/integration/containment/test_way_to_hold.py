"""The way from an alert to the hold is short, and only the intent waits for the disk (ADR 0043)."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import Select, select, text

from service.domain.account import Account
from service.domain.events import Event, IncidentOpened, StepReady
from service.domain.ids import AlertId, ConnectionId, IncidentId, StepId
from service.domain.line import MOST_AT_ONCE
from service.domain.plan import Effect, Lane, StepState
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.flow import contain, respond, triage
from service.flow.contain import LEASE
from service.store import registry
from service.store.pace import BUSY
from service.store.pipeline import Answer, Pipeline
from service.store.plan_statements import IS_PLANNED, TOUCHED
from service.store.tables.incident import alerts, steps
from service.store.tables.proof import audit_personal, outbox, timeline
from service.store.unit_of_work import SqlUnitOfWork
from tests.integration.containment.conftest import LEASE_IS_OVER, Scene
from tests.support.incidents import CONNECTION, add_account, add_alert, add_connection, add_incident
from workers import containment
from workers.ahead import Ahead
from workers.hurry import Hurry
from workers.publish import Message, Waiting
from workers.relay import HEAD_START_S, POLL_S, Relay
from workers.straight import PLANNING, Straight

pytestmark = pytest.mark.servers
MOST_STATEMENTS = 36
"""From triage to the intent, with BEGIN, COMMIT and a setting; the steps of the plan are one more."""
MOST_WAITS = 11
"""How often the server is waited for from triage until the platform is called."""
WAIT = "wait"


class Broker:
    """Takes what the relay publishes."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def publish_event(self, waiting: Waiting) -> None:
        self.taken.append(waiting.event)


@contextmanager
def statements(*, waits: bool = False) -> Iterator[list[str]]:
    """Note what is said to the server and, if wanted, `WAIT` wherever its answers are waited for."""
    said: list[str] = []
    execute, send, settle = psycopg.Cursor.execute, Pipeline.send, Pipeline.settle

    def waited(cursor: psycopg.Cursor[Any], query: str, *values: Any, **options: Any) -> psycopg.Cursor[Any]:
        said.extend([query, WAIT] if waits else [query])
        return execute(cursor, query, *values, **options)

    def sent(pipeline: Pipeline, query: str, values: Sequence[object]) -> Answer:
        said.append(query)
        return send(pipeline, query, values)

    def settled(pipeline: Pipeline) -> None:
        if waits and pipeline.waits:
            said.append(WAIT)
        settle(pipeline)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", waited)
        patch.setattr(Pipeline, "send", sent)
        patch.setattr(Pipeline, "settle", settled)
        yield said


def an_alert(scene: Scene, *refs: str) -> AlertId:
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        for ref in refs:
            add_account(uow.connection, ref)
        entities = tuple(f"account:{CONNECTION}/{ref}" for ref in refs)
        return AlertId(add_alert(uow.connection, None, entities, kind="signing_tampering"))


def holds(scene: Scene, alert: AlertId) -> list[StepId]:
    incident = triage.triage(scene.db, alert)
    respond.plan(scene.desk, incident)
    return [step.id for (action, _), step in scene.steps(incident).items() if action == "suspend_withdrawals"]


def test_between_alert_and_call_only_the_intent_waits_for_the_disk(scene: Scene) -> None:
    alert = an_alert(scene, "hot-1")
    with statements() as before_call:
        straight = Straight(scene.db, scene.desk, scene.hands())
        done, taken = straight.claim(alert_message(alert))
        assert taken is not None
        straight.hold(taken)
    assert [one.job for one in done] == ["triage.alert", "respond.plan", "contain.step"]
    assert scene.step(taken.claim.step.id).state is StepState.DONE
    commits = [n for n, said in enumerate(before_call) if said == "COMMIT"]
    waiting = [n for n in commits if "synchronous_commit" not in " ".join(before_call[_begin(commits, n) : n])]
    intent = next(n for n, said in enumerate(before_call) if "intent_at=" in said)
    written = [n for n in waiting if n < intent and any(_writes(said) for said in before_call[_begin(commits, n) : n])]
    assert written == [], "nothing that was written before the intent waited for the disk by itself"
    assert next(n for n in commits if n > intent) in waiting, "the intent is on disk before the platform is called"
    assert intent <= MOST_STATEMENTS


def test_what_does_not_need_each_other_is_asked_together(scene: Scene) -> None:
    alert, ahead = an_alert(scene, "hot-1"), Ahead()
    ahead.turn(ConnectionId(CONNECTION), 20.0)  # as after its first call
    asked = replace(scene.hands(), foresee=ahead.read, expect=ahead.expect, about_to_call=ahead.count)
    with statements(waits=True) as said:
        straight = Straight(scene.db, scene.desk, asked)
        _, taken = straight.claim(alert_message(alert))
        assert taken is not None
        straight.hold(taken)
    intent = next(n for n, one in enumerate(said) if "intent_at=" in one)
    called = next(n for n, one in enumerate(said) if n > intent and one == "COMMIT") + 1
    assert said[called] == WAIT, "the intent is on disk before the platform is called"
    assert said[: called + 1].count(WAIT) <= MOST_WAITS, said[: called + 1]
    assert scene.step(taken.claim.step.id).state is StepState.DONE


def _writes(statement: str) -> bool:
    return statement.lstrip().upper().startswith(("INSERT", "UPDATE", "WITH"))


def _begin(commits: Sequence[int], commit: int) -> int:
    """Return where the transaction that ends there began, with a statement of its own."""
    return max((n + 1 for n in commits if n < commit), default=0)


def test_a_claim_that_was_forgotten_has_a_number_of_its_own(scene: Scene) -> None:
    (step,) = holds(scene, an_alert(scene, "hot-1"))
    numbers = set()
    for _ in range(4):
        with suppress(ZeroDivisionError), scene.db.begin() as uow:
            claim = uow.plans.claim(step, owner="one", lease=LEASE)
            assert claim is not None
            numbers.add(claim.step.fence)
            raise ZeroDivisionError  # as a crash of the database forgets it
    assert len(numbers) == 4
    assert min(numbers) > 0


def test_who_makes_room_on_a_line_goes_on_with_who_found_it_full(scene: Scene) -> None:
    held = holds(scene, an_alert(scene, "hot-1", "hot-2", "hot-3", "hot-4"))
    with scene.db.begin() as uow:
        for other in held[:MOST_AT_ONCE]:
            assert uow.plans.claim(other, owner="busy", lease=LEASE) is not None
    for late in held[MOST_AT_ONCE:]:
        assert contain.step(scene.hands(), late) is None, "the line is full"
    assert {scene.step(one).state for one in held} == {StepState.READY}
    scene.clock.pass_by(LEASE_IS_OVER)
    with scene.db.begin() as uow:
        for late in held[MOST_AT_ONCE:]:
            claim = uow.plans.claim(late, owner="one", lease=LEASE)
            assert claim is not None
            uow.plans.put_off(late, claim.step.fence, uow.now + timedelta(minutes=5))
    containment.jobs(scene.hands())["contain.step"]({"step_id": held[0]})
    assert [scene.step(one).state for one in held] == [
        StepState.DONE,
        StepState.READY,
        StepState.DONE,
        StepState.DONE,
    ], "the two that had been put off for minutes went at once"


def alert_message(alert: AlertId, number: int = 0) -> Message:
    return Message("triage.alert", {"alert_id": alert}, None, number)


def test_the_hold_of_a_new_alert_stands_behind_no_full_line(scene: Scene) -> None:
    held = holds(scene, an_alert(scene, "hot-1", "hot-2", "hot-3"))
    with scene.db.begin() as uow:
        for other in held[:MOST_AT_ONCE]:
            assert uow.plans.claim(other, owner="busy", lease=LEASE) is not None
        new, newer = (
            AlertId(add_alert(uow.connection, None, (f"account:{CONNECTION}/{ref}",), kind="signing_tampering"))
            for ref in ("cold-1", "cold-2")
        )
        for ref in ("cold-1", "cold-2"):
            add_account(uow.connection, ref)
    assert contain.step(scene.hands(), held[2]) is None
    assert scene.step(held[2]).state is StepState.READY, "for others the line is full"
    straight = Straight(scene.db, scene.desk, scene.hands())
    _, taken = straight.claim(alert_message(new))
    assert taken is not None
    assert straight.claim(alert_message(newer))[1] is None, "one passes, and no more"
    straight.hold(taken)
    assert scene.step(taken.claim.step.id).state is StepState.DONE


def test_room_is_made_for_holds_first_and_for_the_most_severe_incidents(scene: Scene) -> None:
    mild, severe = (an_incident(scene, f"hot-{severity}", severity) for severity in (3, 4))
    later = scene.clock.now() + timedelta(minutes=5)
    steps = {(s.action, s.incident_id): s.id for one in (mild, severe) for s in scene.steps(one).values()}
    for one in steps.values():
        scene.overwrite(one, due_at=later)
    with scene.db.begin() as uow:
        room = [uow.lines.make_room(ConnectionId(CONNECTION)) for _ in range(2)]
        assert room[0] == steps["suspend_withdrawals", severe]
        assert room[1] == room[0], "until it is claimed"
    scene.overwrite(str(room[0]), effect=Effect.LOOSENS.value)
    with scene.db.begin() as uow:
        assert uow.lines.make_room(ConnectionId(CONNECTION)) == steps["suspend_withdrawals", mild]


def an_incident(scene: Scene, ref: str, severity: int) -> IncidentId:
    with scene.db.begin() as uow:
        if severity == 3:
            add_connection(uow.connection)
        add_account(uow.connection, ref)
        entities = (f"account:{CONNECTION}/{ref}",)
        found = IncidentId(add_incident(uow.connection, entities, kind="signing_tampering", severity=severity))
    respond.plan(scene.desk, found)
    return found


def test_a_plan_that_fails_is_left_to_its_own_job_and_the_incident_is_open(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("plan")

    alert = an_alert(scene, "hot-1")
    straight = Straight(scene.db, scene.desk, scene.hands())
    monkeypatch.setitem(PLANNING, "respond.plan", broken)
    triaged: list[object] = []
    jobs = {"triage.alert": lambda p: triaged.append(triage.triage(scene.db, AlertId(p["alert_id"])))}
    straight.go(SimpleNamespace(db=scene.db, jobs=jobs, hurry=Hurry(), close=int), alert_message(alert))
    with scene.db.begin() as uow:
        incident = uow.incidents.alert(alert).incident_id
        assert [incident] == triaged
        assert uow.plans.steps_of(IncidentId(str(incident))) == ()
        assert uow.noted("job:0:triage.alert")
        assert not uow.noted("job:0:respond.plan")


def test_while_one_alert_is_planned_others_are_triaged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan takes as long as its alert names much: an incident of its own is all that it may keep."""
    big = an_alert(scene, "hot-1")
    with scene.db.begin() as uow:
        add_account(uow.connection, "hot-2")
        other = AlertId(add_alert(uow.connection, None, (f"account:{CONNECTION}/hot-2",), kind="signing_tampering"))
    opened: list[IncidentId] = []

    def long(desk: respond.Desk, incident: IncidentId) -> None:
        with scene.db.begin() as uow:
            uow.lock("triage")  # its commit is under way: nobody waits for the plan
        opened.append(triage.triage(scene.db, other))
        respond.plan(desk, incident)

    monkeypatch.setitem(PLANNING, "respond.plan", long)
    done, taken = Straight(scene.db, scene.desk, scene.hands()).claim(alert_message(big))
    assert taken is not None
    assert [one.job for one in done] == ["triage.alert", "respond.plan", "contain.step"]
    assert len(opened) == 1
    assert opened[0] != taken.claim.step.incident_id


def test_a_lease_counts_from_when_it_is_written(scene: Scene) -> None:
    """Not from before the waits for locks, which may be longer than a lease."""
    (step,) = holds(scene, an_alert(scene, "hot-1"))
    waited = timedelta(milliseconds=50)
    with scene.db.begin() as uow:
        uow.connection.execute(text("SELECT pg_sleep_for(:waited)"), {"waited": waited})
        claim = uow.plans.claim(step, owner="one", lease=LEASE)
        assert claim is not None
        assert _lease(uow, step) >= scene.clock.now() + waited + LEASE
    with scene.db.begin() as uow:
        uow.connection.execute(text("SELECT pg_sleep_for(:waited)"), {"waited": waited})
        uow.plans.extend(step, claim.step.fence, 2 * LEASE)
        assert _lease(uow, step) >= scene.clock.now() + waited + 2 * LEASE


def _lease(uow: SqlUnitOfWork, step: StepId) -> datetime:
    until: datetime = uow.connection.execute(select(steps.c.lease_until).where(steps.c.id == step)).scalar_one()
    return until


def test_what_a_hold_waits_for_is_published_first_and_pages_a_moment_later(
    scene: Scene, fresh_postgres_url: str
) -> None:
    broker = Broker()
    relay = Relay(Secret(fresh_postgres_url), broker, threading.Event(), threading.Lock())  # type: ignore[arg-type]  # it only publishes
    with scene.db.begin() as uow:
        told: tuple[Event, ...] = (IncidentOpened(IncidentId("inc_1")), StepReady(StepId("stp_1"), Lane.KEYS.value))
        uow.record(Entry(kind="tested", at=uow.now, subject="x", sentence="x"), *told)
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        assert relay.publish_waiting(connection) == HEAD_START_S
        assert broker.taken == ["step_ready"]
        while (pause_s := relay.publish_waiting(connection)) < POLL_S:
            threading.Event().wait(pause_s)
        assert broker.taken == ["step_ready", "incident_opened"]
        assert relay.publish_waiting(connection) == POLL_S


def test_a_transition_is_written_whole_by_one_statement(scene: Scene) -> None:
    events = [IncidentOpened(IncidentId(f"inc_{n}")) for n in range(3)]
    with scene.db.begin():
        pass  # what a first connection asks
    with statements() as said, scene.db.begin() as uow:
        personal = {"name": "A. Person", "address": "a@b.example"}
        facts = {"list": [1, None, "ü"], "nested": {"a": True}}
        entry = Entry(kind="tested", at=uow.now, subject="x", sentence="X", facts=facts, personal=personal)
        uow.record(entry, *events)
        assert len(said) == 2, "BEGIN and one more"
        numbers = [number for number, _ in uow.left]
        assert numbers == sorted(numbers)
    with scene.db.begin() as uow:
        rows = uow.connection.execute(outbox.select().order_by(outbox.c.id)).all()
        assert [(row.id, row.payload) for row in rows] == [
            (number, event.payload()) for number, event in zip(numbers, events, strict=True)
        ]
        assert uow.connection.execute(timeline.select()).one().facts == facts
        kept = uow.connection.execute(audit_personal.select()).all()
    assert {row.field: row.value for row in kept} == personal


def test_a_transition_without_events_does_not_wake_the_relay(scene: Scene, fresh_postgres_url: str) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as listening:
        listening.execute("LISTEN outbox")
        with scene.db.begin() as uow:
            uow.record(Entry(kind="tested", at=uow.now, subject="x", sentence="x"))
        assert next(listening.notifies(timeout=0.05, stop_after=1), None) is None
        with scene.db.begin() as uow:
            uow.record(Entry(kind="tested", at=uow.now, subject="x", sentence="x"), IncidentOpened(IncidentId("inc_1")))
        assert next(listening.notifies(timeout=60, stop_after=1), None) is not None


def test_a_connection_that_the_server_dropped_is_replaced_before_anything_is_done(
    scene: Scene, fresh_postgres_url: str
) -> None:
    def server_process(uow: SqlUnitOfWork) -> int:
        return int(uow.connection.execute(text("SELECT pg_backend_pid()")).scalar_one())

    with scene.db.begin() as one, scene.db.begin() as other:
        dropped = [server_process(one), server_process(other)]
    with psycopg.connect(fresh_postgres_url, autocommit=True) as judge:
        judge.execute("SELECT pg_terminate_backend(pid, 30000) FROM unnest(%s::int[]) AS pid", (dropped,))
    with scene.db.begin() as uow:
        assert server_process(uow) not in dropped


def test_a_plan_reads_the_accounts_that_it_can_touch_and_no_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = an_alert(scene, "hot-1", *(f"cold-{n}" for n in range(40)))
    with scene.db.begin() as uow:
        named = alerts.update().values(
            entities=[f"account:{CONNECTION}/hot-1", f"actor:{CONNECTION}/x", "destination:y"]
        )
        uow.connection.execute(named)
    read: list[str] = []
    build = registry.account_of

    def account_of(row: Any) -> Account:
        read.append(row.ref)
        return build(row)

    monkeypatch.setattr(registry, "account_of", account_of)
    assert len(holds(scene, alert)) == 1
    assert set(read) == {"hot-1"}


@pytest.mark.parametrize(
    ("index", "statement"),
    [("ix_plans_incident", IS_PLANNED), ("ix_steps_connection", TOUCHED), ("ix_steps_unfinished", BUSY)],
)
def test_what_a_hold_looks_up_of_earlier_plans_has_an_index(scene: Scene, index: str, statement: Select[Any]) -> None:
    """A plan for any values, as a prepared statement gets one: it must know the index without knowing them."""
    places = count(1)
    asked = re.sub(r"%\(\w+\)s", lambda _: f"${next(places)}", str(statement.compile(dialect=scene.db.engine.dialect)))
    with scene.db.begin() as uow:
        uow.connection.execute(text("SET LOCAL enable_seqscan TO off"))
        plan = uow.connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {asked}").scalars().all()
    assert any(index in line for line in plan), plan
