"""What we send to platforms, and what their answers mean."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from standardwebhooks import Webhook

from service.custody.bitgo.calls import check_settings as check_bitgo
from service.custody.fireblocks.calls import FireblocksCalls
from service.custody.fireblocks.calls import check_settings as check_fireblocks
from service.custody.standard.calls import StandardCalls, check_settings
from service.domain.account import AccountRef
from service.domain.errors import (
    CallDeferredError,
    InputError,
    MissingCapabilityError,
    PortcullisError,
    RateLimitedError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.ids import ConnectionId
from service.domain.plan import Verdict
from service.ports.custody import ConnectionConfig, GateHolds

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ACCOUNT = AccountRef(ConnectionId("con-a"), "hot-1")
NO_HOLDS = cast("GateHolds", None)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
Answer = Callable[[httpx.Request], httpx.Response]


def standard(answer: Answer) -> StandardCalls:
    settings = {"action_url": "https://platform.test/action", "status_url": "https://platform.test/status"}
    config = ConnectionConfig(ACCOUNT.connection, "standard", settings, lambda _: SECRET.encode(), ())
    return StandardCalls(config, NO_HOLDS, httpx.Client(transport=httpx.MockTransport(answer)))


def fireblocks(answer: Answer) -> FireblocksCalls:
    settings = {"api_base_url": "https://api.platform.test/v1", "api_key": "api-user"}
    config = ConnectionConfig(ACCOUNT.connection, "fireblocks", settings, lambda _: b"", ())
    client = httpx.Client(transport=httpx.MockTransport(answer))
    return FireblocksCalls(config, lambda m: KEY.sign(m, padding.PKCS1v15(), hashes.SHA256()), NO_HOLDS, client)


def gives(status: int, document: object = None, headers: dict[str, str] | None = None) -> Answer:
    return lambda _: httpx.Response(status, json=document, headers=headers)


def fails(error: type[httpx.HTTPError]) -> Answer:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error("as told")

    return answer


def test_a_standard_action_is_signed_as_the_official_library_reads_it() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"receipt": "r-1", "state": "done"})

    assert standard(answer).hold_outgoing(ACCOUNT, key="key-1").reference == "r-1"
    body = Webhook(SECRET).verify(seen[0].content, dict(seen[0].headers))
    assert body == {"id": "key-1", "action": "hold_outgoing", "account": "hot-1"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fails(httpx.ConnectError), UnavailableError),
        (fails(httpx.ConnectTimeout), UnavailableError),
        (fails(httpx.ReadTimeout), UnknownOutcomeError),
        (fails(httpx.RemoteProtocolError), UnknownOutcomeError),
        (fails(httpx.WriteError), UnknownOutcomeError),
        (gives(429, {}, {"Retry-After": "7"}), RateLimitedError),
        (gives(403, {}), RefusedByOtherSideError),
        (gives(302, {}, {"Location": "https://elsewhere.test"}), UnknownOutcomeError),
        (gives(408, {}), UnknownOutcomeError),
        (gives(500, {}), UnknownOutcomeError),
        (gives(503, {}), UnknownOutcomeError),
        (gives(200, ["no object"]), UnknownOutcomeError),
        (gives(200, {"state": "perhaps"}), UnknownOutcomeError),
        (gives(200, {"state": "refused"}), RefusedByOtherSideError),
        (lambda _: httpx.Response(200, text="no json"), UnknownOutcomeError),
        (lambda _: httpx.Response(200, content=b"x" * (5 << 20)), UnknownOutcomeError),
    ],
)
def test_every_answer_means_one_thing(answer: Answer, error: type[PortcullisError]) -> None:
    with pytest.raises(error) as caught:
        standard(answer).hold_outgoing(ACCOUNT, key="key-1")
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (gives(200, {"state": "done"}), Verdict.HOLDS),
        (gives(200, {"state": "pending"}), Verdict.DOES_NOT_HOLD),
        (gives(200, {"state": "refused"}), Verdict.DOES_NOT_HOLD),
        (gives(404, {}), Verdict.DOES_NOT_HOLD),
        (gives(403, {}), Verdict.CANNOT_TELL),
        (gives(500, {}), Verdict.CANNOT_TELL),
        (gives(200, {"state": "eh"}), Verdict.CANNOT_TELL),
        (fails(httpx.ConnectError), Verdict.CANNOT_TELL),
        (fails(httpx.ReadTimeout), Verdict.CANNOT_TELL),
    ],
)
def test_what_cannot_be_told_is_never_no(answer: Answer, verdict: Verdict) -> None:
    assert standard(answer).settled("key-1") is verdict


class Counted:
    """A pace that counts, and refuses when told."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.turns: list[float] = []
        self.slow: list[float] = []

    def turn(self, per_s: float) -> None:
        self.turns.append(per_s)
        if self.full:
            raise CallDeferredError("not now", retry_after_s=3)

    def slow_down(self, retry_after_s: float) -> None:
        self.slow.append(retry_after_s)


