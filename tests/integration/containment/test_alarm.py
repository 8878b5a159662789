"""Alerts reach their hold without the broker, and whatever the alarm child leaves takes the longer way (ADR 0048)."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import psutil
import psycopg
import pytest

from service.domain.errors import NotFoundError, UnavailableError
from service.domain.events import AlertRaised, Event, IncidentOpened, StepApproved, StepReady, StepVerified
from service.domain.ids import AlertId, ApprovalId, IncidentId, StepId
from service.domain.plan import Lane
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.store.database import SqlDatabase
from service.store.tables.proof import handled, outbox
from tests.integration.containment.test_way_to_hold import Broker
from tests.support.incidents import CONNECTION, add_account, add_alert, add_connection
from tests.support.servers import url_of_role
from workers import tending
from workers.alarm import take, waits
from workers.hurry import Hurry
from workers.jobs import Jobs, begin
from workers.relay import BATCH, BUSY_S, HEAD_START_S, MOST_LEFT, Relay
from workers.relay import PATIENCE_S as LEFT_FOR_S
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


HANGING = """
import os, sys, threading
from types import SimpleNamespace
from service.clock import SystemClock
from service.domain.secrets import Secret
from service.store.database import SqlDatabase, create
from workers import alarm
from workers.hurry import Hurry
from workers.jobs import begin

