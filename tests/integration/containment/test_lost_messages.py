"""What the broker forgets, the rows remember: relay and sweeper against a real Valkey that is flushed or away."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest
import redis
import structlog
from celery import Celery
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from service.clock import SystemClock
from service.domain.errors import UnavailableError
from service.domain.events import AlertRaised, IncidentOpened, StepFailed, StepReady
from service.domain.ids import AccountId, IncidentId, new_id
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.domain.vault import VaultKey, Wallet, WalletState
from service.flow import respond
from service.store import grants, plans
from service.store.database import SqlDatabase, create
from service.store.tables.incident import steps
from service.store.tables.proof import outbox
from tests.integration.containment.conftest import ACTIONS, PLAYBOOKS, no_key
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident
from tests.support.servers import url_of_role
from workers import leading, reconcile, relay
from workers.app import make_app
from workers.publish import CeleryQueue, done_key
from workers.reconcile import LOCK, Sweeper
from workers.relay import POLL_S, Relay

pytestmark = pytest.mark.servers
A_WHILE = timedelta(minutes=20)
"""What the sweeper gives to jobs that a hold waits for, steps, and audit entries; no test takes as long."""
LONG = timedelta(hours=1)
"""What it gives to all other jobs."""


@pytest.fixture(autouse=True)
def time_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing becomes late by itself: rows are made older."""
    for module, name, value in (
        (reconcile, "HURRIED_AFTER", A_WHILE),
        (reconcile, "UNHANDLED_AFTER", LONG),
        (reconcile, "UNPLACED_AFTER", LONG),
        (plans, "GRACE", A_WHILE),
        (reconcile, "time", SimpleNamespace(monotonic=lambda: 1000.0)),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def workers_db(fresh_postgres_url: str) -> Iterator[SqlDatabase]:
    """The same database, under the containment worker's role."""
    url = Secret(url_of_role(fresh_postgres_url, grants.CONTAINMENT))
    database = SqlDatabase(create(url, pool_size=2), SystemClock())
    yield database
    database.engine.dispose()


@pytest.fixture(scope="module")
def application(valkey_url: str) -> Celery:
    """One for the module: kombu keeps its pools per URL for the life of the process."""
    return make_app(Secret(valkey_url))


@pytest.fixture
def app(application: Celery, redis_url: str) -> Celery:
    assert redis_url
    return application


@pytest.fixture
def sweeper(db: SqlDatabase, app: Celery) -> Sweeper:
    return Sweeper(db, CeleryQueue(app), threading.Event(), threading.Lock())


def relay_once(url: str, queue: CeleryQueue) -> None:
    relay = Relay(Secret(url), queue, threading.Event(), threading.Lock())
    with psycopg.connect(url, autocommit=True) as connection:
        while (pause_s := relay.publish_waiting(connection)) < POLL_S:
            time.sleep(pause_s)


def raise_alert(db: SqlDatabase) -> None:
    with db.begin() as uow:
        entry = Entry(kind="alert.raised", at=uow.now, subject="alr_1", sentence="An alert")
        uow.record(entry, AlertRaised("alr_1"))


def unpublished(db: SqlDatabase) -> int:
    with db.begin() as uow:
        query = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
        return int(uow.connection.exec_driver_sql(query).scalar_one())


def waiting(url: str, queue: str = "alarm") -> int:
    with redis.Redis.from_url(url) as client:
        length = client.llen(queue)
    assert isinstance(length, int)
    return length


def age_outbox(db: SqlDatabase, by: timedelta = LONG) -> None:
    with db.begin() as uow:
        uow.connection.execute(update(outbox).values(published_at=func.now() - by))


def test_an_event_is_published_once_and_marked(
    db: SqlDatabase, app: Celery, fresh_postgres_url: str, redis_url: str
) -> None:
    raise_alert(db)
    for _ in range(2):
        relay_once(fresh_postgres_url, CeleryQueue(app))
    assert (waiting(redis_url), unpublished(db)) == (1, 0)


def test_a_broker_that_is_away_delays_and_loses_nothing(db: SqlDatabase, app: Celery, fresh_postgres_url: str) -> None:
    raise_alert(db)
    away = make_app(Secret("redis://127.0.0.1:1/0"))
    with pytest.raises(UnavailableError):
        relay_once(fresh_postgres_url, CeleryQueue(away))
    assert unpublished(db) == 1
    relay_once(fresh_postgres_url, CeleryQueue(app))
    assert unpublished(db) == 0


def test_an_event_that_nobody_knows_does_not_stop_the_relay(
    db: SqlDatabase, app: Celery, fresh_postgres_url: str, redis_url: str
) -> None:
    with db.begin() as uow:
        uow.connection.exec_driver_sql(
            "INSERT INTO outbox (event, payload, created_at) VALUES ('no_such_event', '{}', now())"
        )
    raise_alert(db)
    relay_once(fresh_postgres_url, CeleryQueue(app))
    assert (waiting(redis_url), unpublished(db)) == (1, 0)


def test_a_commit_wakes_whoever_listens(db: SqlDatabase, fresh_postgres_url: str) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        connection.execute("LISTEN outbox")
        raise_alert(db)
        assert next(connection.notifies(timeout=60, stop_after=1), None) is not None


def test_jobs_that_a_flushed_broker_forgot_are_sent_again_until_noted(
    db: SqlDatabase, app: Celery, sweeper: Sweeper, fresh_postgres_url: str, redis_url: str
) -> None:
    with db.begin() as uow:
        entry = Entry(kind="incident.opened", at=uow.now, subject="inc_1", sentence="opened")
        uow.record(entry, IncidentOpened(new_id("inc")))
    relay_once(fresh_postgres_url, CeleryQueue(app))
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    assert sweeper.sweep() == 0, "it went out a moment ago"
    age_outbox(db)
    with db.begin() as uow:
        number = uow.connection.exec_driver_sql("SELECT id FROM outbox").scalar_one()
        uow.once(done_key(number, "respond.plan"))
    assert sweeper.sweep() == 2
    assert (waiting(redis_url, "flow"), waiting(redis_url, "delivery")) == (1, 1), "escalate.start and notify.incident"
    assert sweeper.sweep() == 0, "it is left alone for a while"


def test_a_noted_event_is_left_alone(db: SqlDatabase, app: Celery, sweeper: Sweeper, fresh_postgres_url: str) -> None:
    with db.begin() as uow:
        entry = Entry(kind="step.ready", at=uow.now, subject="stp_1", sentence="ready")
        uow.record(entry, StepReady("stp_1", "keys"))
    relay_once(fresh_postgres_url, CeleryQueue(app))
    age_outbox(db)
    with db.begin() as uow:
        number = uow.connection.exec_driver_sql("SELECT id FROM outbox").scalar_one()
        uow.once(done_key(number, "keys.step"))
    assert sweeper.sweep() == 0


def test_a_ready_step_that_no_job_reached_is_found(db: SqlDatabase, sweeper: Sweeper, redis_url: str) -> None:
    with db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "hot-1")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/hot-1",))
    respond.plan(respond.Desk(db, ACTIONS, PLAYBOOKS, no_key), IncidentId(incident))
    assert waiting(redis_url, "containment") == 0
    assert sweeper.sweep() == 0, "its event has a few seconds"
    with db.begin() as uow:
        uow.connection.execute(update(steps).values(ready_at=func.now() - A_WHILE))
    assert sweeper.sweep() == waiting(redis_url, "containment") > 0


