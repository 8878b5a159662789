"""Channels that hang or are dead: they take no more than their share of the workers, and whoever is on call hears of it."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from service.domain.errors import RefusedByOtherSideError, UnavailableError
from service.domain.ids import IncidentId, MessageId, new_id
from service.domain.incident import Severity
from service.domain.line import DEAD_AFTER
from service.flow.notify import delivery, telling
from service.flow.notify.delivery import LEASE
from service.store.deliveries import LONGEST, MOST_AT_ONCE, MOST_PASSED
from service.store.tables.attention import messages
from service.store.tables.incident import incidents
from service.store.tables.registry import channels as registered
from tests.support.authority import House
from tests.support.incidents import add_incident
from tests.support.response import CONTAINMENT, FakeChannel, deliver_all, equip, fake_channels, rows, superuser_do


@pytest.fixture(autouse=True)
def one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, whoever sends goes on with all that waits."""
    monkeypatch.setattr(delivery, "LONGEST_RUN_S", 1e6)


@pytest.fixture
def incident(ready: House) -> IncidentId:
    return equip(ready)


def queued(
    house: House, incident: IncidentId | None, channel: str, count: int = 1, *, page: bool = False
) -> list[MessageId]:
    """Messages to routes of staff, due now, oldest first."""
    recipients = {"page": "pager-1", "mail": "p2@example.org", "staff": "everybody"}
    made = []
    for number in range(count):
        made.append(MessageId(new_id("msg")))
        house.clock.pass_by(timedelta(milliseconds=1))
        now = house.clock.now()
        values = {"id": made[-1], "incident_id": incident, "audience": "responders", "subject": f"{number}"}
        values |= {"body": "b", "state": "queued", "channel": channel, "recipient": recipients[channel]}
        superuser_do(
            house, messages.insert().values(**values, page=page, idempotency_key=made[-1], created_at=now, due_at=now)
        )
    return made


def claimed(house: House, message: MessageId) -> bool:
    with house.database(CONTAINMENT).begin() as uow:
        return uow.deliveries.claim(message, "elsewhere", LEASE) is not None


def test_a_hanging_channel_has_one_worker_and_all_together_leave_one(ready: House, incident: IncidentId) -> None:
    hanging, waiting = queued(ready, incident, "page", 2)
    other = queued(ready, incident, "mail")[0]
    third = queued(ready, incident, "staff")[0]
    assert claimed(ready, hanging)
    assert not claimed(ready, waiting), "one of a channel at a time"
    assert claimed(ready, other)
    assert not claimed(ready, third), f"{MOST_AT_ONCE} in all"
    ready.clock.pass_by(LONGEST + timedelta(seconds=1))
    assert claimed(ready, third), "what takes so long does not count any more"
    assert {row.attempt for row in rows(ready, messages, id=waiting)} == {0}


def pages(house: House, severity: Severity, count: int) -> list[str]:
    """Pages of an incident of its own; return its id so often."""
    with house.databases["superuser"].begin() as uow:
        incident = add_incident(uow.connection, ("account:con-a/hot-1",), severity=severity.value)
    queued(house, IncidentId(incident), "page", count, page=True)
    return [incident] * count


def sent(house: House, first: MessageId) -> list[str]:
    """Deliver until the channel has nothing left; the incidents of the letters in their order."""
    channels, database = fake_channels(), house.database(CONTAINMENT)
    delivery.deliver(database, channels, house.office.public_key_pem, first, "worker-1")
    while waiting := rows(house, messages, channel="page", state="queued"):  # one job goes on for some seconds only
        delivery.deliver(database, channels, house.office.public_key_pem, MessageId(waiting[-1].id), "worker-1")
    return [letter.facts["incident"] for letter in channels["page"].letters]


def test_pages_go_before_everything_else_and_the_most_severe_first(ready: House, incident: IncidentId) -> None:
    ordinary = queued(ready, incident, "page", 4)
    medium, high, critical = (pages(ready, one, 2) for one in (Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL))
    nowhere = [""] * len(queued(ready, None, "page", 1, page=True))
    told = sent(ready, ordinary[0])
    assert told == [*critical, *high, *medium, *nowhere, *[str(incident)] * 4]


