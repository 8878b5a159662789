"""BitGo: notifications, the policy webhook, and how requests and answers are authenticated."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.custody.bitgo.calls import check_settings, check_token
from service.custody.bitgo.gate import BitgoDoor
from service.custody.bitgo.gate import check_secret as check_path_secret
from service.custody.bitgo.hmac_auth import answer_is_genuine, request_headers
from service.custody.bitgo.webhooks import BitgoReceiver, check_secret
from service.domain.errors import ConfigurationError, InputError, NotFoundError, UnauthenticatedError
from service.domain.gate import GateAnswer, GateCall, GateQuestion
from service.domain.ids import ConnectionId
from service.domain.intake import GateDecision
from service.ports.custody import ConnectionConfig, Delivery
from tests.support.bitgo import (
    PATH_SECRET,
    SETTINGS,
    THERE,
    WALLET,
    WEBHOOK_SECRET,
    half_signed,
    mac,
    policy_request,
    signed,
)

NOW_MS = 1_700_000_000_000
VECTOR_TOKEN = "v2x" + "a" * 64
VECTOR = "5d81ee78416870118c964cb118483b9cfa5d163e0514f9325dea0b09cbf8931e"


def config(secrets: Mapping[str, str] | None = None) -> ConnectionConfig:
    given = {"webhook_secret": WEBHOOK_SECRET, "policy_path_secret": PATH_SECRET, **(secrets or {})}
    return ConnectionConfig(ConnectionId("bg"), "bitgo", SETTINGS, lambda n: given[n].encode(), tuple(given))


def received(document: object, secrets: Mapping[str, str] | None = None) -> Delivery:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = {name.encode(): value.encode() for name, value in signed(body).items()}
    return BitgoReceiver(config(secrets)).receive(headers, body, now_s=NOW_MS / 1000)


def asked(document: object, path: str = f"policy/{PATH_SECRET}", *, later_s: float = 0) -> GateQuestion:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return BitgoDoor(config()).question(GateCall(path, {}, body, NOW_MS / 1000 + later_s))


def transfer(**changes: object) -> dict[str, object]:
    return {
        "type": "transfer",
        "transferType": "send",
        "coin": "tbtc4",
        "wallet": WALLET,
        "transfer": "t-1",
        "hash": "h-1",
        "state": "signed",
        "valueString": "-250500",
        "receiver": "tb1qthere",
        "retries": 0,
    } | changes


def test_the_known_vector() -> None:
    made = request_headers(VECTOR_TOKEN, "POST", "/api/v2/tbtc4/wallet/W/freeze", b'{"duration":3600}', NOW_MS)
    assert (made["HMAC"], made["BitGo-Auth-Version"]) == (VECTOR, "3.0")
    assert VECTOR_TOKEN not in str(made)


@pytest.mark.parametrize(
    ("timestamp", "status", "body", "good"),
    [
        (str(NOW_MS - 299_000), 200, b"x", True),
        (str(NOW_MS + 59_000), 200, b"x", True),
        (str(NOW_MS - 301_000), 200, b"x", False),
        (str(NOW_MS + 61_000), 200, b"x", False),
        (str(NOW_MS), 201, b"x", False),
        (str(NOW_MS), 200, b"y", False),
        ("", 200, b"x", False),
        ("-1", 200, b"x", False),
        ("9" * 400, 200, b"x", False),
    ],
)
def test_an_answer_is_bound_to_its_time_status_and_body(
    timestamp: str, status: int, body: bytes, *, good: bool
) -> None:
    made = mac(VECTOR_TOKEN, "GET", timestamp, "/p", 200, b"x")
    assert answer_is_genuine(VECTOR_TOKEN, ("GET", "/p"), (timestamp, made, status, body), NOW_MS) is good


def test_a_notification_becomes_an_activity() -> None:
    found = received(transfer()).activity
    assert found is not None
    assert (found.kind, found.account, found.transaction) == ("withdrawal.signed", WALLET, "t-1")
    assert found.amount_base_units == 250_500
    assert found.destination == "bip122:00000000da84f2bafbbc53dee25a72ae:tb1qthere"
    assert found.asset == "bip122:00000000da84f2bafbbc53dee25a72ae/slip44:1"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"state": "unconfirmed"}, "withdrawal.broadcast"),
        ({"state": "removed"}, "withdrawal.failed"),
        ({"state": "newWord"}, "withdrawal.requested"),
        ({"transferType": "receive", "state": "confirmed"}, "deposit.confirmed"),
        ({"transferType": "receive"}, None),
        ({"transferType": None}, None),
        ({"wallet": None}, None),
        ({"simulation": True}, None),
        ({"type": "admin"}, None),
        ({"type": "pendingapproval", "pendingApprovalType": "policyRuleRequest", "state": "pending"},
         "governance.policy_changed"),
        ({"type": "pendingapproval", "pendingApprovalType": "userChangeRequest", "state": "pending"},
         "governance.role_changed"),
        ({"type": "pendingapproval", "pendingApprovalType": "policyRuleRequest", "state": "approved"}, None),
        ({"type": "pendingapproval", "pendingApprovalType": "transactionRequest", "state": "pending"}, None),
    ],
)  # fmt: skip
def test_what_is_not_told_is_not_guessed(changes: dict[str, object], kind: str | None) -> None:
    found = received(transfer(**changes)).activity
    assert (None if found is None else found.kind) == kind


def test_a_retry_is_the_same_event_and_another_state_is_not() -> None:
    first, again, later = (received(transfer(**c)) for c in ({}, {"retries": 3}, {"state": "confirmed"}))
    assert (first.event_id, first.facts) == (again.event_id, again.facts)
    assert later.event_id != first.event_id


def test_only_a_right_signature_is_read_under_any_secret_in_force() -> None:
    assert received(transfer(), {"webhook_secret": "another-one-now", "webhook_secret.0": WEBHOOK_SECRET}).activity
    with pytest.raises(UnauthenticatedError):
        received(transfer(), {"webhook_secret": "another-one-now"})
    with pytest.raises(UnauthenticatedError):
        BitgoReceiver(config()).receive({}, b"{}", now_s=0)
    with pytest.raises(ConfigurationError):
        BitgoReceiver(ConnectionConfig(ConnectionId("bg"), "bitgo", {}, lambda _: b"", ()))


@pytest.mark.parametrize("document", [[], 7, {"type": 5}, {"type": "transfer", "valueString": "1.5"}])
def test_a_notification_of_another_shape_is_refused(document: object) -> None:
    with pytest.raises(InputError):
        received(document)


def test_a_question_before_signing() -> None:
    told = policy_request()
    found = asked(told)
    assert (found.doubt, found.activity.account, found.activity.amount_base_units) == (None, WALLET, 250_000)
    assert found.activity.destination == f"bip122:00000000da84f2bafbbc53dee25a72ae:{THERE}"
    again = asked(told | {"approvalCount": 1})
    assert (again.request_id, again.facts) == (found.request_id, found.facts)
    assert asked(policy_request()).request_id != found.request_id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"walletId": "0" * 32}, "does not name this wallet"),
        ({"spendAmount": "1"}, "two amounts"),
        (
            {"outputs": [{"outputAddress": a, "outputValue": 5} for a in "ab"], "spendAmount": 10},
            "several destinations",
        ),
        ({"outputs": [{"outputValue": 250_000}]}, "several destinations"),
        ({"halfSigned": ""}, "no half-signed transaction"),
        ({"halfSigned": None}, "no half-signed transaction"),
        ({"halfSigned": {}}, "no half-signed transaction"),
        ({"halfSigned": {"txHex": ""}}, "no half-signed transaction"),
    ],
)
def test_what_cannot_be_weighed_as_one_payment_is_a_doubt(changes: dict[str, object], words: str) -> None:
    assert words in (asked(policy_request(**changes)).doubt or "")


def test_an_answer_serves_for_minutes_and_the_payment_stays_one() -> None:
    told = policy_request(halfSigned={"txHex": half_signed()})
    first, soon, late = asked(told), asked(told, later_s=1), asked(told, later_s=301)
    assert first.doubt is None
    assert (soon.request_id, soon.activity.event_id) == (first.request_id, first.activity.event_id)
    assert late.request_id != first.request_id
    assert late.activity.transaction == first.activity.transaction


def test_a_doubt_about_a_half_signed_transaction_waits_for_people_and_what_they_cleared_ends() -> None:
    told = policy_request(spendAmount=1)
    first, next_day, next_week = asked(told), asked(told, later_s=86_400), asked(told, later_s=7 * 86_400)
    assert first.request_id == next_day.request_id
    assert next_week.request_id != first.request_id, "a clearance of these bytes does not serve for ever"
    assert next_week.activity.transaction == first.activity.transaction


def test_without_a_half_signed_transaction_nothing_of_an_earlier_payment_serves() -> None:
    told = policy_request(halfSigned="")
    first, late = asked(told), asked(told, later_s=301)
    assert late.request_id != first.request_id
    assert late.activity.transaction != first.activity.transaction


@pytest.mark.parametrize(
    ("document", "path", "error"),
    [
        (policy_request(), "policy/" + "x" * 40, UnauthenticatedError),
        (policy_request(), "policy/é", UnauthenticatedError),
        (policy_request(), "v2/tx_sign_request", NotFoundError),
        (policy_request(evaluationId="e-1"), None, InputError),
        (b"eyJh.eyJi.c2ln", None, InputError),
        (b"[]", None, InputError),
        (b"\xff", None, InputError),
        (policy_request(outputs=[]), None, InputError),
        (policy_request(outputs=[{"outputValue": -1}]), None, InputError),
    ],
)
def test_every_other_question_is_refused(document: object, path: str | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        asked(document, path or f"policy/{PATH_SECRET}")


def test_without_a_secret_in_the_address_nobody_can_ask() -> None:
    bare = BitgoDoor(ConnectionConfig(ConnectionId("bg"), "bitgo", SETTINGS, lambda _: b"", ()))
    with pytest.raises(ConfigurationError):
        bare.question(GateCall("policy/", {}, b"{}", 0.0))


@pytest.mark.parametrize(
    ("decision", "refuses"), [(GateDecision.APPROVE, False), (GateDecision.HOLD, True), (GateDecision.REJECT, True)]
)
def test_an_answer_is_in_its_status(decision: GateDecision, *, refuses: bool) -> None:
    question = asked(policy_request())
    call = GateCall("policy/x", {}, b"", 0.0)
    reply = BitgoDoor(config()).answer(call, question, GateAnswer(decision, "so"), lambda m, key="": m)
    assert (reply.refuses, json.loads(reply.body)["decision"]) == (refuses, decision.value)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
def test_no_body_raises_anything_else(document: object) -> None:
    with suppress(InputError):
        asked(document)
    with suppress(InputError):
        received(document)


def test_settings_and_secrets_are_checked_by_name() -> None:
    check_settings({"api_base_url": "https://app.bitgo.test", **SETTINGS})
    for wrong, field in (
        ({"wallets": "[]"}, "wallets"),
        ({"wallets": '{"x": "btc"}'}, "wallets"),
        ({"wallets": json.dumps({WALLET: "../"})}, "wallets"),
        ({"enterprise": "../x"}, "enterprise"),
        ({"api_base_url": "https://a.test"}, "wallets"),
        ({"api_base_url": "http://a.test", **SETTINGS}, "api_base_url"),
    ):
        with pytest.raises(InputError) as caught:
            check_settings(wrong)
        assert caught.value.field == field
    check_token(b"v2x" + b"a" * 64, "access_token")
    for check, bad in ((check_token, b"short"), (check_secret, b"short"), (check_path_secret, b"/" * 40)):
        with pytest.raises(ConfigurationError):
            check(bad, "it")
