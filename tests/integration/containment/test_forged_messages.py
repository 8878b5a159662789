"""Whoever holds the broker invents messages: none may be believed beyond the row that it names."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import Celery

from service.domain.errors import NotFoundError
from service.domain.events import ActionRequested, AlertRaised, Event, IncidentOpened
from service.domain.ids import AlertId, IncidentId
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.store.database import SqlDatabase
from service.store.tables.proof import handled, outbox
from workers.app import make_app
from workers.hurry import Hurry
from workers.jobs import register

pytestmark = pytest.mark.servers
Run = Callable[..., None]


class Told(list[tuple[str, Mapping[str, str]]]):
    """What reached the flow."""


@pytest.fixture
def told() -> Told:
    return Told()


NAMES = ("triage.alert", "respond.request")


@pytest.fixture(scope="module")
def place() -> dict[str, Any]:
    """Where the root of the moment is: Celery keeps its tasks for the life of the process."""
    return {}


@pytest.fixture(scope="module")
def application(place: dict[str, Any]) -> Celery:
    app = make_app(Secret("redis://127.0.0.1:1/0"))
    register(app, NAMES, lambda: place["root"])
    return app


@pytest.fixture
def job_of(db: SqlDatabase, told: Told, place: dict[str, Any], application: Celery) -> Callable[[str], Run]:
    def job(name: str) -> Callable[[Mapping[str, str]], None]:
        def work(payload: Mapping[str, str]) -> None:
            told.append((name, payload))
            if payload.get("alert_id") == "alr_nobody":
                raise NotFoundError("there is no such alert")

        return work

    place["root"] = SimpleNamespace(db=db, jobs={name: job(name) for name in NAMES}, hurry=Hurry())
    return lambda name: cast("Run", application.tasks[name].run)


def hand_over(db: SqlDatabase, event: Event) -> int:
    with db.begin() as uow:
        uow.record(Entry(kind="tested", at=uow.now, subject="x", sentence="x"), event)
        return int(uow.connection.execute(outbox.select().order_by(outbox.c.id.desc())).first().id)  # type: ignore[union-attr]  # it was just written


def notes(db: SqlDatabase) -> list[str]:
    with db.begin() as uow:
        return list(uow.connection.execute(handled.select()).scalars())


def test_an_event_is_worked_on_and_noted(db: SqlDatabase, told: Told, job_of: Callable[[str], Run]) -> None:
    number = hand_over(db, AlertRaised(AlertId("alr_1")))
    job_of("triage.alert")({"alert_id": "alr_1"}, None, number)
    assert told == [("triage.alert", {"alert_id": "alr_1"})]
    assert notes(db) == [f"job:{number}:triage.alert"]


def test_an_invented_message_does_not_note_a_genuine_event_as_handled(
    db: SqlDatabase, told: Told, job_of: Callable[[str], Run]
) -> None:
    number = hand_over(db, AlertRaised(AlertId("alr_1")))
    job_of("triage.alert")({"alert_id": "alr_nobody"}, None, number)
    assert not told
    assert notes(db) == []


def test_an_event_starts_no_job_but_its_own(db: SqlDatabase, told: Told, job_of: Callable[[str], Run]) -> None:
    number = hand_over(db, AlertRaised(AlertId("alr_1")))
    run = job_of("respond.request")
    run({"alert_id": "alr_1"}, None, number)
    run({"alert_id": "alr_1"}, None, number + 1)
    assert not told
    assert notes(db) == []


def test_nobody_asks_for_an_action_through_the_broker(
    db: SqlDatabase, told: Told, job_of: Callable[[str], Run]
) -> None:
    asked = {"incident_id": "inc_1", "action": "recover", "requester": "per_1"}
    run = job_of("respond.request")
    run(asked)
    assert not told
    number = hand_over(db, ActionRequested(IncidentId("inc_1"), "recover", "per_1"))
    run(asked | {"requester": "per_2"}, None, number)
    assert not told
    run(asked, None, number)
    assert told == [("respond.request", asked)]


def test_ids_without_an_event_are_looked_at(db: SqlDatabase, told: Told, job_of: Callable[[str], Run]) -> None:
    """The sweeper sends such messages; the rows decide what comes of them."""
    job_of("triage.alert")({"alert_id": "alr_1"})
    assert len(told) == 1
    assert notes(db) == []


def test_what_an_urgent_job_left_is_done_before_anything_is_noted(
    db: SqlDatabase, told: Told, job_of: Callable[[str], Run], place: dict[str, Any]
) -> None:
    """The child goes on at once with what its own commit made due; a note is not what a hold waits for."""
    noted: list[list[str]] = []

    def triage(payload: Mapping[str, str]) -> None:
        told.append(("triage.alert", payload))
        place["root"].hurry.note([(hand_over(db, IncidentOpened("inc_1")), IncidentOpened("inc_1"))])

    def plan(payload: Mapping[str, str]) -> None:
        told.append(("respond.plan", payload))
        noted.append(notes(db))

    place["root"].jobs |= {"triage.alert": triage, "respond.plan": plan}
    number = hand_over(db, AlertRaised(AlertId("alr_1")))
    job_of("triage.alert")({"alert_id": "alr_1"}, None, number)
    assert [job for job, _ in told] == ["triage.alert", "respond.plan"]
    assert noted == [[]]
    assert notes(db) == [f"job:{number}:triage.alert", f"job:{number + 1}:respond.plan"]
