"""What the lines of a workspace's audit log mean, and what becomes of answers of another shape."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from service.custody.fireblocks.audit import AuditLog, check_settings, kind_of
from service.domain.errors import InputError, UnavailableError
from service.domain.ids import ConnectionId
from service.ports.custody import ConnectionConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = 1_767_225_600_000


def log(answer: Callable[[httpx.Request], httpx.Response]) -> AuditLog:
    settings = {"api_base_url": "https://api.platform.test/v1", "api_key": "user"}
    config = ConnectionConfig(ConnectionId("fb"), "fireblocks", settings, lambda _: b"", ())
    return AuditLog(config, lambda m: m[:8], httpx.Client(transport=httpx.MockTransport(answer)))


def gives(document: object) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, json=document)


@pytest.mark.parametrize(
    ("subject", "event", "kind"),
    [
        ("User", "Login failed", "access.login_failed"),
        ("User", "Logged in", "access.login_succeeded"),
        ("Device", "Reset", "access.device_enrolled"),
        ("2FA", "Reset", "access.mfa_reset"),
        ("2FA", "Enrolled", "access.mfa_enrolled"),
        ("Password", "Changed", "access.password_changed"),
        ("API user", "Added", "access.api_key_created"),
        ("API key", "Revoked", "access.api_key_revoked"),
        ("Quorum", "Updated", "governance.quorum_changed"),
        ("Quorum", "Approved", "governance.quorum_changed"),
        ("Quorum", "Rejected", None),
        ("Quorum", "Canceled", None),
        ("User group", "Edited", "governance.role_changed"),
        ("User", "Added", "governance.user_added"),
        ("User", "ADD_USER_REQUESTED", None),
        ("External wallet", "Added", "governance.destination_whitelisted"),
        ("Whitelisted IP", "List updated", "governance.policy_changed"),
        ("Policy", "Published", "governance.policy_changed"),
        ("Report", "Downloaded", None),
        ("", "", None),
    ],
)
def test_what_a_line_means(subject: str, event: str, kind: str | None) -> None:
    assert kind_of(subject, event) == kind


def test_the_next_question_begins_a_little_before_the_newest_line() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        lines = [{"id": "a", "timestamp": NOW_MS, "subject": "User", "event": "Logged in", "userId": "u"}]
        return httpx.Response(200, json={"data": lines, "next": None, "cursor": None})

    found = log(answer).poll(None, now=NOW)
    assert found.cursor == str(NOW_MS - 300_000)
    assert dict(asked[0].params) == {"startTime": str(NOW_MS - 300_000), "order": "ASC", "pageSize": "500"}
    (event,) = found.events
    assert event.activity is not None
    assert (event.event_id, event.activity.actor, event.activity.occurred_at) == ("audit:a", "u", NOW)
    assert json.loads(event.raw)["userId"] == "u"
    assert log(gives({"data": []})).poll("77", now=NOW).cursor == "77", "nothing new moves nothing"


def test_an_endless_answer_ends_and_goes_on_from_its_last_line() -> None:
    lines = [{"id": "a", "timestamp": NOW_MS + 5}]
    found = log(gives({"data": lines, "next": "more"})).poll("1", now=NOW)
    assert (len(found.events), found.cursor) == (10, str(NOW_MS + 5))


@pytest.mark.parametrize(
    "document",
    [[], {"data": {}}, {"data": [], "next": 7}],
)
def test_an_answer_of_another_shape_is_asked_for_again(document: object) -> None:
    with pytest.raises(UnavailableError):
        log(gives(document)).poll(None, now=NOW)


GOOD = {"id": "b", "timestamp": NOW_MS, "subject": "User", "event": "Login failed", "userId": "u"}


@pytest.mark.parametrize(
    "odd",
    [
        7,
        {"id": "", "timestamp": 1},
        {"id": "a", "timestamp": -1},
        {"id": "a\0", "timestamp": 1},
        {**GOOD, "id": "a", "subject": "x" * 2_001},
        {**GOOD, "id": "a", "event": "x" * 200_000},
        {**GOOD, "id": "a", "userId": "u\0"},
        {**GOOD, "id": "a", "event": "\ud800"},
        {**GOOD, "id": "a", "event": 2**70},
    ],
)
def test_a_line_that_cannot_be_read_means_nothing_and_hides_nothing(odd: object) -> None:
    body = json.dumps({"data": [odd, GOOD]})
    found = log(lambda _: httpx.Response(200, content=body)).poll(None, now=NOW)
    unread, read = found.events
    assert (unread.activity, unread.event_type) == (None, "audit line not understood")
    assert unread.event_id.startswith("audit:unread:")
    assert unread.event_id.isprintable()
    assert 0 < len(unread.raw) <= 65_536
    assert read.activity is not None
    assert read.activity.kind == "access.login_failed"
    assert found.cursor == str(NOW_MS - 300_000)


def test_words_with_a_nul_are_read_and_shown_without_it() -> None:
    (event,) = log(gives({"data": [{**GOOD, "event": "Login\0failed"}]})).poll(None, now=NOW).events
    assert event.event_type == "User Login failed"
    assert event.activity is not None
    assert event.activity.kind == "access.login_failed"


def test_lines_that_cannot_be_read_move_the_next_question_and_a_false_date_does_not() -> None:
    odd = {"id": "", "timestamp": NOW_MS + 7}
    assert log(gives({"data": [odd], "next": "more"})).poll("1", now=NOW).cursor == str(NOW_MS + 7)
    late = {**GOOD, "timestamp": NOW_MS * 2}
    assert log(gives({"data": [late]})).poll("1", now=NOW).cursor == str(NOW_MS)


def test_a_line_without_a_user_is_stored_and_means_nothing() -> None:
    (event,) = log(gives({"data": [{"id": "a", "timestamp": 1, "event": "Logged in"}]})).poll(None, now=NOW).events
    assert event.activity is None


def test_the_setting_is_bounded() -> None:
    check_settings({})
    check_settings({"poll_every_s": "60", "api_base_url": "https://a.test"})
    for told in ("9", "3601", "often", "1e2"):
        with pytest.raises(InputError, match="poll_every_s"):
            check_settings({"poll_every_s": told, "api_base_url": "https://a.test"})
    with pytest.raises(InputError, match="api_base_url"):
        check_settings({"poll_every_s": "60"})