def test_a_retired_key_whose_time_is_over_is_found(db: SqlDatabase, sweeper: Sweeper, redis_url: str) -> None:
    with db.begin() as uow:
        add_connection(uow.connection)
        account = AccountId(add_account(uow.connection, "hot-1"))
        wallet = Wallet("w", b"sealed", WalletState.ACTIVE)
        uow.keys.add_wallet(wallet)
        uow.keys.add_keys([VaultKey("key_1", "w", account, "m/0", "eip155:1", b"k", "0x", "retired")])
        uow.keys.schedule_destruction(["key_1"], uow.now + timedelta(hours=1), "step")
    assert sweeper.sweep() == 0
    with db.begin() as uow:
        uow.connection.exec_driver_sql("UPDATE vault_keys SET destroy_from = now() - interval '1 s'")
    assert sweeper.sweep() == waiting(redis_url, "keys") == 1
    with db.begin() as uow:
        uow.keys.set_key_state(["key_1"], ("retired",), "destroyed")
    assert sweeper.sweep() == 0


@contextmanager
def holding(url: str, role: str, lock: tuple[int, int]) -> Iterator[None]:
    with psycopg.connect(url_of_role(url, role), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s::int, %s::int)", lock)
        yield


def relay_until(url: str, app: Celery, done: Callable[[], bool]) -> bool:
    """Run a relay as the containment worker's role until it is `done`, at most a minute."""
    stop = threading.Event()
    own = Secret(url_of_role(url, grants.CONTAINMENT))
    thread = threading.Thread(target=Relay(own, CeleryQueue(app), stop, threading.Lock()).run)
    thread.start()
    try:
        return any(done() or stop.wait(0.05) for _ in range(1200))
    finally:
        stop.set()
        thread.join()


