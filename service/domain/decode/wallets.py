"""Calls that make other calls: wallets, modules, timelocks, smart accounts (ERC-4337, ERC-7579), multicalls.

Rules: one of these whose arguments do not hold together is malformed, never unknown, and so is one whose calls share their
bytes, as no encoder has them: a few bytes would be endless work. What lets the target act in the wallet's own name is told
as such. Of ERC-7579's modes a call, a batch and a delegatecall are read.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from service.domain.decode.call import WORD, Arguments, selector

_ADDRESS: Final = 20
_DELEGATECALL: Final = 1
_MODE_CALL: Final = 0x00
_MODE_BATCH: Final = 0x01
_MODE_DELEGATECALL: Final = 0xFF


class Step(NamedTuple):
    """One call that is made. `to` is lower-case 0x hex, None for the wallet's own; `value` in wei."""

    to: str | None
    value: int
    data: bytes
    lent: bool = False
    """By delegatecall."""


class Steps(NamedTuple):
    """What one call makes; `steps` is None where it is malformed."""

    name: str
    steps: tuple[Step, ...] | None
    many: bool
    """Whether it is a batch."""


Reader = Callable[[Arguments], Sequence[Step | None] | None]


def wallet_call(head: bytes, arguments: Arguments) -> Steps | None:
    """Return the calls that a call makes; None for any other call."""
    found = _BY_SELECTOR.get(head)
    if found is None:
        return None
    name, read, many = found
    steps = read(arguments)
    whole = () if steps is None else tuple(step for step in steps if step is not None)
    malformed = steps is None or len(whole) < len(steps) or sum(len(step.data) for step in whole) > arguments.size
    return Steps(name, None if malformed else whole, many)


def _step(to: str | None, value: int | None, data: bytes | None, *, lent: bool = False) -> Step | None:
    return None if to is None or value is None or data is None else Step(to, value, data, lent)


def _call(arguments: Arguments) -> list[Step | None]:
    return [_step(arguments.address(0), arguments.number(1), arguments.data(2))]


def _with_operation(arguments: Arguments) -> list[Step | None] | None:
    operation = arguments.number(3)
    if operation is None or operation > _DELEGATECALL:
        return None
    lent = operation == _DELEGATECALL
    return [_step(arguments.address(0), arguments.number(1), arguments.data(2), lent=lent)]


def _lent(arguments: Arguments) -> list[Step | None]:
    return [_step(arguments.address(0), 0, arguments.data(1), lent=True)]


def _own(at: int) -> Reader:
    """Calls of the contract itself: bytes[]."""

    def read(arguments: Arguments) -> list[Step | None] | None:
        array = arguments.array(at)
        if array is None:
            return None
        found = [array[1].data(i) for i in range(array[0])]
        return [None if data is None else Step(None, 0, data) for data in found]

    return read


def _tuples(at: int, value: int | None, data: int) -> Reader:
    """Dynamic tuples that begin with the target."""

    def read(arguments: Arguments) -> list[Step | None] | None:
        array = arguments.array(at)
        if array is None:
            return None
        parts = [array[1].inside(i) for i in range(array[0])]
        return [
            None if one is None else _step(one.address(0), 0 if value is None else one.number(value), one.data(data))
            for one in parts
        ]

    return read


def _lists(arguments: Arguments) -> list[Step | None] | None:
    """Targets, values (all zero where there is none) and calls, each in a list of its own."""
    to, values, data = arguments.array(0), arguments.array(1), arguments.array(2)
    if to is None or values is None or data is None or to[0] != data[0] or values[0] not in {0, to[0]}:
        return None
    return [_step(to[1].address(i), values[1].number(i) if values[0] else 0, data[1].data(i)) for i in range(to[0])]


def _lists_of_two(arguments: Arguments) -> list[Step | None] | None:
    to, data = arguments.array(0), arguments.array(1)
    if to is None or data is None or to[0] != data[0]:
        return None
    return [_step(to[1].address(i), 0, data[1].data(i)) for i in range(to[0])]


