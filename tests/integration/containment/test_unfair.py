"""What one worker leaves lying keeps nothing from another, and fills no broker: the sweeper's shares and pauses."""

import json
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import func, insert, text, update

from service.domain.ids import IncidentId
from service.domain.plan import Lane
from service.flow import respond
from service.store.database import SqlDatabase
from service.store.tables.incident import steps
from service.store.tables.proof import outbox
from tests.integration.containment.conftest import ACTIONS, PLAYBOOKS, no_key
from tests.support.incidents import CONNECTION, add_account, add_alert, add_connection, add_incident
from workers import reconcile
from workers.publish import CeleryQueue, Waiting
from workers.reconcile import BATCH, Sweeper

pytestmark = pytest.mark.servers


class Sent:
    """In place of the broker: counts what it was given."""

    def __init__(self) -> None:
        self.jobs: Counter[str] = Counter()

    def publish(self, job: str, payload: Mapping[str, str], trace_id: str | None = None) -> None:
        del payload, trace_id
        self.jobs[job] += 1

    def publish_event(self, waiting: Waiting, leave_out: Any = ()) -> None:
        self.jobs.update(job for job in waiting.jobs if job not in leave_out)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The sweeper's own clock."""
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(reconcile, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def sweeper(db: SqlDatabase, sent: Sent, clock: SimpleNamespace) -> Sweeper:
    del clock
    return Sweeper(db, cast("CeleryQueue", sent), threading.Event(), threading.Lock())


def put(db: SqlDatabase, event: str, payload: dict[str, str], *, ago: timedelta, times: int = 1) -> None:
    row = {"event": event, "payload": payload}
    with db.begin() as uow:
        for _ in range(times):
            aged = insert(outbox).values(**row, created_at=func.now() - ago, published_at=func.now() - ago)
            uow.connection.execute(aged)


def test_steps_that_an_absent_worker_leaves_lying_keep_no_hold(db: SqlDatabase, sweeper: Sweeper, sent: Sent) -> None:
    with db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "hot-1")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/hot-1",))
    respond.plan(respond.Desk(db, ACTIONS, PLAYBOOKS, no_key), IncidentId(incident))
    with db.begin() as uow:
        uow.connection.execute(update(steps).values(ready_at=func.now() - timedelta(minutes=1)))
        kept = uow.connection.execute(text("SELECT to_jsonb(s) AS s FROM steps s WHERE state = 'ready' LIMIT 1"))
        one = kept.scalar_one()
        older = (func.now() - timedelta(hours=1)).label("ready_at")
        for number in range(BATCH):
            other = one | {"id": f"stp_{number}", "idempotency_key": f"k-{number}", "lane": Lane.KEYS.value}
            uow.connection.execute(
                text("INSERT INTO steps SELECT * FROM jsonb_populate_record(NULL::steps, CAST(:row AS jsonb))"),
                {"row": json.dumps(other)},
            )
        uow.connection.execute(update(steps).where(steps.c.lane == Lane.KEYS.value).values(ready_at=older.element))
    sweeper.sweep()
    assert sent.jobs["keys.step"] == BATCH
    assert sent.jobs["contain.step"] > 0


def test_events_for_one_queue_hide_no_alert(db: SqlDatabase, sweeper: Sweeper, sent: Sent) -> None:
    put(db, "account_registered", {"account_id": "acc_1"}, ago=timedelta(hours=2), times=BATCH)
    put(db, "alert_raised", {"alert_id": "alr_1"}, ago=timedelta(hours=1))
    sweeper.sweep()
    assert sent.jobs == {"keys.provision": BATCH, "triage.alert": 1}


def test_a_job_is_sent_again_ever_more_rarely_while_nobody_does_it(
    db: SqlDatabase, sweeper: Sweeper, sent: Sent, clock: SimpleNamespace
) -> None:
    put(db, "account_registered", {"account_id": "acc_1"}, ago=timedelta(hours=2))
    put(db, "alert_raised", {"alert_id": "alr_1"}, ago=timedelta(hours=1))
    for _ in range(12 * 12):
        sweeper.sweep()
        clock.now += 300.0
    assert 24 <= sent.jobs["keys.provision"] <= 36, "every half hour in the end"
    assert sent.jobs["triage.alert"] == 12 * 12, "every five minutes in the end"


def test_what_was_done_and_is_late_again_is_sent_at_once(
    db: SqlDatabase, sweeper: Sweeper, sent: Sent, clock: SimpleNamespace
) -> None:
    for _ in range(5):
        put(db, "account_registered", {"account_id": "acc_1"}, ago=timedelta(minutes=1))
        for _ in range(20):
            sweeper.sweep()
            clock.now += 5.0
        with db.begin() as uow:
            uow.connection.execute(update(outbox).values(settled_at=func.now()))
    assert sent.jobs["keys.provision"] == 5 * 3, "after 0, 15 and 45 seconds each time"


def test_what_a_hold_waits_for_is_never_too_old(db: SqlDatabase, sweeper: Sweeper, sent: Sent) -> None:
    put(db, "alert_raised", {"alert_id": "alr_1"}, ago=timedelta(days=3))
    put(db, "account_registered", {"account_id": "acc_1"}, ago=timedelta(days=3))
    sweeper.sweep()
    assert sent.jobs == {"triage.alert": 1}


def test_an_alert_without_an_incident_is_found_whatever_became_of_its_event(
    db: SqlDatabase, sweeper: Sweeper, sent: Sent
) -> None:
    with db.begin() as uow:
        add_connection(uow.connection)
        add_alert(uow.connection, None, (f"account:{CONNECTION}/hot-1",))
        uow.connection.execute(text("UPDATE alerts SET raised_at = now() - interval '1 minute'"))
    sweeper.sweep()
    assert sent.jobs == {"triage.alert": 1}
