"""From what is about to be signed to the facts that the engine and people read.

Rules: None means that the bytes did not say. A summary is made from the decoded bytes only, never from what was shown. A
call with more parties than are told counts as the worst, as one that is too deep does.
"""

from service.domain.activity import SigningFacts
from service.domain.decode.call import Call, more_parties, parties
from service.domain.decode.calldata import DELEGATECALL, decode_call
from service.domain.decode.eip712 import TypedData
from service.domain.decode.evm import EvmTransaction, decode_transaction, from_hex
from service.domain.decode.governance import METHODS
from service.domain.decode.psbt import Psbt
from service.domain.decode.typed import decode_typed_data
from service.domain.places import spelt


def facts_of(transaction: EvmTransaction, *, display_mismatch: bool | None = None) -> SigningFacts:
    """Return what a decoded EVM transaction says about itself."""
    call = decode_call(transaction.data)
    return SigningFacts(
        delegatecall=call.fact("delegatecall"),
        unlimited_approval=call.fact("unlimited_approval"),
        governance_call=True if transaction.to is None or more_parties(call) else call.fact("governance"),
        display_mismatch=display_mismatch,
        summary=sentence(transaction, call),
        parties=_places(transaction.chain, transaction.to, call),
    )


def facts_of_raw(text: str, *, field: str) -> SigningFacts:
    """Return the facts of a raw transaction in hex. Raises InputError when it cannot be decoded."""
    return facts_of(decode_transaction(from_hex(text, field=field)))


def facts_of_call(*, to: str, operation: int, method: str, data: str, field: str) -> SigningFacts:
    """Return the facts of a call that a platform describes; calldata, where given, speaks louder than the method."""
    lent_to = to.lower() if operation == DELEGATECALL else None
    call = decode_call(from_hex(data, field=field), lent_to) if data else None
    name = method.partition("(")[0].strip()
    shown = call or (Call(name, unknown=True) if name else Call("plain transfer"))
    return SigningFacts(
        delegatecall=True if operation == DELEGATECALL else shown.fact("delegatecall"),
        unlimited_approval=shown.fact("unlimited_approval"),
        governance_call=True if name in METHODS or more_parties(shown) else shown.fact("governance"),
        summary=f"{'delegatecall' if operation == DELEGATECALL else 'call'} to {to}: {shown.sentence()}",
        parties=_places(None, spelt(to), shown),
    )


def facts_of_typed_data(data: TypedData, *, display_mismatch: bool | None = None) -> SigningFacts:
    """Return what a signature on typed data would allow; of a message that is not known nothing is claimed."""
    call = decode_typed_data(data)
    return SigningFacts(
        delegatecall=call.fact("delegatecall"),
        unlimited_approval=call.fact("unlimited_approval"),
        governance_call=True if more_parties(call) else call.fact("governance"),
        display_mismatch=display_mismatch,
        summary=call.sentence(),
        parties=_places(None if data.chain_id is None else f"eip155:{data.chain_id}", None, call),
    )


def facts_of_psbt(psbt: Psbt, *, display_mismatch: bool | None = None) -> SigningFacts:
    """Return what a PSBT says about itself; Bitcoin has no allowances and no owners to change."""
    return SigningFacts(
        delegatecall=False,
        unlimited_approval=False,
        governance_call=False,
        display_mismatch=display_mismatch,
        summary=psbt.sentence(),
        parties=tuple(dict.fromkeys(one.address for one in psbt.outputs if one.address is not None)),
    )


def _places(chain: str | None, to: str | None, call: Call) -> tuple[str, ...]:
    """Return whom a call to `to` is about, as places."""
    named = dict.fromkeys((*((to,) if to else ()), *parties(call)))
    return tuple(named if chain is None else (f"{chain}:{one}" for one in named))


def sentence(transaction: EvmTransaction, call: Call) -> str:
    """Return one plain sentence of what the transaction does."""
    if transaction.to is None:
        return f"creates a contract with {transaction.value} wei"
    value = f" with {transaction.value} wei" if transaction.value or not transaction.data else ""
    return f"{call.sentence()} at {transaction.to}{value}"
