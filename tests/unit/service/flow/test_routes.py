"""The table of routes is whole: every event has a row, every job a queue and a function behind its name."""

from unittest.mock import create_autospec

import pytest

from service.domain.events import EVENTS
from service.flow.contain import Hands
from service.flow.forensics import Tracer
from service.flow.respond import Desk
from service.flow.routes import JOBS_OF, QUEUES, jobs_of
from service.store.database import SqlDatabase
from service.vault.vaults import Vaults
from workers import containment, delivery, incidents, keys
from workers.kinds import JOBS


def bound() -> set[str]:
    db, hands = create_autospec(SqlDatabase, instance=True), create_autospec(Hands, instance=True)
    vault = create_autospec(Vaults, instance=True)
    desk = create_autospec(Desk, instance=True)
    return {
        *incidents.jobs(db, desk, bytes, create_autospec(Tracer, instance=True)),
        *delivery.jobs(db, dict, bytes, "owner"),
        *containment.jobs(hands),
        *keys.jobs(hands, vault),
    }


def test_every_event_has_a_row_and_no_row_is_without_event() -> None:
    assert set(JOBS_OF) == set(EVENTS)


def test_every_job_has_a_queue_and_a_function() -> None:
    routed = {job for jobs in JOBS_OF.values() for job in jobs} | {"keys.step"}
    assert {job.partition(".")[0] for job in routed | bound()} <= set(QUEUES)
    assert routed <= bound()
    assert bound() == JOBS, "a worker runs only jobs that it is told of"


def test_a_step_of_the_keys_lane_goes_to_the_key_worker_alone() -> None:
    assert jobs_of("step_ready", {"lane": "keys"}) == ("keys.step",)
    assert jobs_of("step_ready", {"lane": "containment"}) == ("contain.step",)
    assert {job for job in bound() if QUEUES[job.partition(".")[0]] == "keys"} == {
        "keys.step",
        "keys.provision",
        "keys.destroy_due",
        "keys.look",
        "keys.refresh",
    }


def test_an_event_without_a_row_stops_loudly() -> None:
    with pytest.raises(KeyError):
        jobs_of("nothing_happened", {})