def _by_mode(arguments: Arguments) -> Sequence[Step | None] | None:
    mode, packed = arguments.number(0), arguments.data(1)
    if mode is None or packed is None:
        return None
    kind, to = mode >> 248, "0x" + packed[:_ADDRESS].hex()
    if kind == _MODE_BATCH:
        return _tuples(0, 1, 2)(Arguments(packed))
    if kind == _MODE_CALL and len(packed) >= _ADDRESS + WORD:
        return [Step(to, int.from_bytes(packed[_ADDRESS : _ADDRESS + WORD], "big"), packed[_ADDRESS + WORD :])]
    if kind == _MODE_DELEGATECALL and len(packed) >= _ADDRESS:
        return [Step(to, 0, packed[_ADDRESS:], lent=True)]
    return None


def _operations(arguments: Arguments) -> list[Step | None] | None:
    """User operations (ERC-4337): the account's own call stands fourth; the beneficiary is paid their fees."""
    made = _tuples(0, None, 3)(arguments)
    return None if made is None else [*made, _step(arguments.address(1), 0, b"")]


_OPERATION: Final = "(address,uint256,bytes,bytes,uint256,uint256,uint256,uint256,uint256,bytes,bytes)"
_PACKED_OPERATION: Final = "(address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)"
_ONE: Final[dict[str, Reader]] = {
    # Safe's modules, Zodiac's Roles and Delay, ERC-6551
    "execTransactionFromModule(address,uint256,bytes,uint8)": _with_operation,
    "execTransactionFromModuleReturnData(address,uint256,bytes,uint8)": _with_operation,
    "execTransactionWithRole(address,uint256,bytes,uint8,bytes32,bool)": _with_operation,
    "execTransactionWithRoleReturnData(address,uint256,bytes,uint8,bytes32,bool)": _with_operation,
    "executeNextTx(address,uint256,bytes,uint8)": _with_operation,
    "executeUserOp(address,uint256,bytes,uint8)": _with_operation,
    "executeUserOpWithErrorString(address,uint256,bytes,uint8)": _with_operation,
    "execute(address,uint256,bytes,uint8)": _with_operation,
    # Smart accounts, timelocks, other multisigs (BitGo's last), DSProxy
    "execute(address,uint256,bytes)": _call,
    "execute(address,uint256,bytes,bytes32,bytes32)": _call,
    "schedule(address,uint256,bytes,bytes32,bytes32,uint256)": _call,
    "submitTransaction(address,uint256,bytes)": _call,
    "sendMultiSig(address,uint256,bytes,uint256,uint256,bytes)": _call,
    "execute(address,bytes)": _lent,
}
_MANY: Final[dict[str, Reader]] = {
    "multicall(bytes[])": _own(0),
    "multicall(uint256,bytes[])": _own(1),
    "multicall(bytes32,bytes[])": _own(1),
    "aggregate((address,bytes)[])": _tuples(0, None, 1),
    "tryAggregate(bool,(address,bytes)[])": _tuples(1, None, 1),
    "aggregate3((address,bool,bytes)[])": _tuples(0, None, 2),
    "aggregate3Value((address,bool,uint256,bytes)[])": _tuples(0, 2, 3),
    "executeBatch((address,uint256,bytes)[])": _tuples(0, 1, 2),
    "executeBatch(address[],bytes[])": _lists_of_two,
    "executeBatch(address[],uint256[],bytes[])": _lists,
    "executeBatch(address[],uint256[],bytes[],bytes32,bytes32)": _lists,
    "scheduleBatch(address[],uint256[],bytes[],bytes32,bytes32,uint256)": _lists,
    "execute(address[],uint256[],bytes[],bytes32)": _lists,
    "execute(bytes32,bytes)": _by_mode,
    "executeFromExecutor(bytes32,bytes)": _by_mode,
    f"handleOps({_OPERATION}[],address)": _operations,
    f"handleOps({_PACKED_OPERATION}[],address)": _operations,
}
_BY_SELECTOR: Final = {
    selector(text): (text.partition("(")[0], read, table is _MANY)
    for table in (_ONE, _MANY)
    for text, read in table.items()
}
