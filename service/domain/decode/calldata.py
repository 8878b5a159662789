"""What EVM calldata does, as far as containment must know: ERC-20, Safe, proxies.

Rules (Solidity ABI specification): a known selector with arguments of the wrong shape is not that call, it is unknown.
What is not recognised is reported as unknown, never as harmless. A delegatecall through a Safe lets the target rewrite
the Safe itself; that, and every call that changes owners, threshold, guard, modules or the implementation, is governance.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from eth_hash.auto import keccak

_WORD: Final = 32
_SELECTOR: Final = 4
_ADDRESS_PAD: Final = 12
_MAX_DEPTH: Final = 4
UNLIMITED: Final = 1 << 160
"""An allowance of 2^160 or more is unlimited: no supply comes near it, and wallets use several such constants."""
DELEGATECALL: Final = 1


@lru_cache(maxsize=64)
def selector(signature: str) -> bytes:
    """Return the first four bytes of keccak-256 of a Solidity signature."""
    return keccak(signature.encode())[:_SELECTOR]


_TRANSFER: Final = "transfer(address,uint256)"
_TRANSFER_FROM: Final = "transferFrom(address,address,uint256)"
_APPROVALS: Final = ("approve(address,uint256)", "increaseAllowance(address,uint256)")
_APPROVE_ALL: Final = "setApprovalForAll(address,bool)"
_EXEC: Final = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
_EXEC_FROM_MODULE: Final = (
    "execTransactionFromModule(address,uint256,bytes,uint8)",
    "execTransactionFromModuleReturnData(address,uint256,bytes,uint8)",
)
_MULTI_SEND: Final = "multiSend(bytes)"
_GOVERNANCE: Final = (
    "changeMasterCopy(address)",
    "setGuard(address)",
    "setModuleGuard(address)",
    "setFallbackHandler(address)",
    "enableModule(address)",
    "disableModule(address,address)",
    "addOwnerWithThreshold(address,uint256)",
    "removeOwner(address,address,uint256)",
    "swapOwner(address,address,address)",
    "changeThreshold(uint256)",
    "setup(address[],uint256,address,bytes,address,address,uint256,address)",
    "upgradeTo(address)",
    "upgradeToAndCall(address,bytes)",
    "transferOwnership(address)",
    "changeAdmin(address)",
    "grantRole(bytes32,address)",
)
GOVERNANCE_METHODS: Final = frozenset(signature.partition("(")[0] for signature in _GOVERNANCE)
_GOVERNANCE_BY_SELECTOR: Final = {selector(signature): signature for signature in _GOVERNANCE}


@dataclass(frozen=True, slots=True)
class Call:
    """What one call does. Amounts are base units of the token at `to`; addresses lower-case 0x hex."""

    name: str
    """Solidity name, `plain transfer` without calldata, `unknown call` otherwise."""
    recipient: str | None = None
    amount: int | None = None
    unlimited_approval: bool = False
    governance: bool = False
    delegatecall: bool = False
    inner: "Call | None" = None
    """The call inside a Safe transaction; the most dangerous one of a batch."""

    def any(self, fact: str) -> bool:
        """Say whether this call or one inside it has the fact: unlimited_approval, governance or delegatecall."""
        return bool(getattr(self, fact)) or (self.inner is not None and self.inner.any(fact))

    def sentence(self) -> str:
        """Return what it does in a few plain words."""
        words = [self.name]
        if self.recipient is not None:
            words.append(f"to {self.recipient}")
        if self.amount is not None:
            words.append("unlimited" if self.unlimited_approval else f"of {self.amount} base units")
        if self.delegatecall:
            words.append("by delegatecall")
        text = " ".join(words)
        return f"{text}: {self.inner.sentence()}" if self.inner is not None else text


def decode_call(data: bytes, *, depth: int = 0) -> Call:
    """Return what the calldata does; nested Safe calls are followed four levels deep."""
    if not data:
        return Call("plain transfer")
    head, arguments = data[:_SELECTOR], data[_SELECTOR:]
    if head in _GOVERNANCE_BY_SELECTOR:
        return Call(_GOVERNANCE_BY_SELECTOR[head].partition("(")[0], governance=True)
    token = _token_call(head, arguments)
    if token is not None:
        return token
    if depth >= _MAX_DEPTH:
        # Deeper than anybody nests by honest means: what cannot be read counts as the worst.
        return Call("call nested too deeply to read", governance=True, delegatecall=True)
    if head == selector(_EXEC):
        return _safe_call("execTransaction", arguments, depth)
    if head in {selector(signature) for signature in _EXEC_FROM_MODULE}:
        return _safe_call("execTransactionFromModule", arguments, depth)
    if head == selector(_MULTI_SEND):
        return _multi_send(arguments, depth)
    return Call("unknown call")


def _token_call(head: bytes, arguments: bytes) -> Call | None:
    if head == selector(_TRANSFER) and len(arguments) == 2 * _WORD and _is_address(arguments, 0):
        return Call("transfer", _address(arguments, 0), _number(arguments, 1))
    if head == selector(_TRANSFER_FROM) and len(arguments) == 3 * _WORD and _is_address(arguments, 1):
        return Call("transferFrom", _address(arguments, 1), _number(arguments, 2))
    for signature in _APPROVALS:
        if head == selector(signature) and len(arguments) >= 2 * _WORD and _is_address(arguments, 0):
            amount = _number(arguments, 1)
            name = signature.partition("(")[0]
            return Call(name, _address(arguments, 0), amount, unlimited_approval=amount >= UNLIMITED)
    if head == selector(_APPROVE_ALL) and len(arguments) >= 2 * _WORD:
        allowed = _number(arguments, 1) != 0
        return Call("setApprovalForAll", _address(arguments, 0), unlimited_approval=allowed)
    return None


def _safe_call(name: str, arguments: bytes, depth: int) -> Call:
    inner_data = _bytes_argument(arguments, 2)
    if len(arguments) < 4 * _WORD or inner_data is None:
        return Call(f"malformed {name}", governance=True)
    by_delegatecall = _number(arguments, 3) == DELEGATECALL
    inner = decode_call(inner_data, depth=depth + 1)
    return Call(name, _address(arguments, 0), delegatecall=by_delegatecall, inner=inner)


def _multi_send(arguments: bytes, depth: int) -> Call:
    """MultiSend packs operation:1 to:20 value:32 length:32 data; the most dangerous of its calls speaks for all."""
    packed = _bytes_argument(arguments, 0)
    worst: Call | None = None
    position, header = 0, 1 + 20 + 2 * _WORD
    while packed is not None and position < len(packed):
        length = int.from_bytes(packed[position + header - _WORD : position + header], "big")
        data = packed[position + header : position + header + length]
        if len(packed) < position + header or len(data) != length:
            packed = None
            break
        inner = decode_call(data, depth=depth + 1)
        to = "0x" + packed[position + 1 : position + 21].hex()
        call = Call("call", to, delegatecall=packed[position] == DELEGATECALL, inner=inner)
        if worst is None or _danger(call) > _danger(worst):
            worst = call
        position += header + length
    if packed is None:
        return Call("malformed multiSend", governance=True)
    return Call("multiSend", inner=worst)


def _danger(call: Call) -> int:
    return 4 * call.any("delegatecall") + 2 * call.any("governance") + call.any("unlimited_approval")


def _is_address(arguments: bytes, index: int) -> bool:
    return not any(arguments[index * _WORD : index * _WORD + _ADDRESS_PAD])


def _address(arguments: bytes, index: int) -> str:
    return "0x" + arguments[index * _WORD + _ADDRESS_PAD : (index + 1) * _WORD].hex()


def _number(arguments: bytes, index: int) -> int:
    return int.from_bytes(arguments[index * _WORD : (index + 1) * _WORD], "big")


def _bytes_argument(arguments: bytes, index: int) -> bytes | None:
    """Return a dynamic `bytes` argument, None when it does not lie within the calldata."""
    if len(arguments) < (index + 1) * _WORD:
        return None
    start = _number(arguments, index)
    if start + _WORD > len(arguments):
        return None
    length = int.from_bytes(arguments[start : start + _WORD], "big")
    if start + _WORD + length > len(arguments):
        return None
    return arguments[start + _WORD : start + _WORD + length]
