"""The bytes to be signed beside the one payment that is told: the same comparison for every platform.

Rules: a native transfer goes to the told address with the told amount and no calldata, on the asset's chain; a token
transfer is exactly `transfer(told address, told amount)` at the asset's contract (ERC-20); of a PSBT (BIP-174) the
outputs to the told address add up to the told amount. Anything else is another payment. What a PSBT pays besides is
compared only where it goes back to the one script that every input spends: any other output may be change or theft, the
bytes do not say. A fee that is not proven, or large, is not taken as told either.
"""

import re
from dataclasses import dataclass
from typing import Final

from service.domain.bitcoin.network import network_of, script_of
from service.domain.decode.calldata import decode_call
from service.domain.decode.evm import EvmTransaction
from service.domain.decode.psbt import Psbt
from service.domain.errors import InputError

_ASSET: Final = re.compile(r"([-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32})/(slip44|erc20):([-.%a-zA-Z0-9]{1,128})")
_EVM_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")
_EVM: Final = "eip155:"
_BITCOIN: Final = "bip122:"
_FEE_SHARE: Final = 10
_SMALL_FEE_SATS: Final = 50_000
"""A fee up to this, or up to a tenth of what is paid, needs no words."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as it is told. `amount` in base units; EVM addresses lower-case 0x hex."""

    chain: str
    """CAIP-2."""
    contract: str | None
    """The ERC-20 contract; None for the chain's own coin."""
    place: str
    amount: int


def read_payment(asset: str | None, destination: str | None, amount: int | None) -> Payment | None:
    """Return what is told by CAIP-19, an address or CAIP-10, and base units; None where bytes cannot be held against it."""
    found = _ASSET.fullmatch(asset or "")
    if found is None or destination is None or amount is None:
        return None
    chain, kind, reference = found.groups()
    place = destination.removeprefix(f"{chain}:")
    if chain.startswith(_EVM):
        contract = reference.lower() if kind == "erc20" else None
        told = Payment(chain, contract, place.lower(), amount)
        readable = all(_EVM_ADDRESS.fullmatch(one) for one in (told.place, contract or told.place))
        return told if readable else None
    told = Payment(chain, None, place, amount)
    return told if kind == "slip44" and _script(told) is not None else None


def pays(transaction: EvmTransaction, told: Payment) -> bool:
    """Say whether a transaction is exactly the payment that is told."""
    if transaction.chain != told.chain:
        return False
    if told.contract is None:
        return transaction.to == told.place and transaction.value == told.amount and not transaction.data
    call = decode_call(transaction.data)
    exact = call.name == "transfer" and call.recipient == told.place and call.amount == told.amount
    return exact and transaction.to == told.contract and transaction.value == 0


def psbt_pays(psbt: Psbt, told: Payment) -> bool:
    """Say whether a PSBT pays the told address the told amount; `psbt_doubt` says what it may do besides."""
    script = _script(told)
    return script is not None and sum(one.amount_sats for one in psbt.outputs if one.script == script) == told.amount


def psbt_doubt(psbt: Psbt, told: Payment) -> str | None:
    """Return what a PSBT does besides the told payment that nobody can compare, if anything."""
    spent = {one.script for one in psbt.inputs}
    besides = {one.script for one in psbt.outputs} - {_script(told)}
    if besides and (len(spent) != 1 or besides != spent):
        return "it pays others besides, which may be change or not"
    return fee_doubt(psbt.fee_sats if psbt.fee_proven else None, told.amount)


def fee_doubt(fee_sats: int | None, amount_sats: int) -> str | None:
    """Return why a fee (None where it is not proven) is not taken as told beside what is paid, if so."""
    if fee_sats is None:
        return "its fee is not proven"
    if fee_sats > max(_SMALL_FEE_SATS, amount_sats // _FEE_SHARE):
        return "its fee is large beside what it pays"
    return None


def _script(told: Payment) -> bytes | None:
    if not told.chain.startswith(_BITCOIN):
        return None
    try:
        return script_of(told.place, network_of(told.chain))
    except InputError:
        return None
