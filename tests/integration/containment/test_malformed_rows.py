"""A row of the outbox that is no event, which the API's role may write, stops nobody who takes or sends events."""

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from service.clock import SystemClock
from service.domain.events import AlertRaised, IncidentOpened
from service.domain.ids import AlertId, IncidentId
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.store import grants
from service.store.database import SqlDatabase, create
from tests.support.servers import url_of_role
from workers import alarm, relay
from workers.alarm import take
from workers.publish import CeleryQueue, Waiting
from workers.reconcile import Sweeper
from workers.relay import Relay

pytestmark = pytest.mark.servers
MALFORMED = (
    '"x"',
    "1",
    "null",
    "[]",
    '[["a"]]',
    '{"lane": ["keys"]}',
    '{"alert_id": null}',
    '{"alert_id": {"a": "b"}}',
    '{"alert_id": ' + "9" * 5_000 + "}",
    "[" * 2_000 + "]" * 2_000,
    json.dumps({"alert_id": "x" * 16_384}),
)
"""Python refuses to read the number, and recursion ends before the deepest list does."""


@pytest.fixture
def db(fresh_postgres_url: str) -> Iterator[SqlDatabase]:
    url = Secret(url_of_role(fresh_postgres_url, grants.CONTAINMENT))
    database = SqlDatabase(create(url, pool_size=1), SystemClock())
    yield database
    database.engine.dispose()


class Sent:
    """Stands for the Celery application and keeps what it is to send."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def send_task(self, job: str, **_: object) -> None:
        self.jobs.append(job)

    @property
    def queue(self) -> CeleryQueue:
        app: Any = self
        return CeleryQueue(app)


def write(url: str, event: str) -> None:
    """Write one row of each kind of rubbish as the API may."""
    with psycopg.connect(url_of_role(url, grants.API), autocommit=True) as api:
        for payload in MALFORMED:
            api.execute("INSERT INTO outbox (event, payload, created_at) VALUES (%s, %s, now())", (event, payload))


def happened(db: SqlDatabase, event: AlertRaised | IncidentOpened) -> None:
    with db.begin() as uow:
        uow.record(Entry(kind="tested", at=uow.now, subject="x", sentence="x"), event)


def left(db: SqlDatabase) -> int:
    """How many rows nobody settled or handed over."""
    with db.begin() as uow:
        query = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
        return int(uow.connection.exec_driver_sql(query).scalar_one())


def relayed(url: str, db: SqlDatabase, queue: CeleryQueue) -> bool:
    """Run a relay until nothing is left, at most two minutes."""
    stop = threading.Event()
    own = Secret(url_of_role(url, grants.CONTAINMENT))
    thread = threading.Thread(target=Relay(own, queue, stop, threading.Lock()).run)
    thread.start()
    try:
        return any(left(db) == 0 or stop.wait(0.05) for _ in range(2400))
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("event", ["alert_raised", "incident_opened", "step_ready"])
def test_the_relay_sets_them_aside_and_publishes_what_is_behind(
    db: SqlDatabase, fresh_postgres_url: str, event: str
) -> None:
    write(fresh_postgres_url, event)
    happened(db, AlertRaised(AlertId("alr_1")))
    sent = Sent()
    with capture_logs() as logs:
        assert relayed(fresh_postgres_url, db, sent.queue)
    told = [number for line in logs if line["log_level"] == "error" for number in line["outbox_ids"]]
    assert (len(told), sent.jobs) == (len(MALFORMED), ["triage.alert"])
    with db.begin() as uow:
        settled = uow.connection.exec_driver_sql("SELECT id FROM outbox WHERE settled_at IS NOT NULL ORDER BY id")
        assert settled.scalars().all() == told


def test_a_surprise_does_not_end_the_relay(
    db: SqlDatabase, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_PAUSE_AFTER_ERROR_S", 0.0)
    really, faults = CeleryQueue.publish_event, [ValueError("surprise")]

    def publish(queue: CeleryQueue, event: Waiting) -> None:
        if faults:
            raise faults.pop()
        really(queue, event)

    monkeypatch.setattr(CeleryQueue, "publish_event", publish)
    happened(db, AlertRaised(AlertId("alr_1")))
    sent = Sent()
    with capture_logs() as logs:
        assert relayed(fresh_postgres_url, db, sent.queue)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["relay.failed"]
    assert sent.jobs == ["triage.alert"]


def test_the_alarm_child_sets_them_aside_and_takes_the_alert_behind(db: SqlDatabase, fresh_postgres_url: str) -> None:
    write(fresh_postgres_url, alarm.EVENT)
    happened(db, AlertRaised(AlertId("alr_1")))
    own = url_of_role(fresh_postgres_url, grants.CONTAINMENT)
    with psycopg.connect(own, autocommit=True) as connection, capture_logs() as logs:
        found = take(connection)
        assert take(connection) is None
    assert found is not None
    assert found.payload == {"alert_id": "alr_1"}
    assert [line["event"] for line in logs] == ["alarm.malformed_event"] * len(MALFORMED)
    with db.begin() as uow:
        query = "SELECT id FROM outbox WHERE settled_at IS NULL AND published_at IS NOT NULL"
        assert uow.connection.exec_driver_sql(query).scalars().all() == [found.outbox_id]


def test_the_sweeper_sends_what_is_behind_those_that_went_out(
    db: SqlDatabase, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.reconcile.time", SimpleNamespace(monotonic=lambda: 1000.0))
    write(fresh_postgres_url, "step_ready")
    happened(db, IncidentOpened(IncidentId("inc_1")))
    with db.begin() as uow:
        uow.connection.exec_driver_sql("UPDATE outbox SET published_at = now() - interval '1 hour'")
    sent = Sent()
    assert Sweeper(db, sent.queue, threading.Event(), threading.Lock()).sweep() >= 1
    assert "respond.plan" in sent.jobs
    assert not {"contain.step", "keys.step"} & set(sent.jobs)
