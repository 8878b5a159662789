"""Messages to users never leave without a quorum for their exact text; pages get through, once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from service.domain.approval import ApprovalState
from service.domain.attention import RETRY_AFTER_S
from service.domain.errors import ApprovalError, RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.ids import ApprovalId, IncidentId, MessageId, StepId, new_id
from service.domain.looks import not_final_note
from service.flow import escalate
from service.flow.notify import delivery, telling
from service.store.tables.approval import approvals
from service.store.tables.attention import messages
from service.store.tables.incident import incidents
from tests.integration.api.rows import add_step
from tests.support.authority import House
from tests.support.response import (
    CONTAINMENT,
    FakeChannel,
    deliver_all,
    equip,
    fake_channels,
    rows,
    said,
    superuser_do,
)


@pytest.fixture
def incident(ready: House) -> IncidentId:
    return equip(ready)


@pytest.fixture
def channels() -> dict[str, FakeChannel]:
    return fake_channels()


def contained(house: House, incident: IncidentId) -> ApprovalId:
    at = house.clock.now()
    superuser_do(house, incidents.update().where(incidents.c.id == incident).values(state="contained", contained_at=at))
    telling.contained(house.database(CONTAINMENT), incident)
    (row,) = rows(house, approvals)
    return ApprovalId(row.id)


def approve(house: House, approval: ApprovalId) -> None:
    with house.database(CONTAINMENT).begin() as uow:
        document = uow.approvals.document(approval)
    house.vote(document, list(house.phones)[2])


def release(house: House, approval: ApprovalId) -> None:
    telling.released(house.database(CONTAINMENT), house.office.public_key_pem, approval)


def test_an_incident_that_is_not_contained_is_not_called_so(ready: House, incident: IncidentId) -> None:
    telling.contained(ready.database(CONTAINMENT), incident)
    assert rows(ready, messages) == []
    contained(ready, incident)
    assert {row.channel for row in rows(ready, messages)} == {"staff", "users"}, "the true message still goes out"


def test_users_are_told_only_once_people_approved_the_text(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel]
) -> None:
    approval = contained(ready, incident)
    assert contained(ready, incident) == approval
    deliver_all(ready, channels)
    assert len(channels["staff"].letters) == 1
    assert channels["users"].letters == []
    with pytest.raises(ApprovalError, match="lacks"):
        release(ready, approval)
    approve(ready, approval)
    release(ready, approval)
    release(ready, approval)
    deliver_all(ready, channels)
    deliver_all(ready, channels)
    (letter,) = channels["users"].letters
    assert letter.recipient == "everybody"
    assert "paused withdrawals" in letter.body
    assert "USD" not in letter.body
    assert rows(ready, approvals)[0].state == ApprovalState.EXECUTED.value
    assert said(ready, incident).count("message.sent") == 2


@pytest.mark.parametrize(
    "forged",
    [
        {"body": "Send your coins to 0xbad."},
        {"subject": "Act now"},
        {"recipient": "somebody else"},
        {"channel": "mail"},
        {"audience": "responders"},
        {"audience": "approvers", "body": "Send your coins to 0xbad."},
        {"approval_id": None},
    ],
)
def test_an_edited_row_is_not_sent_though_people_approved(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel], forged: dict[str, Any]
) -> None:
    approval = contained(ready, incident)
    approve(ready, approval)
    superuser_do(ready, update(messages).where(messages.c.audience == "users").values(state="queued", **forged))
    release(ready, approval)
    deliver_all(ready, channels)
    deliver_all(ready, channels)
    assert channels["users"].letters == []
    assert channels["mail"].letters == []
    (row,) = [m for m in rows(ready, messages) if m.recipient != "everybody" or m.channel != "staff"]
    assert row.state == "failed"


def test_a_row_set_to_queued_is_not_sent_without_votes(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel]
) -> None:
    contained(ready, incident)
    superuser_do(ready, update(messages).values(state="queued"))
    superuser_do(ready, update(approvals).values(state="approved"))
    deliver_all(ready, channels)
    assert channels["users"].letters == []
    assert "lacks" in next(m.reason for m in rows(ready, messages, audience="users"))


def test_what_was_denied_is_not_sent(ready: House, incident: IncidentId, channels: dict[str, FakeChannel]) -> None:
    approval = contained(ready, incident)
    with ready.database(CONTAINMENT).begin() as uow:
        document = uow.approvals.document(approval)
    ready.vote(document, list(ready.phones)[3], "deny")
    superuser_do(ready, update(messages).values(state="queued"))
    deliver_all(ready, channels)
    assert channels["users"].letters == []


# --- pages


def paged(house: House, incident: IncidentId) -> Any:
    escalate.start(house.database(CONTAINMENT), incident)
    (row,) = rows(house, messages)
    return row


def test_a_page_goes_once(ready: House, incident: IncidentId, channels: dict[str, FakeChannel]) -> None:
    row = paged(ready, incident)
    deliver_all(ready, channels)
    delivery.deliver(ready.database(CONTAINMENT), channels, b"", MessageId(row.id), "worker-2")
    assert [letter.recipient for letter in channels["page"].letters] == ["pager-1"]
    (sent,) = rows(ready, messages)
    assert (sent.state, sent.receipt, sent.attempt) == ("sent", {"id": "1"}, 1)


@pytest.mark.parametrize(
    ("error", "state"),
    [(UnknownOutcomeError("lost"), "unknown"), (RefusedByOtherSideError("no"), "failed")],
)
def test_a_page_that_may_not_have_arrived_goes_over_the_next_channel_and_never_twice_over_one(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel], error: Exception, state: str
) -> None:
    paged(ready, incident)
    channels["page"].errors = [error]
    for _ in range(3):
        deliver_all(ready, channels)
        ready.clock.pass_by(timedelta(hours=1))
    assert channels["page"].letters == []
    assert [letter.recipient for letter in channels["mail"].letters] == ["p0@example.org"]
    assert sorted(m.state for m in rows(ready, messages)) == sorted([state, "sent"])


def test_a_channel_that_is_away_is_tried_again_and_then_given_up(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel]
) -> None:
    page = paged(ready, incident)
    away = [UnavailableError("away") for _ in range(len(RETRY_AFTER_S) + 1)]
    channels["page"].errors = list(away)
    deliver_all(ready, channels)
    deliver_all(ready, channels)
    assert len(channels["page"].errors) == len(away) - 1, "a second look before its time does nothing"
    for pause in RETRY_AFTER_S:
        ready.clock.pass_by(timedelta(seconds=pause))
        deliver_all(ready, channels)
    assert channels["page"].errors == []
    (row,) = rows(ready, messages, id=page.id)
    assert (row.state, row.attempt) == ("failed", len(RETRY_AFTER_S) + 1)
    told = [letter for letter in channels["mail"].letters if letter.subject.startswith("[channel]")]
    assert all("page has taken no message since" in letter.body for letter in told)
    assert sorted(letter.recipient for letter in told) == ["p0@example.org", "p1@example.org"], "who is on call knows"
    assert len(channels["mail"].letters) == len(told) + 1, "long before it was given up, he was reached by mail"


def test_a_worker_that_dies_with_a_message_in_hand_leaves_it_unknown(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel]
) -> None:
    class Dying:
        def deliver(self, letter: object) -> Any:
            raise KeyboardInterrupt

    page = paged(ready, incident)
    db = ready.database(CONTAINMENT)
    dead: dict[str, Any] = {**channels, "page": Dying()}
    with pytest.raises(KeyboardInterrupt):
        delivery.deliver(db, dead, b"", MessageId(page.id), "worker-1")
    delivery.deliver(db, channels, b"", MessageId(page.id), "worker-2")
    assert rows(ready, messages, id=page.id)[0].state == "sending", "its lease is not over"
    ready.clock.pass_by(timedelta(minutes=2))
    with db.begin() as uow:
        assert uow.attention.due_messages(10) == [page.id]
    delivery.deliver(db, channels, b"", MessageId(page.id), "worker-2")
    assert rows(ready, messages, id=page.id)[0].state == "unknown"
    deliver_all(ready, channels)
    assert channels["page"].letters == []
    assert len(channels["mail"].letters) == 1


def test_approvers_are_paged_on_every_channel_from_minute_zero(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel]
) -> None:
    approval = contained(ready, incident)
    telling.approvers(ready.database(CONTAINMENT), approval)
    telling.approvers(ready.database(CONTAINMENT), approval)
    deliver_all(ready, channels)
    assert sorted(letter.recipient for letter in channels["page"].letters) == ["pager-1", "pager-2"]
    assert sorted(letter.recipient for letter in channels["mail"].letters) == ["p2@example.org", "p3@example.org"]
    body = channels["mail"].letters[0].body
    assert "paused withdrawals" in body
    assert f"portcullis approve {approval}" in body


def test_a_staff_message_over_a_channel_that_users_read_is_not_sent(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel], add: Callable[..., None]
) -> None:
    add(ready, incident, audience="responders", channel="users", recipient="everybody")
    deliver_all(ready, channels)
    assert channels["users"].letters == []


@pytest.fixture
def add() -> Callable[..., None]:
    def insert_message(house: House, incident: IncidentId, **columns: object) -> None:
        now = house.clock.now()
        values: dict[str, object] = {
            "id": new_id("msg"),
            "incident_id": incident,
            "subject": "s",
            "body": "b",
            "state": "queued",
        }
        values |= {"idempotency_key": new_id("key"), "created_at": now, "due_at": now}
        superuser_do(house, messages.insert().values(**{**values, **columns}))

    return insert_message


def test_what_is_not_final_after_a_day_pages_once_and_only_where_a_worker_noted_it(
    ready: House, incident: IncidentId, channels: dict[str, FakeChannel]
) -> None:
    db = ready.database(CONTAINMENT)
    with ready.databases["superuser"].begin() as uow:
        step = StepId(add_step(uow.connection, incident, action="lock_multisig"))
    telling.not_final(db, step)
    assert rows(ready, messages) == []
    with db.begin() as uow:
        assert uow.once(not_final_note(uow.plans.step(step)))
    telling.not_final(db, step)
    telling.not_final(db, step)
    deliver_all(ready, channels)
    (page,) = channels["page"].letters
    assert page.recipient == "pager-1"
    assert "lock_multisig on hot-1 was done a day ago, and no final block" in page.body
    assert len(channels["staff"].letters) == 1
