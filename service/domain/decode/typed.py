"""What a signature on EIP-712 typed data allows: permits, Permit2, Safe transactions, told as a call would be.

Rules: a signature can do what a transaction does, later and sent by anybody, so the same facts are drawn from it. A message
is known by its whole type, because a contract goes by the hash of it: one that only resembles a known one
is unknown, and unknown is never harmless.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from service.domain.decode.call import UNLIMITED, Call, units
from service.domain.decode.calldata import DELEGATECALL, GAS_REFUND, decode_call, gas_refund, safe_transaction
from service.domain.decode.eip712 import TypedData, number

UNKNOWN: Final = "unknown message"
Message = Mapping[str, Any]


def decode_typed_data(data: TypedData) -> Call:
    """Return what a signature on the message would allow. Never raises for what `read_typed_data` returned."""
    known = _KNOWN.get(data.encoded_type)
    place = f" at {data.contract}" if data.contract else ""
    if known is None:
        told = f"signs a message of type {data.primary_type}{place} that is not known here"
        return Call(UNKNOWN, told, unknown=True)
    return known(data, place)


def typed_doubt(call: Call) -> str | None:
    """Return why a decoded message cannot be weighed by what it says, if so."""
    if call.name == UNKNOWN:
        return "typed data of a kind that is not known is to be signed"
    if any(inner.name == GAS_REFUND for inner in call.inners):
        return "a Safe's gas refund is to be signed: how much it pays only its execution shows"
    return None


def _permit(data: TypedData, place: str) -> Call:
    told = data.message
    return _allowance("permit", _lower(told["spender"]), number(told["value"]), f" of {_lower(told['owner'])}{place}")


def _permit_dai(data: TypedData, place: str) -> Call:
    told = data.message
    amount = UNLIMITED if told["allowed"] else 0
    return _allowance("permit", _lower(told["spender"]), amount, f" of {_lower(told['holder'])}{place}")


def _permit_single(data: TypedData, place: str) -> Call:
    return _details(data.message["details"], _lower(data.message["spender"]), place)


def _permit_batch(data: TypedData, place: str) -> Call:
    spender = _lower(data.message["spender"])
    parts = tuple(_details(one, spender, place) for one in data.message["details"])
    return Call("permit", f"signs {len(parts)} allowances", spender, inners=parts)


def _permit_transfer(data: TypedData, place: str) -> Call:
    told = data.message
    return _details(told["permitted"], _lower(told["spender"]), place)


def _permit_batch_transfer(data: TypedData, place: str) -> Call:
    spender = _lower(data.message["spender"])
    parts = tuple(_details(one, spender, place) for one in data.message["permitted"])
    return Call("permit", f"signs {len(parts)} allowances", spender, inners=parts)


def _safe(data: TypedData, place: str) -> Call:
    told = data.message
    to, operation = _lower(told["to"]), number(told["operation"])
    if operation > DELEGATECALL:
        return Call("malformed SafeTx", governance=True, unknown=True)
    inner = decode_call(bytes.fromhex(told["data"][2:]), to if operation == DELEGATECALL else None)
    signed = f"signs for the Safe{place} number {number(told['nonce'])}"
    refund = gas_refund(
        number(told["baseGas"]), number(told["gasPrice"]), _lower(told["gasToken"]), _lower(told["refundReceiver"])
    )
    return safe_transaction(signed, to, number(told["value"]), operation, *refund, inner)


def _details(told: Message, spender: str, place: str) -> Call:
    return _allowance("permit", spender, number(told["amount"]), f" of token {_lower(told['token'])}{place}")


def _allowance(name: str, spender: str, amount: int, of: str) -> Call:
    if amount == 0:
        return Call(name, f"signs that {spender} may spend nothing{of}", amount=0)
    told = f"signs that {spender} may spend {units(amount)}{of}"
    return Call(name, told, spender, amount, unlimited_approval=amount >= UNLIMITED)


def _lower(address: object) -> str:
    return str(address).lower()


_DETAILS: Final = "PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)"
_PERMITTED: Final = "TokenPermissions(address token,uint256 amount)"
_KNOWN: Final[Mapping[str, Callable[[TypedData, str], Call]]] = {
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)": _permit,
    "Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)": _permit_dai,
    f"PermitSingle(PermitDetails details,address spender,uint256 sigDeadline){_DETAILS}": _permit_single,
    f"PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline){_DETAILS}": _permit_batch,
    (
        "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)" + _PERMITTED
    ): _permit_transfer,
    (
        "PermitBatchTransferFrom(TokenPermissions[] permitted,address spender,uint256 nonce,uint256 deadline)"
        + _PERMITTED
    ): _permit_batch_transfer,
    (
        "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,"
        "address gasToken,address refundReceiver,uint256 nonce)"
    ): _safe,
}
