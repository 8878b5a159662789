"""A real Celery worker, real Valkey and PostgreSQL, and a platform that keeps its own ledger."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select, text

from service.domain.events import IncidentOpened
from service.domain.ids import IncidentId
from service.domain.timeline import Entry
from service.store.database import SqlDatabase
from service.store.tables.incident import incidents, steps
from tests.support.incidents import CONNECTION, THIEF, add_account, add_connection, add_incident
from tests.support.recording_platform import RecordingPlatform, serving
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers
PATIENCE_S = 150.0
ROOT = Path(__file__).parents[3]


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"waited {PATIENCE_S} s in vain for {what}")
        time.sleep(0.05)


@pytest.fixture
def platform() -> RecordingPlatform:
    return RecordingPlatform()


@pytest.fixture
def worker(
    platform: RecordingPlatform, fresh_postgres_url: str, redis_url: str, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with serving(platform) as base, (tmp_path / "log").open("wb") as log:
        environment = {
            "PATH": os.environ["PATH"],
            "PORTCULLIS_PROCESS": "containment",
            "PORTCULLIS_HOME": str(tmp_path),
            "PORTCULLIS_DATABASE_URL": url_of_role(fresh_postgres_url, "portcullis_containment"),
            "PORTCULLIS_REDIS_URL": redis_url,
        }
        command = [sys.executable, "-m", "tests.support.worker_without_token", base]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            until(lambda: (tmp_path / "run/ready/containment").exists() or process.poll() is not None, "readiness")
            assert process.poll() is None, (tmp_path / "log").read_text()
            yield process
        finally:
            process.terminate()
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            sys.stdout.write((tmp_path / "log").read_text()[-8000:])


def open_incident(db: SqlDatabase) -> str:
    with db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "hot-1")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/hot-1", f"destination:{THIEF}"))
        entry = Entry(kind="incident.opened", at=uow.now, subject=incident, sentence="opened", incident_id=incident)
        uow.record(entry, IncidentOpened(IncidentId(incident)))
    return incident


def state_of(db: SqlDatabase, action: str) -> str | None:
    with db.begin() as uow:
        return uow.connection.execute(select(steps.c.state).where(steps.c.action == action)).scalar_one_or_none()


def test_an_incident_is_planned_and_contained_by_jobs_alone(
    db: SqlDatabase, platform: RecordingPlatform, worker: subprocess.Popen[bytes]
) -> None:
    began = time.monotonic()
    incident = open_incident(db)
    until(lambda: state_of(db, "suspend_withdrawals") == "done", "the suspension")
    held = time.monotonic() - began
    query = select(incidents.c.state).where(incidents.c.id == incident)

    def state() -> str:
        with db.begin() as uow:
            return str(uow.connection.execute(query).scalar_one())

    until(lambda: state() == "contained", "containment")
    contained = time.monotonic() - began
    sys.stdout.write(f"held after {held:.2f} s, contained after {contained:.2f} s\n")
    assert sorted(action for _, action in platform.effects) == ["hold_outgoing", "lock_destination"]
    assert state_of(db, "forbid_one_time_addresses") == "refused"
    assert worker.poll() is None


def test_kill_9_in_mid_step_neither_loses_nor_repeats_the_effect(
    db: SqlDatabase, platform: RecordingPlatform, worker: subprocess.Popen[bytes]
) -> None:
    platform.stall_after.set()
    open_incident(db)
    assert platform.arrived.wait(PATIENCE_S), "no call reached the platform"
    children = psutil.Process(worker.pid).children()
    platform.stall_after.clear()
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    platform.go_on.set()
    for action in ("suspend_withdrawals", "cancel_pending", "lock_destination"):
        until(lambda action=action: state_of(db, action) == "done", action)  # type: ignore[misc]  # bound now
    assert sorted(action for _, action in platform.effects) == ["hold_outgoing", "lock_destination"]
    asked = [request["id"] for request in platform.requests]
    assert len(asked) == len(set(asked)), "whoever took over asked first and did not call again"
    with db.begin() as uow:
        sentences = uow.connection.execute(
            text("SELECT count(*) FROM timeline WHERE kind = 'step.verified'")
        ).scalar_one()
    assert sentences == len(platform.effects) + 1, "cancel_pending has nothing to cancel and holds at once"


def test_kill_9_before_the_effect_loses_nothing(
    db: SqlDatabase, platform: RecordingPlatform, worker: subprocess.Popen[bytes]
) -> None:
    platform.stall_before.set()
    platform.status_for_posts = 503
    open_incident(db)
    assert platform.arrived.wait(PATIENCE_S), "no call reached the platform"
    for child in psutil.Process(worker.pid).children():
        os.kill(child.pid, signal.SIGKILL)
    platform.stall_before.clear()
    platform.go_on.set()
    platform.status_for_posts = 200
    until(lambda: state_of(db, "suspend_withdrawals") == "done", "the suspension")
    assert [action for _, action in platform.effects].count("hold_outgoing") == 1
