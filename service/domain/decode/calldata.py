"""What EVM calldata does, as far as containment must know: tokens, wallets' inner calls, batches, who decides.

Rules (Solidity ABI specification; safe-smart-account; EIP-1967): a known selector with arguments of the wrong shape is not
that call, it is unknown. What is not recognised is reported as unknown, never as harmless. A delegatecall through a Safe
lets the target rewrite the Safe itself; that, and every call that changes owners, threshold, guard, modules or the
implementation, is governance. Nesting is followed four levels and 256 calls deep; what lies deeper, and what is longer than
a transaction can be, counts as the worst. A delegatecall into Safe's own MultiSend is how a Safe makes a batch: the calls
inside speak for themselves there, at the addresses to which the release was deployed on every chain, and nowhere else.
In a batch by MultiSend 1.5.0 the zero address stands for the Safe itself (`MultiSend.sol` of that release); earlier ones
call the zero address, where nobody is.
"""

from typing import Final

from service.domain.decode.call import SELECTOR, WORD, Arguments, Call, selector
from service.domain.decode.governance import governance_call
from service.domain.decode.tokens import token_call

DELEGATECALL: Final = 1
MAX_CALLDATA_BYTES: Final = 128 * 1024
"""Nodes take no transaction of more; what claims to be one is not read."""
_MAX_DEPTH: Final = 4
_MOST_CALLS: Final = 256
_ITEM_HEAD: Final = 1 + 20 + 2 * WORD
_NOBODY: Final = "0x" + "0" * 40

_EXEC: Final = selector("execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)")
_FROM_MODULE: Final = frozenset(
    selector(f"execTransactionFromModule{kind}(address,uint256,bytes,uint8)") for kind in ("", "ReturnData")
)
_MULTI_SEND: Final = selector("multiSend(bytes)")
_MULTICALL: Final = selector("multicall(bytes[])")
_EXECUTE: Final = selector("execute(address,uint256,bytes)")
_SCHEDULE: Final = selector("schedule(address,uint256,bytes,bytes32,bytes32,uint256)")
_WITH_CALL: Final = {
    selector("upgradeToAndCall(address,bytes)"): 1,
    selector("upgradeAndCall(address,address,bytes)"): 2,
}
"""Governance that calls the new code at once, and where the call stands."""

ITSELF_MULTI_SENDS: Final = frozenset(
    {
        "0x218543288004cd07832472d464648173c77d7eb7",
        "0xa83c336b20401af773b6219ba5027174338d1836",
    }
)
"""MultiSend and MultiSendCallOnly 1.5.0, which take the zero address for the Safe itself."""
MULTI_SENDS: Final = ITSELF_MULTI_SENDS | frozenset(
    {
        "0xa238cbeb142c10ef7ad8442c6d1f9e89e07e7761",
        "0x998739bfdaadde7c933b942a68053933098f9eda",
        "0x40a2accbd92bca938b02010e17a5b8929b49130d",
        "0xa1dabef33b3b82c7814b6d82a79e50f4ac44102b",
        "0x38869bf66a61cf6bdb996a6ae40d5853fd43b526",
        "0x9641d764fc13c8b624c04430c7356c1c7c8102e2",
    }
)
"""Those, and MultiSend and MultiSendCallOnly 1.3.0 and 1.4.1 (safe-deployments). Deployed by CREATE2 from factories that
everybody uses, so that no other code can stand there; zkSync's, which are others, are left out."""


def decode_call(data: bytes, lent_to: str | None = None) -> Call:
    """Return what the calldata does. Never raises.

    `lent_to`: the contract, lower-case 0x hex, that a wallet lets act in its own name (delegatecall); None for a call.
    """
    if len(data) > MAX_CALLDATA_BYTES:
        return _unreadable("calldata longer than a transaction can be")
    return _Decoder().call(data, 0, lent_to)


def safe_transaction(name: str, to: str, value: int, operation: int, inner: Call) -> Call:
    """Return what a Safe does when it calls `to` (operation 0), or lets it act in its own name (1).

    `inner` is what the calldata does there, decoded as lent to `to` where it is.
    """
    if operation == DELEGATECALL and inner.name == "multiSend" and to in MULTI_SENDS:
        return Call(name, f"{name}, a batch by Safe's own MultiSend", to, inners=inner.inners)
    by_delegatecall = operation == DELEGATECALL
    kind = " by delegatecall, which can rewrite the wallet" if by_delegatecall else ""
    return Call(name, f"{name} to {to}{kind}{_value(value)}", to, delegatecall=by_delegatecall, inners=(inner,))