@pytest.mark.parametrize("page", [False, True], ids=["no page", "a less severe incident's"])
def test_a_burst_of_pages_delays_the_rest_and_never_stops_it(ready: House, incident: IncidentId, *, page: bool) -> None:
    with ready.databases["superuser"].begin() as uow:
        uow.connection.execute(
            update(incidents).where(incidents.c.id == incident).values(severity=Severity.MEDIUM.value)
        )
    queued(ready, incident, "page", 2, page=page)
    critical = pages(ready, Severity.CRITICAL, 2 * MOST_PASSED + 3)[0]
    first = rows(ready, messages, incident_id=critical)[0].id
    told = sent(ready, MessageId(first))
    burst = [critical] * MOST_PASSED
    assert told == [*burst, str(incident), *burst, str(incident), *[critical] * 3]


def test_the_sweeper_brings_pages_first(ready: House, incident: IncidentId) -> None:
    queued(ready, incident, "mail", 2)
    page = queued(ready, incident, "page", page=True)
    ready.clock.pass_by(timedelta(seconds=3))
    with ready.database(CONTAINMENT).begin() as uow:
        assert uow.attention.due_messages(1) == page


def test_a_fallback_of_a_page_is_a_page(ready: House, incident: IncidentId) -> None:
    page, other = queued(ready, incident, "page", page=True)[0], queued(ready, incident, "page")[0]
    channels = fake_channels()
    channels["page"].errors = [RefusedByOtherSideError("no"), RefusedByOtherSideError("no")]
    delivery.deliver(ready.database(CONTAINMENT), channels, ready.office.public_key_pem, page, "worker-1")
    assert {row.id: row.state for row in rows(ready, messages, channel="page")} == {page: "failed", other: "failed"}
    assert sorted(row.page for row in rows(ready, messages, channel="mail")) == [False, True]


@pytest.mark.parametrize("apart_s", [-4.5, 4.5])
def test_clocks_that_are_a_little_apart_still_see_one_delivery_of_a_channel(
    ready: House, incident: IncidentId, apart_s: float
) -> None:
    one, two = queued(ready, incident, "page", 2)
    ready.clock.pass_by(timedelta(seconds=apart_s))
    superuser_do(ready, messages.update().values(due_at=ready.clock.now()))
    assert claimed(ready, one)
    ready.clock.pass_by(-timedelta(seconds=apart_s))
    superuser_do(ready, messages.update().values(due_at=ready.clock.now()))
    assert not claimed(ready, two)


def test_a_pause_that_a_clock_a_little_ahead_wrote_is_kept(ready: House, incident: IncidentId) -> None:
    waiting = queued(ready, incident, "page")[0]
    ready.clock.pass_by(timedelta(seconds=4))
    with ready.database(CONTAINMENT).begin() as uow:
        for _ in range(2 * DEAD_AFTER):
            uow.deliveries.failed("page")
    ready.clock.pass_by(-timedelta(seconds=4))
    assert not claimed(ready, waiting)


def test_what_a_wrong_clock_put_off_or_leased_for_weeks_is_taken_up(ready: House, incident: IncidentId) -> None:
    sending, put_off = queued(ready, incident, "page")[0], queued(ready, incident, "mail")[0]
    ready.clock.pass_by(timedelta(days=30))
    assert claimed(ready, sending)
    superuser_do(ready, messages.update().where(messages.c.id == put_off).values(due_at=ready.clock.now()))
    ready.clock.pass_by(-timedelta(days=30))
    with ready.database(CONTAINMENT).begin() as uow:
        assert set(uow.attention.due_messages(9)) == {sending, put_off}
    deliver_all(ready, fake_channels())
    channels = fake_channels()
    delivery.deliver(ready.database(CONTAINMENT), channels, ready.office.public_key_pem, sending, "worker-1")
    states = {row.id: row.state for row in rows(ready, messages)}
    assert (states[sending], states[put_off]) == ("unknown", "sent")


def test_workers_that_died_while_the_clock_was_ahead_keep_no_place(ready: House, incident: IncidentId) -> None:
    one, two = queued(ready, incident, "mail")[0], queued(ready, incident, "staff")[0]
    ready.clock.pass_by(timedelta(days=30))
    with ready.database(CONTAINMENT).begin() as uow:
        uow.deliveries.failed("page")
    assert claimed(ready, one)
    assert claimed(ready, two)
    ready.clock.pass_by(-timedelta(days=30))
    assert claimed(ready, queued(ready, incident, "page")[0])


