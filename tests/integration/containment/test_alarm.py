"""Alerts reach their hold without the broker, and whatever the alarm child leaves takes the longer way (ADR 0048)."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from service.clock import SystemClock
from service.config import Settings
from service.domain.errors import NotFoundError, UnavailableError
from service.domain.events import AlertRaised, Event, IncidentOpened
from service.domain.ids import AlertId, IncidentId
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.store.database import SqlDatabase, create
from service.store.tables.proof import handled, outbox
from tests.integration.containment.test_way_to_hold import Broker
from workers import tending
from workers.alarm import take
from workers.hurry import Hurry
from workers.jobs import Jobs, begin
from workers.relay import HEAD_START_S, Relay
from workers.tending import Tending

pytestmark = pytest.mark.servers
PATIENCE_S = 60.0


@dataclass
class TestRoot:
    """A root whose jobs only note that they were done."""

    db: SqlDatabase
    jobs: Jobs
    hurry: Hurry = field(default_factory=Hurry)

    __test__ = False

    def close(self) -> None:
        self.db.engine.dispose()


@pytest.fixture
def db(fresh_postgres_url: str) -> Iterator[SqlDatabase]:
    database = SqlDatabase(create(Secret(fresh_postgres_url), pool_size=2), SystemClock())
    yield database
    database.engine.dispose()


def raise_alerts(db: SqlDatabase, *events: Event) -> None:
    with db.begin() as uow:
        uow.record(Entry(kind="tested", at=uow.now, subject="x", sentence="x"), *events)


def alerts(count: int) -> list[Event]:
    return [AlertRaised(AlertId(f"alr_{n}")) for n in range(count)]


def notes(db: SqlDatabase) -> set[str]:
    with db.begin() as uow:
        return set(uow.connection.execute(handled.select()).scalars())


def numbers(db: SqlDatabase) -> list[int]:
    with db.begin() as uow:
        return [row.id for row in uow.connection.execute(outbox.select().order_by(outbox.c.id))]


def test_two_takers_never_get_one_alert_and_leave_every_other_event(db: SqlDatabase, fresh_postgres_url: str) -> None:
    raise_alerts(db, IncidentOpened(IncidentId("inc_1")), *alerts(3))
    with psycopg.connect(fresh_postgres_url) as one, psycopg.connect(fresh_postgres_url, autocommit=True) as other:
        first = take(one)  # its transaction is still open
        rest = [take(other), take(other), take(other)]
        one.commit()
        assert take(other) is None
    taken = [first, *rest]
    assert [t and t.payload for t in taken] == [*({"alert_id": f"alr_{n}"} for n in range(3)), None]
    assert [t.outbox_id for t in taken if t] == numbers(db)[1:]


def test_an_alert_that_nobody_took_is_published_after_the_head_start(
    db: SqlDatabase, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("workers.relay.time", SimpleNamespace(monotonic=lambda: now))
    broker = Broker()
    publisher = Relay(Secret(fresh_postgres_url), broker, threading.Event(), threading.Lock())  # type: ignore[arg-type]  # it only publishes
    raise_alerts(db, *alerts(2))
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        assert publisher.publish_waiting(connection) == HEAD_START_S
        assert broker.taken == []
        assert take(connection) is not None
        now += 2 * HEAD_START_S
        publisher.publish_waiting(connection)
        assert broker.taken == ["alert_raised"], "the one that was taken is nobody else's"


@pytest.mark.parametrize(
    ("fault", "noted"),
    [(None, "yes"), (NotFoundError("no such alert"), "yes"), (UnavailableError("gone"), "no"), (KeyError("x"), "no")],
)
def test_what_cannot_be_noted_as_done_is_left_to_the_sweeper(
    db: SqlDatabase, fresh_postgres_url: str, fault: Exception | None, noted: str
) -> None:
    def triage(_: Mapping[str, str]) -> None:
        if fault is not None:
            raise fault

    raise_alerts(db, *alerts(1))
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        message = take(connection)
        assert message is not None
        begin(TestRoot(db, {"triage.alert": triage}), message)
    assert notes(db) == ({f"job:{message.outbox_id}:triage.alert"} if noted == "yes" else set())


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"waited {PATIENCE_S} s in vain for {what}")
        time.sleep(0.02)


def test_a_child_that_dies_is_started_anew_and_takes_alerts_again(
    db: SqlDatabase, fresh_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "PAUSE_S", 0.05)
    born = multiprocessing.get_context("fork").SimpleQueue()

    def build(given: Settings) -> TestRoot:
        born.put(os.getpid())
        own = SqlDatabase(create(given.database_url, pool_size=1), SystemClock())
        return TestRoot(own, {"triage.alert": lambda _: None})

    url = Secret(fresh_postgres_url)
    settings = Settings("containment", tmp_path, url, authority_socket=tmp_path / "none", token=None)
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=Tending(settings, build, stop, ready.set).run)
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        raise_alerts(db, *alerts(1))
        until(lambda: len(notes(db)) == 1, "the first alert")
        first = born.get()
        os.kill(first, signal.SIGKILL)
        second = born.get()
        assert second != first
        raise_alerts(db, AlertRaised(AlertId("alr_later")))
        until(lambda: len(notes(db)) == 2, "the second alert")
    finally:
        stop.set()
        thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
