"""What EVM calldata does, as far as containment must know: tokens, wallets' inner calls, batches, who decides.

Rules (Solidity ABI specification; safe-smart-account; EIP-1967): a payment with arguments of the wrong shape is not that
payment, it is unknown. What is not recognised is reported as unknown, never as harmless. A delegatecall through a Safe
lets the target rewrite the Safe itself; that, and every call that changes owners, threshold, guard, modules or the
implementation, is governance. Nesting is followed four levels and 256 calls deep; what lies deeper, and what is longer than
a transaction can be, counts as the worst. A delegatecall into Safe's own MultiSend is how a Safe makes a batch: the calls
inside speak for themselves there, at the addresses to which the release was deployed on every chain, and nowhere else.
In a batch by MultiSend 1.5.0 the zero address stands for the Safe itself (`MultiSend.sol` of that release); earlier ones
call the zero address, where nobody is. A Safe's gas refund is a payment to whoever its owners' signature names, of a size
that only its execution shows: it is told, and is governance.
"""

from dataclasses import replace
from typing import Final

from service.domain.decode.call import SELECTOR, WORD, Arguments, Call, selector
from service.domain.decode.governance import governance_call
from service.domain.decode.tokens import token_call
from service.domain.decode.wallets import Steps, wallet_call

DELEGATECALL: Final = 1
GAS_REFUND: Final = "gas refund"
MAX_CALLDATA_BYTES: Final = 128 * 1024
"""Nodes take no transaction of more; what claims to be one is not read."""
_MAX_DEPTH: Final = 4
_MOST_CALLS: Final = 256
_ITEM_HEAD: Final = 1 + 20 + 2 * WORD
_NOBODY: Final = "0x" + "0" * 40

_EXEC: Final = selector("execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)")
_MULTI_SEND: Final = selector("multiSend(bytes)")
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


def safe_transaction(name: str, to: str, value: int, operation: int, *does: Call) -> Call:
    """Return what a wallet does when it calls `to` (operation 0), or lets it act in its own name (1).

    `does` is its gas refund, if any, and what the calldata does there, decoded as lent to `to` where it is.
    """
    *refund, inner = does
    if operation == DELEGATECALL and inner.name == "multiSend" and to in MULTI_SENDS:
        return Call(name, f"{name}, a batch by Safe's own MultiSend", to, inners=(*refund, *inner.inners))
    by_delegatecall = operation == DELEGATECALL
    kind = " by delegatecall, which can rewrite the wallet" if by_delegatecall else ""
    return Call(name, f"{name} to {to}{kind}{_value(value)}", to, delegatecall=by_delegatecall, inners=does)


def gas_refund(base_gas: int, price: int, token: str, receiver: str) -> tuple[Call, ...]:
    """Return what a Safe pays whoever carries its transaction; nothing where the price is 0. Addresses lower-case."""
    if price == 0:
        return ()
    who = "whoever sends it" if receiver == _NOBODY else receiver
    if token == _NOBODY:
        told = f"pays {who} up to {price} wei for each of {base_gas} units of gas and those that it takes"
    else:
        told = f"pays {who} for gas at least {base_gas * price} base units of token {token}, {price} for each unit"
    paid, called = (None if one == _NOBODY else one for one in (receiver, token))
    return (Call(GAS_REFUND, told, paid, governance=True, others=(called,) if called else ()),)


class _Decoder:
    """Follows one tree of calls, and counts them."""

    def __init__(self) -> None:
        self._left = _MOST_CALLS + _MAX_DEPTH

    def call(self, data: bytes, depth: int, lent_to: str | None = None) -> Call:
        self._left -= 1
        if (data and depth > _MAX_DEPTH) or self._left < 0:
            return _unreadable("call nested too deeply to read")
        if not data:
            return Call("plain transfer")
        head, arguments = data[:SELECTOR], Arguments(data[SELECTOR:])
        governing = governance_call(head, arguments)
        if governing is not None:
            return self._with_its_call(governing, head, arguments, depth)
        found = token_call(head, arguments) or self._wallet(head, arguments, depth, lent_to)
        if found is not None:
            return found
        name = f"0x{head.hex()}" if len(head) == SELECTOR else "without a whole selector"
        return Call("unknown call", f"unknown call {name}", unknown=True)

    def _wallet(self, head: bytes, arguments: Arguments, depth: int, lent_to: str | None) -> Call | None:
        if head == _EXEC:
            return self._safe(arguments, depth)
        if head == _MULTI_SEND:
            return self._multi_send(arguments, depth, lent_to)
        found = wallet_call(head, arguments)
        return None if found is None else self._steps(found, depth)

    def _with_its_call(self, governing: Call, head: bytes, arguments: Arguments, depth: int) -> Call:
        """The new code is called in the name of what was upgraded."""
        data = arguments.data(_WITH_CALL[head]) if head in _WITH_CALL else None
        if not data:
            return governing
        inner = self.call(data, depth + 1)
        return replace(governing, inners=(inner,))

    def _safe(self, arguments: Arguments, depth: int) -> Call:
        name = "execTransaction"
        to, token, receiver = (arguments.address(at) for at in (0, 7, 8))
        value, operation, base_gas, price = (arguments.number(at) for at in (1, 3, 5, 6))
        data = arguments.data(2)
        if to is None or value is None or data is None or operation is None or operation > DELEGATECALL:
            return _malformed(name)
        if base_gas is None or price is None or token is None or receiver is None:
            return _malformed(name)
        inner = self.call(data, depth + 1, to if operation == DELEGATECALL else None)
        return safe_transaction(name, to, value, operation, *gas_refund(base_gas, price, token, receiver), inner)

    def _steps(self, found: Steps, depth: int) -> Call:
        if found.steps is None:
            return _malformed(found.name)
        made = []
        for to, value, data, lent in found.steps:
            inner = self.call(data, depth + 1, to if lent else None)
            name = "call" if found.many else found.name
            made.append(inner if to is None else safe_transaction(name, to, value, int(lent), inner))
        return Call(found.name, f"a batch of {len(made)}", inners=tuple(made)) if found.many else made[0]

    def _multi_send(self, arguments: Arguments, depth: int, lent_to: str | None) -> Call:
        """MultiSend packs operation:1 to:20 value:32 length:32 data."""
        packed = arguments.data(0)
        if packed is None:
            return _malformed("multiSend")
        calls: list[Call] = []
        position = 0
        while position < len(packed):
            head = packed[position : position + _ITEM_HEAD]
            length = int.from_bytes(head[-WORD:], "big")
            data = packed[position + _ITEM_HEAD : position + _ITEM_HEAD + length]
            if len(head) < _ITEM_HEAD or len(data) != length or head[0] > DELEGATECALL:
                return _malformed("multiSend")
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


def _malformed(name: str) -> Call:
    return Call(f"malformed {name}", governance=True, unknown=True)


def _unreadable(what: str) -> Call:
    """What cannot be read counts as the worst: nobody gets there by honest means."""
    return Call(what, governance=True, delegatecall=True, unknown=True)


def _value(value: int) -> str:
    return f" with {value} wei" if value else ""