def test_whoever_sent_one_goes_on_with_what_waited_for_the_channel(ready: House, incident: IncidentId) -> None:
    first, *others = queued(ready, incident, "page", 5)
    later = queued(ready, incident, "page")[0]
    superuser_do(
        ready,
        messages.update().where(messages.c.id == later).values(due_at=ready.clock.now() + timedelta(seconds=30)),
    )
    channels = fake_channels()
    delivery.deliver(ready.database(CONTAINMENT), channels, ready.office.public_key_pem, first, "worker-1")
    assert [letter.subject for letter in channels["page"].letters] == [str(n) for n in range(1 + len(others))]
    assert rows(ready, messages, id=later)[0].state == "queued", "what waits for its next try is not hurried"


def test_a_dead_channel_is_tried_by_one_and_whoever_is_on_call_is_told_once(ready: House, incident: IncidentId) -> None:
    queued(ready, incident, "page", 4)
    channels = fake_channels()
    channels["page"].errors = [UnavailableError("away") for _ in range(40)]
    deliver_all(ready, channels)
    assert len(channels["page"].errors) == 39, "after the first that failed the others wait"
    assert sorted(row.attempt for row in rows(ready, messages, channel="page")) == [0, 0, 0, 1]
    for _ in range(2 * DEAD_AFTER):
        ready.clock.pass_by(timedelta(seconds=16))
        deliver_all(ready, channels)
    told = [letter for letter in channels["mail"].letters if letter.subject.startswith("[channel] page")]
    assert len(told) == len({letter.recipient for letter in told}) > 0
    channels["page"].errors = []
    for _ in range(3):
        ready.clock.pass_by(timedelta(hours=1))
        deliver_all(ready, channels)
    assert rows(ready, messages, channel="page", state="queued") == []


def test_a_delivery_that_breaks_is_unknown_at_once_and_stops_nothing_behind_it(
    ready: House, incident: IncidentId
) -> None:
    broken, *behind = queued(ready, incident, "page", 1 + DEAD_AFTER, page=True)
    channels = fake_channels()
    channels["page"].errors = [RuntimeError("no channel should") for _ in range(DEAD_AFTER)]
    deliver_all(ready, channels)
    (row,) = rows(ready, messages, id=broken)
    assert (row.state, row.reason) == ("unknown", "our own fault (RuntimeError): it may have arrived")
    assert rows(ready, messages, channel="mail", subject="0", page=True), "the person's next channel is used"
    for _ in behind:
        ready.clock.pass_by(timedelta(seconds=5))
        deliver_all(ready, channels)
    assert rows(ready, messages, id=behind[-1])[0].state == "sent"
    assert any(letter.subject.startswith("[channel] page") for letter in channels["mail"].letters)


@pytest.mark.parametrize("audiences", [None, 1, "responders", {"responders": 1}])
def test_a_malformed_channel_silences_no_other(ready: House, incident: IncidentId, audiences: object) -> None:
    malformed = {"id": "chat", "kind": "slack", "config": {"audiences": audiences}, "created_at": ready.clock.now()}
    superuser_do(ready, registered.insert().values(**malformed))
    page = queued(ready, incident, "page", page=True)[0]
    found = fake_channels()
    delivery.deliver(ready.database(CONTAINMENT), found, ready.office.public_key_pem, page, "worker-1")
    assert [letter.subject for letter in found["page"].letters] == ["0"]
    telling.incident(ready.database(CONTAINMENT), incident)
    assert {row.channel for row in rows(ready, messages, page=False)} == {"staff"}


def test_a_channel_that_works_is_in_no_trouble(ready: House, incident: IncidentId) -> None:
    first, second = queued(ready, incident, "page", 2)
    channels: dict[str, FakeChannel] = fake_channels()
    channels["page"].errors = [UnavailableError("away")]
    database = ready.database(CONTAINMENT)
    delivery.deliver(database, channels, ready.office.public_key_pem, first, "worker-1")
    delivery.deliver(database, channels, ready.office.public_key_pem, second, "worker-1")
    assert channels["page"].letters == []
    ready.clock.pass_by(timedelta(seconds=2))
    delivery.deliver(database, channels, ready.office.public_key_pem, second, "worker-1")
    assert [letter.subject for letter in channels["page"].letters] == ["0", "1"]
