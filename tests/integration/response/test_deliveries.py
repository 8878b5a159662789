"""Channels that hang or are dead: they take no more than their share of the workers, and whoever is on call hears of it."""

from datetime import timedelta

import pytest

from service.domain.errors import UnavailableError
from service.domain.ids import IncidentId, MessageId, new_id
from service.domain.line import DEAD_AFTER
from service.flow import notify
from service.flow.notify import LEASE
from service.store.deliveries import LONGEST, MOST_AT_ONCE
from service.store.tables.attention import messages
from tests.support.authority import House
from tests.support.response import CONTAINMENT, FakeChannel, deliver_all, equip, fake_channels, rows, superuser_do


@pytest.fixture(autouse=True)
def one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, whoever sends goes on with all that waits."""
    monkeypatch.setattr(notify, "LONGEST_RUN_S", 1e6)


@pytest.fixture
def incident(ready: House) -> IncidentId:
    return equip(ready)


def queued(house: House, incident: IncidentId, channel: str, count: int = 1) -> list[MessageId]:
    """Messages to routes of staff, due now, oldest first."""
    recipients = {"page": "pager-1", "mail": "p2@example.org", "staff": "everybody"}
    made = []
    for number in range(count):
        made.append(MessageId(new_id("msg")))
        now = house.clock.now()
        values = {"id": made[-1], "incident_id": incident, "audience": "responders", "subject": f"{number}"}
        values |= {"body": "b", "state": "queued", "channel": channel, "recipient": recipients[channel]}
        superuser_do(house, messages.insert().values(**values, idempotency_key=made[-1], created_at=now, due_at=now))
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
    notify.deliver(ready.database(CONTAINMENT), channels, ready.office.public_key_pem, first, "worker-1")
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


def test_a_channel_that_works_is_in_no_trouble(ready: House, incident: IncidentId) -> None:
    first, second = queued(ready, incident, "page", 2)
    channels: dict[str, FakeChannel] = fake_channels()
    channels["page"].errors = [UnavailableError("away")]
    database = ready.database(CONTAINMENT)
    notify.deliver(database, channels, ready.office.public_key_pem, first, "worker-1")
    notify.deliver(database, channels, ready.office.public_key_pem, second, "worker-1")
    assert channels["page"].letters == []
    ready.clock.pass_by(timedelta(seconds=2))
    notify.deliver(database, channels, ready.office.public_key_pem, second, "worker-1")
    assert [letter.subject for letter in channels["page"].letters] == ["1", "0"]
