"""From what is about to be signed to the facts that the engine and people read.

Rule: None means that the bytes did not say. A summary is made from the decoded bytes only, never from what was shown.
"""

from service.domain.activity import SigningFacts
from service.domain.decode.calldata import DELEGATECALL, GOVERNANCE_METHODS, Call, decode_call
from service.domain.decode.evm import EvmTransaction, decode_transaction, from_hex


def facts_of(transaction: EvmTransaction, *, display_mismatch: bool | None = None) -> SigningFacts:
    """Return what a decoded EVM transaction says about itself."""
    call = decode_call(transaction.data)
    return SigningFacts(
        delegatecall=call.any("delegatecall"),
        unlimited_approval=call.any("unlimited_approval"),
        governance_call=call.any("governance") or transaction.to is None,
        display_mismatch=display_mismatch,
        summary=sentence(transaction, call),
    )


def facts_of_raw(text: str, *, field: str) -> SigningFacts:
    """Return the facts of a raw transaction in hex. Raises InputError when it cannot be decoded."""
    return facts_of(decode_transaction(from_hex(text, field=field)))


def facts_of_call(*, to: str, operation: int, method: str, data: str, field: str) -> SigningFacts:
    """Return the facts of a call that a platform describes; calldata, where given, speaks louder than the method."""
    call = decode_call(from_hex(data, field=field)) if data else None
    name = method.partition("(")[0].strip()
    shown = call or Call(name or "plain transfer")
    return SigningFacts(
        delegatecall=operation == DELEGATECALL or shown.any("delegatecall"),
        unlimited_approval=None if call is None and name else shown.any("unlimited_approval"),
        governance_call=name in GOVERNANCE_METHODS or shown.any("governance"),
        summary=f"{'delegatecall' if operation == DELEGATECALL else 'call'} to {to}: {shown.sentence()}",
    )


def sentence(transaction: EvmTransaction, call: Call) -> str:
    """Return one plain sentence of what the transaction does."""
    if transaction.to is None:
        return f"creates a contract with {transaction.value} wei"
    value = f" with {transaction.value} wei" if transaction.value or not transaction.data else ""
    return f"{call.sentence()} at {transaction.to}{value}"