def test_the_authority_cannot_stop_the_relay_by_taking_its_lock(
    db: SqlDatabase, app: Celery, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "PATIENCE_S", 0.0)
    raise_alert(db)
    with holding(fresh_postgres_url, grants.AUTHORITY, relay.LOCK), capture_logs() as logs:
        assert relay_until(fresh_postgres_url, app, lambda: unpublished(db) == 0)
    (told,) = [line for line in logs if line["event"] == "lead.lock_in_foreign_hands"]
    assert (told["log_level"], told["holder"]) == ("error", grants.AUTHORITY)


@pytest.mark.parametrize(
    ("role", "leads"), [(grants.AUTHORITY, True), (grants.CONTAINMENT, False), (grants.KEYS, False)]
)
def test_a_sweeper_gives_way_to_a_worker_and_to_nobody_else(
    app: Celery,
    workers_db: SqlDatabase,
    fresh_postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    *,
    leads: bool,
) -> None:
    now = [100.0]
    monkeypatch.setattr(leading, "time", SimpleNamespace(monotonic=lambda: now[0]))
    sweeper = Sweeper(workers_db, CeleryQueue(app), threading.Event(), threading.Lock())
    raise_alert(workers_db)
    age_outbox(workers_db)
    with holding(fresh_postgres_url, role, LOCK), capture_logs() as logs:
        assert sweeper.sweep() == 0, "whoever looks at the database by hand lets go of it"
        now[0] += leading.PATIENCE_S
        assert sweeper.sweep() == int(leads)
    errors = [line["holder"] for line in logs if line["log_level"] == "error"]
    assert errors == ([role] if leads else [])


def test_one_sweeper_works_at_a_time(db: SqlDatabase, sweeper: Sweeper) -> None:
    raise_alert(db)
    age_outbox(db)
    with db.begin() as uow:
        uow.connection.execute(select(func.pg_advisory_xact_lock(*LOCK)))
        assert sweeper.sweep() == 0
    assert sweeper.sweep() == 1


def test_a_step_is_sent_again_under_the_trace_that_planned_it(
    db: SqlDatabase, sweeper: Sweeper, redis_url: str
) -> None:
    with db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "hot-1")
        incident = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/hot-1",)))
    with structlog.contextvars.bound_contextvars(trace_id="trace-1"):
        respond.plan(respond.Desk(db, ACTIONS, PLAYBOOKS, no_key), incident)
    with db.begin() as uow:
        uow.connection.execute(update(steps).values(ready_at=uow.now - A_WHILE))
    assert sweeper.sweep() > 0
    with redis.Redis.from_url(redis_url) as client:
        sent = [json.loads(base64.b64decode(json.loads(m)["body"])) for m in client.lrange("containment", 0, -1)]
    assert {kwargs["trace_id"] for _, kwargs, _ in sent} == {"trace-1"}


def test_what_a_dead_broker_did_not_take_is_sent_again_at_once(
    db: SqlDatabase, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_alert(db)
    age_outbox(db)

    def gone(*_: object, **__: object) -> None:
        raise UnavailableError("the broker is gone")

    with monkeypatch.context() as patch:
        patch.setattr(CeleryQueue, "publish_event", gone)
        rounds = iter([False, True])
        patch.setattr(sweeper, "_stop", SimpleNamespace(wait=lambda _: next(rounds)))
        sweeper.run()
    assert sweeper.sweep() == 1


def test_an_event_whose_jobs_are_all_noted_is_settled_and_not_looked_at_again(
    db: SqlDatabase, sweeper: Sweeper
) -> None:
    raise_alert(db)
    age_outbox(db)
    with db.begin() as uow:
        number = uow.connection.exec_driver_sql("SELECT id FROM outbox").scalar_one()
        uow.once(done_key(number, "triage.alert"))
    assert sweeper.sweep() == 0
    with db.begin() as uow:
        assert uow.connection.execute(select(outbox.c.settled_at)).scalar_one() is not None


def test_one_events_note_settles_no_other(db: SqlDatabase, sweeper: Sweeper) -> None:
    raise_alert(db)
    raise_alert(db)
    age_outbox(db)
    with db.begin() as uow:
        first, second = uow.connection.execute(select(outbox.c.id).order_by(outbox.c.id)).scalars()
        uow.once(done_key(first, "triage.alert"))
    assert sweeper.sweep() == 1
    with db.begin() as uow:
        settled = uow.connection.execute(select(outbox.c.id).where(outbox.c.settled_at.is_not(None))).scalars().all()
    assert settled == [first], second


def test_what_a_hold_waits_for_is_missed_sooner_than_the_rest(db: SqlDatabase, sweeper: Sweeper) -> None:
    with db.begin() as uow:
        entry = Entry(kind="step.failed", at=uow.now, subject="stp_1", sentence="failed")
        uow.record(entry, StepFailed("stp_1", "inc_1"))
    raise_alert(db)
    age_outbox(db, A_WHILE)
    assert sweeper.sweep() == 1, "the alert alone"