settings = SimpleNamespace(database_url=Secret(os.environ["URL"]))
db = SqlDatabase(create(settings.database_url, pool_size=1), SystemClock())
jobs = {"triage.alert": lambda _: threading.Event().wait()}
hangs = SimpleNamespace(db=db, hurry=Hurry(), jobs=jobs, rehearse=int, close=int, finish=bool)
hangs.alert = lambda message, _more: begin(hangs, message)
alarm.LIMIT_S = float(os.environ["LIMIT_S"])
sys.exit(alarm.Alarm(settings, lambda _: hangs, int(sys.argv[1]), int(sys.argv[2])).run())
"""


def hanging(url: str, said: int, worker: int, limit_s: float) -> subprocess.Popen[bytes]:
    """Start a child whose jobs hang for ever."""
    command = [sys.executable, "-c", HANGING, str(said), str(worker)]
    environment = {**os.environ, "URL": url, "LIMIT_S": str(limit_s)}
    return subprocess.Popen(command, pass_fds=[said], env=environment)


def test_an_alert_that_hangs_ends_the_child_and_is_left_to_the_sweeper(
    db: SqlDatabase, fresh_postgres_url: str
) -> None:
    raise_alerts(db, *alerts(1))
    heard, said = os.pipe()
    child = hanging(fresh_postgres_url, said, os.getpid(), 5.0)
    try:
        assert child.wait(PATIENCE_S) == -signal.SIGALRM
    finally:
        child.kill()
        child.wait()
        os.close(heard)
        os.close(said)
    assert notes(db) == set()


def test_a_child_whose_worker_died_before_it_was_ready_ends(db: SqlDatabase, fresh_postgres_url: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", ""])
    worker.wait()
    raise_alerts(db, *alerts(1))
    heard, said = os.pipe()
    os.close(heard)
    child = hanging(fresh_postgres_url, said, worker.pid, 10 * PATIENCE_S)
    try:
        assert child.wait(PATIENCE_S) == 0
    finally:
        child.kill()
        child.wait()
        os.close(said)
    with db.begin() as uow:
        assert uow.connection.execute(outbox.select()).one().published_at is None, "it took nothing any more"


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"waited {PATIENCE_S} s in vain for {what}")
        time.sleep(0.02)


def lives_by(process: psutil.Process, word: str) -> bool:
    try:
        return word in process.cmdline()
    except psutil.Error:
        return False


def test_a_child_that_dies_is_started_anew_and_takes_alerts_again(
    db: SqlDatabase, fresh_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "PAUSE_S", 0.05)
    for name, value in {
        "PORTCULLIS_PROCESS": "containment",
        "PORTCULLIS_HOME": str(tmp_path),
        "PORTCULLIS_DATABASE_URL": url_of_role(fresh_postgres_url, "portcullis_containment"),
        "PORTCULLIS_REDIS_URL": "redis://127.0.0.1:1/0",
    }.items():
        monkeypatch.setenv(name, value)

    command = ("-m", "tests.support.worker_without_token", "http://127.0.0.1:1")

    def children() -> set[int]:
        return {child.pid for child in psutil.Process().children() if lives_by(child, command[1])}

    def one_more_is_handled() -> None:
        ref = f"hot-{len(notes(db))}"
        with db.begin() as uow:
            add_account(uow.connection, ref)
            alert = AlertId(add_alert(uow.connection, None, (f"account:{CONNECTION}/{ref}",)))
            uow.record(Entry(kind="tested", at=uow.now, subject="x", sentence="x"), AlertRaised(alert))
            ((number, _),) = uow.left
        until(lambda: f"job:{number}:triage.alert" in notes(db), "an alert")

    with db.begin() as uow:
        add_connection(uow.connection)
    others, stop, ready = children(), threading.Event(), threading.Event()
    thread = threading.Thread(target=Tending(command, stop, ready.set).run)
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        one_more_is_handled()
        (first,) = children() - others
        os.kill(first, signal.SIGKILL)
        until(lambda: bool(children() - others - {first}), "another child")
        one_more_is_handled()
    finally:
        stop.set()
        thread.join()
    assert children() <= others


@dataclass
class Outbox:
    """Events that wait, a relay that publishes them, and its clock."""

    relay: Relay
    broker: Broker
    connection: psycopg.Connection
    now: float = 100.0
    pause_s: float = 0.0
    """After how long the relay would look again."""

    def publish(self, after_s: float = 0.0) -> list[str]:
        """Return what is published when the relay looks this much later."""
        self.now += after_s
        self.broker.taken.clear()
        self.pause_s = self.relay.publish_waiting(self.connection)
        return [*self.broker.taken]


@pytest.fixture
def outbox_of(fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    broker = Broker()
    relay = Relay(Secret(fresh_postgres_url), broker, threading.Event(), threading.Lock())  # type: ignore[arg-type]  # it only publishes
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        made = Outbox(relay, broker, connection)
        monkeypatch.setattr("workers.relay.time", SimpleNamespace(monotonic=lambda: made.now))
        yield made


def test_while_alerts_are_taken_one_after_another_other_work_waits_behind_them(
    db: SqlDatabase, outbox_of: Outbox
) -> None:
    released = (StepApproved(ApprovalId("apr_1")), StepReady(StepId("stp_k"), Lane.KEYS.value))
    others = (StepReady(StepId("stp_1"), Lane.CONTAINMENT.value), IncidentOpened(IncidentId("inc_1")))
    raise_alerts(db, *alerts(6), *others, *released)
    assert outbox_of.publish() == ["step_approved", "step_ready"], "these wait for no alert"
    for _ in range(4):
        assert outbox_of.publish(LEFT_FOR_S / 5) == []
        assert waits(outbox_of.connection)
        assert take(outbox_of.connection) is not None
    assert outbox_of.publish(BUSY_S) == [*["alert_raised"] * 2, "step_ready", "incident_opened"], "though it goes on"
    assert not waits(outbox_of.connection)


def test_however_many_events_wait_behind_alerts_that_keep_coming_none_waits_longer(
    db: SqlDatabase, outbox_of: Outbox
) -> None:
    hurried = [StepReady(StepId(f"stp_{n}"), Lane.CONTAINMENT.value) for n in range(BATCH)]
    pages = [StepVerified(StepId(f"stp_{n}"), IncidentId("inc_1")) for n in range(2 * BATCH)]
    raise_alerts(db, *alerts(4), *hurried, *pages)
    published = outbox_of.publish()
    for _ in range(5):
        assert published == []
        assert take(outbox_of.connection) is not None
        raise_alerts(db, *alerts(1), *hurried[:30])
        published = outbox_of.publish(LEFT_FOR_S / 5)
    while outbox_of.pause_s == 0:
        published = [*published, *outbox_of.publish()]
    assert sorted(published) == ["step_ready"] * len(hurried) + ["step_verified"] * len(pages)
    assert waits(outbox_of.connection), "the younger alerts are left as before"


def test_where_nobody_takes_alerts_they_and_all_behind_them_are_published(db: SqlDatabase, outbox_of: Outbox) -> None:
    raise_alerts(db, *alerts(3), StepReady(StepId("stp_1"), Lane.CONTAINMENT.value))
    assert outbox_of.publish() == []
    assert outbox_of.publish(2 * BUSY_S) == ["alert_raised"] * 3 + ["step_ready"]


def test_more_alerts_than_one_child_gets_through_are_shared_after_the_head_start(
    db: SqlDatabase, outbox_of: Outbox
) -> None:
    raise_alerts(db, *alerts(MOST_LEFT + 1), StepReady(StepId("stp_1"), Lane.CONTAINMENT.value))
    assert outbox_of.publish() == ["step_ready"]
    assert outbox_of.publish(2 * HEAD_START_S) == ["alert_raised"] * (MOST_LEFT + 1)


def test_who_cannot_tell_whether_alerts_wait_goes_on_as_if_none_did(db: SqlDatabase, fresh_postgres_url: str) -> None:
    raise_alerts(db, *alerts(1))
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        assert waits(connection)
    assert not waits(connection)
