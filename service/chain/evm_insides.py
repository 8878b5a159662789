"""What contracts paid in the chain's coin inside a transaction, which no transfer and no log of a token shows.

Rules: the endpoint is asked by `debug_traceTransaction` with the tracer `callTracer`, else by `trace_transaction`, whichever
it has; what was reverted moved nothing, a delegatecall moves nothing of its own. Where it has neither, or its answer is too
large, too deep or late, Safes' own logs tell plain payments: `ExecutionSuccess` of the very Safe that was called with
`execTransaction`, and `SafeReceived` what came in. What nobody tells is "cannot tell", with the reason, never "nothing".
An endpoint that says that it has no such method is not asked for it again by this process.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import msgspec
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from service.chain.json_rpc import SHOWN, JsonRpc, Kind, decoded, quantity
from service.domain.decode.call import selector
from service.domain.errors import UnavailableError
from service.domain.safe import ZERO

MOST_PAYMENTS: Final = 2_000
"""Payments of one transaction; one that has more is not told."""
SUCCESS: Final = "0x" + keccak(b"ExecutionSuccess(bytes32,uint256)").hex()
RECEIVED: Final = "0x" + keccak(b"SafeReceived(address,uint256)").hex()
_EXECUTE: Final = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
_ARGUMENTS: Final = _EXECUTE[_EXECUTE.index("(") + 1 : -1].split(",")
_NO_SUCH_METHOD: Final = frozenset({-32601, -32004})
"""JSON-RPC 2.0's "method not found" and EIP-1474's "method not supported"."""
_MOVES: Final = frozenset({"CALL", "CREATE", "CREATE2", "SELFDESTRUCT"})
_WORD_DIGITS: Final = 64
_WORDS: Final = re.compile("0x(?:[0-9a-fA-F]{64})+")
_ADDRESS_DIGITS: Final = 40

Payment = tuple[str, str, int]
"""Giver, taker and wei, both addresses lower-case."""


class Log(msgspec.Struct):
    """One log of a receipt."""

    address: str
    topics: list[str]
    data: str
    logIndex: str  # noqa: N815  the execution API's name


@dataclass(frozen=True, slots=True)
class Called:
    """One transaction that succeeded, as far as its inside matters."""

    hash: str
    sender: str
    to: str
    """Empty where it made a contract."""
    input: str
    logs: list[Log]


@dataclass(frozen=True, slots=True)
class Inside:
    """What was paid inside; `because` says why that may not be all."""

    payments: list[Payment]
    because: str | None = None


class _Frame(msgspec.Struct):
    """One call as geth's `callTracer` tells it."""

    type: str
    sender: str = msgspec.field(name="from", default="")
    to: str | None = None
    value: str | None = None
    error: str | None = None
    calls: list["_Frame"] = []


class _Action(msgspec.Struct):
    callType: str | None = None  # noqa: N815  the trace API's name
    sender: str = msgspec.field(name="from", default="")
    to: str | None = None
    value: str | None = None
    address: str | None = None
    refundAddress: str | None = None  # noqa: N815  as above
    balance: str | None = None


class _Result(msgspec.Struct):
    address: str | None = None


class _Trace(msgspec.Struct):
    """One call as `trace_transaction` tells it; its place is the path of calls to it."""

    type: str
    action: _Action
    traceAddress: list[int]  # noqa: N815  as above
    error: str | None = None
    result: _Result | None = None


@dataclass(slots=True)
class Insides:
    """Asks one endpoint."""

    rpc: JsonRpc
    _lacking: set[str] = field(default_factory=set)

    def of(self, called: Called) -> Inside:
        """Return what was paid inside one transaction."""
        reasons: list[str] = []
        for way in (self._nested, self._flat):
            try:
                return Inside(way(called.hash))
            except UnavailableError as error:
                reasons.append(str(error))
            except RecursionError:
                reasons.append("its calls are nested too deep")
        return Inside(list(_told_by_logs(called)), "; ".join(reasons))

    def _nested(self, name: str) -> list[Payment]:
        found = self._ask("debug_traceTransaction", [name, {"tracer": "callTracer"}], _Frame)
        return _bounded(_payments_below(found))

    def _flat(self, name: str) -> list[Payment]:
        return _bounded(_payments_among(self._ask("trace_transaction", [name], list[_Trace])))

    def _ask(self, method: str, params: list[object], kind: type[Kind]) -> Kind:
        if method in self._lacking:
            raise UnavailableError(f"the chain's endpoint has no {method}")
        answer = self.rpc.answer(method, params)
        if answer.error is not None:
            if answer.error.code in _NO_SUCH_METHOD:
                self._lacking.add(method)
            raise UnavailableError(f"the chain's endpoint refused {method}: {answer.error.message[:SHOWN]}")
        return decoded(answer, method, kind)