class _Decoder:
    """Follows one tree of calls, and counts them."""

    def __init__(self) -> None:
        self._left = _MOST_CALLS

    def call(self, data: bytes, depth: int, lent_to: str | None = None) -> Call:
        if not data:
            return Call("plain transfer")
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            return _unreadable("call nested too deeply to read")
        head, arguments = data[:SELECTOR], Arguments(data[SELECTOR:])
        governing = governance_call(head, arguments)
        if governing is not None:
            return self._with_its_call(governing, head, arguments, depth)
        found = token_call(head, arguments) or self._wallet(head, arguments, depth, lent_to)
        if found is not None:
            return found
        name = f"0x{head.hex()}" if len(head) == SELECTOR else "without a whole selector"
        return Call("unknown call", f"unknown call {name}")

    def _wallet(self, head: bytes, arguments: Arguments, depth: int, lent_to: str | None) -> Call | None:
        if head == _EXEC:
            return self._safe("execTransaction", arguments, depth)
        if head in _FROM_MODULE:
            return self._safe("execTransactionFromModule", arguments, depth)
        if head == _MULTI_SEND:
            return self._multi_send(arguments, depth, lent_to)
        if head == _MULTICALL:
            return self._multicall(arguments, depth)
        if head in {_EXECUTE, _SCHEDULE}:
            return self._execute("execute" if head == _EXECUTE else "schedule", arguments, depth)
        return None

    def _with_its_call(self, governing: Call, head: bytes, arguments: Arguments, depth: int) -> Call:
        """The new code is called in the name of what was upgraded."""
        data = arguments.data(_WITH_CALL[head]) if head in _WITH_CALL else None
        if not data:
            return governing
        inner = self.call(data, depth + 1)
        return Call(governing.name, governing.told, governance=True, inners=(inner,))

    def _safe(self, name: str, arguments: Arguments, depth: int) -> Call:
        to, value, data, operation = (arguments.address(0), arguments.number(1), arguments.data(2), arguments.number(3))
        if to is None or value is None or data is None or operation is None or operation > DELEGATECALL:
            return Call(f"malformed {name}", governance=True)
        inner = self.call(data, depth + 1, to if operation == DELEGATECALL else None)
        return safe_transaction(name, to, value, operation, inner)

    def _multi_send(self, arguments: Arguments, depth: int, lent_to: str | None) -> Call:
        """MultiSend packs operation:1 to:20 value:32 length:32 data."""
        packed = arguments.data(0)
        if packed is None:
            return Call("malformed multiSend", governance=True)
        calls: list[Call] = []
        position = 0
        while position < len(packed):
            head = packed[position : position + _ITEM_HEAD]
            length = int.from_bytes(head[-WORD:], "big")
            data = packed[position + _ITEM_HEAD : position + _ITEM_HEAD + length]
            if len(head) < _ITEM_HEAD or len(data) != length or head[0] > DELEGATECALL:
                return Call("malformed multiSend", governance=True)
            if len(calls) == _MOST_CALLS:
                return _unreadable("batch of more calls than can be read")
            calls.append(self._item(head, data, depth, zero_is_itself=lent_to in ITSELF_MULTI_SENDS))
            position += _ITEM_HEAD + length
        return Call("multiSend", f"a batch of {len(calls)}", inners=tuple(calls))

    def _item(self, head: bytes, data: bytes, depth: int, *, zero_is_itself: bool) -> Call:
        to, value, by_delegatecall = "0x" + head[1:21].hex(), int.from_bytes(head[21 : 21 + WORD], "big"), head[0] == 1
        kind = "delegatecall" if by_delegatecall else "call"
        inner = self.call(data, depth + 1, to if by_delegatecall else None)
        itself = zero_is_itself and to == _NOBODY
        told = f"{kind} to {'the Safe itself' if itself else to}{_value(value)}"
        return Call("call", told, None if itself else to, delegatecall=by_delegatecall, inners=(inner,))

    def _multicall(self, arguments: Arguments, depth: int) -> Call:
        array = arguments.array(0)
        calls = [] if array is None else [array[1].data(i) for i in range(array[0])]
        if array is None or None in calls:
            return Call("malformed multicall", governance=True)
        return Call("multicall", f"{len(calls)} calls", inners=tuple(self.call(one or b"", depth + 1) for one in calls))

    def _execute(self, name: str, arguments: Arguments, depth: int) -> Call:
        to, value, data = arguments.address(0), arguments.number(1), arguments.data(2)
        if to is None or value is None or data is None:
            return Call(f"malformed {name}", governance=True)
        return Call(name, f"{name} call to {to}{_value(value)}", to, inners=(self.call(data, depth + 1),))


def _unreadable(what: str) -> Call:
    """What cannot be read counts as the worst: nobody gets there by honest means."""
    return Call(what, governance=True, delegatecall=True)


def _value(value: int) -> str:
    return f" with {value} wei" if value else ""