def paced(pace: Counted, platform: str, **settings: str) -> StandardCalls:
    told = {"action_url": f"{platform}/action", "status_url": f"{platform}/status", **settings}
    return StandardCalls(
        ConnectionConfig(ACCOUNT.connection, "standard", told, lambda _: SECRET.encode(), (), pace=pace), NO_HOLDS
    )


def test_a_call_without_a_turn_is_not_made_and_a_question_is_not_cannot_tell() -> None:
    pace = Counted(full=True)
    calls = paced(pace, "http://127.0.0.1:9", calls_per_s="0.5")
    with pytest.raises(CallDeferredError):
        calls.hold_outgoing(ACCOUNT, key="key-1")
    with pytest.raises(CallDeferredError):
        calls.settled("key-1")
    assert (pace.turns, pace.slow) == ([0.5, 0.5], [])
    calls.close()


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("", 5, 5),
        ("soon", 5, 5),
        ("9" * 30, 5, 5),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1, 1),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 5, 5),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999999999", 5, 5),
    ],
)
def test_both_forms_of_retry_after_are_read(told: str, least: float, most: float) -> None:
    with pytest.raises(RateLimitedError) as caught:
        standard(gives(429, {}, {"Retry-After": told})).hold_outgoing(ACCOUNT, key="k")
    assert least <= (caught.value.retry_after_s or 0) <= most


def test_a_retry_after_that_names_a_time_is_the_time_until_then() -> None:
    told = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with pytest.raises(RateLimitedError) as caught:
        standard(gives(429, {}, {"Retry-After": told})).hold_outgoing(ACCOUNT, key="k")
    assert 1800 <= (caught.value.retry_after_s or 0) <= 3600


@pytest.mark.parametrize("wrong", ["0", "0.05", "1001", "-1", "5e3", "many", "\u0665", "nan"])
def test_a_rate_of_calls_is_a_number_within_bounds(wrong: str) -> None:
    for check in (check_settings, check_fireblocks, check_bitgo):
        check({"calls_per_s": "2.5"})
        with pytest.raises(InputError) as caught:
            check({"calls_per_s": wrong})
        assert caught.value.field == "calls_per_s"


def test_a_fireblocks_call_carries_a_token_bound_to_its_body_and_path() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"success": True})

    calls = fireblocks(answer)
    calls.cancel(ACCOUNT, "tx-1", key="key-1")
    calls.forbid_one_time_addresses(key="key-2")
    for request in seen:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        claims: dict[str, Any] = jwt.decode(token, KEY.public_key(), algorithms=["RS256"])
        assert claims["uri"] == request.url.path
        assert claims["sub"] == request.headers["X-API-Key"] == "api-user"
        assert claims["bodyHash"] == hashlib.sha256(request.content).hexdigest()
        assert claims["exp"] - claims["iat"] == 55  # what both official clients use
    assert [(r.method, r.url.path) for r in seen] == [
        ("POST", "/v1/transactions/tx-1/cancel"),
        ("PUT", "/v1/management/ota"),
    ]
    assert json.loads(seen[1].content) == {"enabled": False}
    assert len({r.headers["Idempotency-Key"] for r in seen}) == len(seen)


def test_a_lost_answer_to_a_question_is_cannot_tell() -> None:
    assert fireblocks(fails(httpx.ReadTimeout)).cancelled("tx-1") is Verdict.CANNOT_TELL
    assert fireblocks(gives(200, {"status": "CANCELLED"})).cancelled("tx-1") is Verdict.HOLDS
    assert fireblocks(gives(200, {"status": "BROADCASTING"})).cancelled("tx-1") is Verdict.DOES_NOT_HOLD
    assert fireblocks(gives(200, {"enabled": "no"})).one_time_addresses_forbidden() is Verdict.CANNOT_TELL


def test_what_fireblocks_lacks_is_said_not_pretended() -> None:
    with pytest.raises(MissingCapabilityError, match="revoke_credential"):
        fireblocks(gives(200, {})).revoke_credential(None, "somebody", key="k")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"action_url": "https://a.test"}, "status_url"),
        ({"action_url": "http://a.test/x", "status_url": "https://a.test/y"}, "action_url"),
        ({"action_url": "https://a.test/x", "status_url": "ftp://a.test/y"}, "status_url"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], field: str) -> None:
    with pytest.raises(InputError) as caught:
        check_settings(settings)
    assert caught.value.field == field


def test_fireblocks_settings_come_together() -> None:
    check_fireblocks({})
    with pytest.raises(InputError, match="api_key"):
        check_fireblocks({"api_base_url": "https://a.test/v1"})