def _bounded(payments: Iterator[Payment]) -> list[Payment]:
    found = list(islice(payments, MOST_PAYMENTS + 1))
    if len(found) > MOST_PAYMENTS:
        raise UnavailableError(f"it has more than {MOST_PAYMENTS} payments inside")
    return found


def _payments_below(top: _Frame) -> Iterator[Payment]:
    """Yield what the calls below the outermost paid, in order: that one is the transaction itself."""
    waiting = [] if top.error else top.calls[::-1]
    while waiting:
        frame = waiting.pop()
        if frame.error:
            continue
        if frame.type in _MOVES:
            yield from _payment(frame.sender, frame.to, frame.value)
        waiting += frame.calls[::-1]


def _payments_among(traces: list[_Trace]) -> Iterator[Payment]:
    """Yield the same of calls in the order in which they began; what a reverted one called is reverted with it."""
    reverted: list[int] | None = None
    for one in traces:
        if reverted is not None and one.traceAddress[: len(reverted)] == reverted:
            continue
        reverted = one.traceAddress if one.error else None
        if one.error or not one.traceAddress:
            continue
        does = one.action
        if one.type == "call" and does.callType == "call":
            yield from _payment(does.sender, does.to, does.value)
        elif one.type == "create" and one.result is not None:
            yield from _payment(does.sender, one.result.address, does.value)
        elif one.type == "suicide":
            yield from _payment(does.address or "", does.refundAddress, does.balance)


def _payment(giver: str, taker: str | None, value: str | None) -> Iterator[Payment]:
    amount = 0 if value is None else quantity(value, "a trace")
    if amount and taker:
        yield giver.lower(), taker.lower(), amount


def _told_by_logs(called: Called) -> Iterator[Payment]:
    """Yield what the Safe that was called says of itself, and what Safes say that they received."""
    for log in called.logs:
        if not _reads_like_numbers(log):
            continue
        if log.topics[0] == RECEIVED and len(log.topics) > 1:
            giver, taker = "0x" + log.topics[1][-_ADDRESS_DIGITS:].lower(), log.address.lower()
            if (giver, taker) != (called.sender, called.to):  # else it is the transaction's own payment
                yield from _payment(giver, taker, _last_word(log))
        elif log.topics[0] == SUCCESS and log.address.lower() == called.to:
            yield from _paid_by_safe(called, log)


def _paid_by_safe(called: Called, log: Log) -> Iterator[Payment]:
    """Yield the coin of a plain call, and the refund of its gas; a delegatecall says nothing of what it paid."""
    try:
        raw = bytes.fromhex(called.input.removeprefix("0x"))
        found = decode(_ARGUMENTS, raw[4:]) if raw[:4] == selector(_EXECUTE) else None
    except (DecodingError, ValueError, OverflowError):
        found = None
    if found is None:
        return
    to, value, _, operation, *_, gas_token, receiver, _ = found
    if operation == 0:
        yield from _payment(called.to, to, hex(value))
    if gas_token == ZERO:
        yield from _payment(called.to, called.sender if receiver == ZERO else receiver, _last_word(log))


def _reads_like_numbers(log: Log) -> bool:
    """Say whether it has topics and whole words of data: anybody's contract may write what it likes into a log."""
    return bool(log.topics) and all(_WORDS.fullmatch(one) for one in (*log.topics, log.data))


def _last_word(log: Log) -> str:
    return "0x" + log.data[-_WORD_DIGITS:]
