"""What contracts paid inside a transaction, from answers of both kinds of endpoint and from a Safe's own logs."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from service.chain import evm_insides
from service.chain.evm_insides import RECEIVED, SUCCESS, Called, Insides, Log
from service.chain.json_rpc import Answer, JsonRpc
from service.domain.safe import ZERO, SafeTransaction
from tests.support.anvil import data_of

SAFE, THIEF, MULE, OTHER = ("0x" + f"{n:02x}" * 20 for n in (1, 2, 3, 4))
EXECUTE = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
NO_METHOD = {"error": {"code": -32601, "message": "the method does not exist"}}


class Endpoint(JsonRpc):
    """Answers by method; keeps what it was asked for."""

    def __init__(self, **answers: Any) -> None:
        super().__init__("http://127.0.0.1:1", most_bytes=1, timeout_s=1)
        self.answers = answers
        self.asked: list[str] = []

    def answer(self, method: str, params: Any) -> Answer:
        self.asked.append(method)
        return msgspec.json.decode(json.dumps(self.answers.get(method, NO_METHOD)), type=Answer)


Opens = Callable[..., Endpoint]


@pytest.fixture
def opens() -> Any:
    made: list[Endpoint] = []

    def one(**answers: Any) -> Endpoint:
        made.append(Endpoint(**answers))
        return made[-1]

    yield one
    for each in made:
        each.close()


def called(data: bytes = b"", *logs: Log) -> Called:
    return Called("0x" + "aa" * 32, OTHER, SAFE, "0x" + data.hex(), list(logs))


def frame(kind: str, giver: str, taker: str, value: int, *calls: Any, error: str | None = None) -> dict[str, Any]:
    told = {"type": kind, "from": giver, "to": taker, "value": hex(value), "calls": list(calls), "gas": "0x1"}
    return told if error is None else {**told, "error": error}


def nested(top: dict[str, Any]) -> dict[str, Any]:
    return {"debug_traceTransaction": {"result": top}}


def step(kind: str, path: list[int], error: str | None = None, **action: Any) -> dict[str, Any]:
    told = {"type": kind, "action": action, "traceAddress": path, "result": {"address": MULE}}
    return told if error is None else {**told, "error": error, "result": None}


def test_calls_below_the_outermost_that_carried_coin_and_were_not_reverted_are_payments(opens: Opens) -> None:
    paid_on = frame("CALL", SAFE, "0x" + THIEF[2:].upper(), 7, frame("CALL", THIEF, MULE, 3))
    top = frame(
        "CALL", OTHER, SAFE, 99,
        frame("DELEGATECALL", SAFE, OTHER, 99, paid_on),
        frame("CALL", SAFE, THIEF, 5, frame("CALL", THIEF, MULE, 5), error="execution reverted"),
        frame("STATICCALL", SAFE, THIEF, 0),
        frame("CREATE2", SAFE, MULE, 2),
        frame("SELFDESTRUCT", MULE, OTHER, 1),
    )  # fmt: skip
    inside = Insides(opens(**nested(top))).of(called())
    assert inside.because is None
    assert inside.payments == [(SAFE, THIEF, 7), (THIEF, MULE, 3), (SAFE, MULE, 2), (MULE, OTHER, 1)]


def test_an_endpoint_with_the_other_method_tells_the_same_and_is_not_asked_for_the_first_again(opens: Opens) -> None:
    steps = [
        step("call", [], callType="call", **{"from": OTHER, "to": SAFE, "value": "0x63"}),
        step("call", [0], callType="delegatecall", **{"from": SAFE, "to": OTHER, "value": "0x63"}),
        step("call", [0, 0], callType="call", **{"from": SAFE, "to": THIEF, "value": "0x7"}),
        step("call", [1], "Reverted", callType="call", **{"from": SAFE, "to": THIEF, "value": "0x5"}),
        step("call", [1, 0], callType="call", **{"from": THIEF, "to": MULE, "value": "0x5"}),
        step("create", [2], **{"from": SAFE, "value": "0x2"}),
        step("suicide", [3], address=MULE, refundAddress=OTHER, balance="0x1"),
    ]
    endpoint = opens(trace_transaction={"result": steps})
    insides = Insides(endpoint)
    for _ in range(2):
        inside = insides.of(called())
        assert inside == evm_insides.Inside([(SAFE, THIEF, 7), (SAFE, MULE, 2), (MULE, OTHER, 1)])
    assert endpoint.asked == ["debug_traceTransaction", "trace_transaction", "trace_transaction"]


def success(payment: int = 0) -> Log:
    return Log(SAFE, [SUCCESS, "0x" + "00" * 32], "0x" + payment.to_bytes(32, "big").hex(), "0x0")


def received(giver: str, taker: str, wei: int) -> Log:
    return Log(taker, [RECEIVED, "0x" + giver[2:].rjust(64, "0")], "0x" + wei.to_bytes(32, "big").hex(), "0x1")


def test_without_a_trace_a_safe_s_own_log_tells_a_plain_payment_and_that_it_may_not_be_all(opens: Opens) -> None:
    data = SafeTransaction(1, SAFE, THIEF, b"", 0, value=40).calldata({OTHER: bytes(65)})
    inside = Insides(opens()).of(called(data, success(), received(MULE, OTHER, 6)))
    assert inside.payments == [(SAFE, THIEF, 40), (MULE, OTHER, 6)]
    assert "does not exist" in str(inside.because)


def test_a_refund_is_a_payment_too(opens: Opens) -> None:
    fields = (THIEF, 40, b"", 0, 0, 0, 1, ZERO)
    for receiver, taker in ((ZERO, OTHER), (MULE, MULE)):
        data = data_of(EXECUTE, *fields, receiver, bytes(65))
        assert Insides(opens()).of(called(data, success(9))).payments == [(SAFE, THIEF, 40), (SAFE, taker, 9)]


@pytest.mark.parametrize(
    ("data", "logs"),
    [
        (data_of(EXECUTE, THIEF, 40, b"", 1, 0, 0, 0, ZERO, ZERO, bytes(65)), [success()]),  # a delegatecall
        (data_of(EXECUTE, THIEF, 40, b"", 0, 0, 0, 0, ZERO, ZERO, bytes(65)), []),  # it failed inside
        (data_of("sweep(address)", THIEF), [success()]),
        (data_of(EXECUTE, THIEF, 40, b"", 0, 0, 0, 0, ZERO, ZERO, bytes(65))[:90], [success()]),
        (b"", [received(OTHER, SAFE, 9)]),  # the transaction's own payment
        (b"", [Log(SAFE, [], "0x", "0x0")]),
    ],
)
def test_what_a_log_does_not_say_for_certain_is_not_made_up(opens: Opens, data: bytes, logs: list[Log]) -> None:
    inside = Insides(opens()).of(called(data, *logs))
    assert inside.payments == []
    assert inside.because is not None


def test_what_is_too_much_too_deep_or_refused_is_not_told_and_said(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = frame("CALL", OTHER, SAFE, 0)
    for _ in range(200):
        deep = frame("CALL", SAFE, THIEF, 1, deep)
    assert len(Insides(opens(**nested(deep))).of(called()).payments) == 199
    monkeypatch.setattr(evm_insides, "MOST_PAYMENTS", 198)
    assert "more than 198" in str(Insides(opens(**nested(deep))).of(called()).because)
    text = '{"type":"CALL","calls":[' * 100_000 + "]}" * 100_000
    monkeypatch.setattr(Endpoint, "answer", lambda *_: Answer(result=msgspec.Raw(text.encode())))
    assert "too deep" in str(Insides(opens()).of(called()).because)
    busy = opens(debug_traceTransaction={"error": {"code": -32005, "message": "limit exceeded"}})
    monkeypatch.undo()
    insides = Insides(busy)
    for _ in range(2):
        assert "limit exceeded" in str(insides.of(called()).because)
    assert busy.asked.count("debug_traceTransaction") == 2, "a refusal of now is no lack for ever"


@given(st.binary(max_size=200), st.lists(st.binary(max_size=64), max_size=3))
def test_malformed_calls_and_logs_break_nothing(data: bytes, words: list[bytes]) -> None:
    logs = [
        Log(SAFE, [topic, "0x" + word.hex()], "0x" + word.hex(), "0x0")
        for word in words
        for topic in (SUCCESS, RECEIVED)
    ]
    exact = data_of(EXECUTE, THIEF, 1, b"", 0, 0, 0, 0, ZERO, ZERO, b"")[:4] + data
    endpoint = Endpoint()
    try:
        assert Insides(endpoint).of(called(exact, *logs)).because is not None
    finally:
        endpoint.close()


def test_the_arguments_of_a_safe_s_call_are_those_of_its_abi() -> None:
    kinds = ["address", "uint256", "bytes", "uint8", *["uint256"] * 3, "address", "address", "bytes"]
    assert kinds == evm_insides._ARGUMENTS
    assert encode(["uint8"], [0]) == bytes(32)
