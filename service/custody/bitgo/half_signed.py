"""What you see is what you sign, for BitGo: the half-signed transaction beside the outputs that the question tells.

Rules: Bitcoin: a PSBT (BIP-174, what BitGo calls the formats psbt and psbt-lite) or a half-signed transaction in hex (its
format legacy) pays every told output exactly; one that lacks a told output is another payment. An output that nobody told,
a fee that cannot be seen or is large, and a signature that leaves outputs open are doubts. Which outputs are the wallet's
own is BitGo's word. A told amount of a native segwit coin is believed where it is not proven, because BitGo signs every
input of one PSBT and each of those signatures commits to its amount (BIP-143); a legacy transaction tells no amounts.

EVM: a multisig wallet's operation (one recipient, expiry, sequence, `operationHash`) is what its contract hashes:
keccak-256 of ETHER, recipient, wei, data, expiry and sequence, or of ERC20, recipient, amount, token, expiry and sequence,
packed. Hashed to something else, for another chain or a batch, it is a doubt; else it is held against the one told payment.
A transaction in hex is decoded. Chains that are neither are not decoded and weighed as told. Never raises.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from eth_hash.auto import keccak

from service.domain.activity import SigningFacts
from service.domain.bitcoin.network import NETWORK_OF, TEST, Network, address_of, script_of
from service.domain.decode.bitcoin import Output, read_transaction
from service.domain.decode.calldata import decode_call
from service.domain.decode.evm import decode_transaction, from_hex
from service.domain.decode.payment import Payment, fee_doubt, pays, read_payment
from service.domain.decode.psbt import MAGIC, describe_psbt, digest_of
from service.domain.decode.signing import facts_of, facts_of_call, facts_of_psbt
from service.domain.errors import InputError
from service.domain.transactions import payload_digest

_FIELD: Final = "halfSigned"
_BITCOIN: Final = "bip122:"
_EVM: Final = "eip155:"
_SEGWIT: Final = (b"\x00\x14", b"\x00\x20")
_SHOWN: Final = 10
_WORD: Final = 1 << 256

Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
Number = Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,78}\Z")]


@dataclass(frozen=True, slots=True)
class Told:
    """One output as the question tells it; `amount` in base units."""

    address: str
    amount: int
    own: bool
    """Back to the wallet, by BitGo's word."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the bytes said. `recipient`: who is paid instead, where the bytes are another payment."""

    facts: SigningFacts | None = None
    digest: bytes | None = None
    doubt: str | None = None
    recipient: str | None = None


class _Recipient(msgspec.Struct, frozen=True):
    address: Address
    amount: Number
    data: str = ""


class _Operation(msgspec.Struct, frozen=True, rename="camel"):
    """What a multisig wallet's contract is asked to do."""

    recipients: tuple[_Recipient, ...]
    expire_time: Number
    contract_sequence_id: Number
    operation_hash: Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{64}\Z")]
    token_contract_address: Address | None = None


def look(half: str | Mapping[str, object], outputs: Sequence[Told], asset: str | None) -> Seen:
    """Decode a half-signed transaction of `asset` (CAIP-19) and hold it against the outputs that are told."""
    chain = (asset or "").partition("/")[0]
    if chain.startswith(_BITCOIN):
        return _bitcoin(_hex(half), outputs, chain)
    if not chain.startswith(_EVM):
        return Seen()
    paid = [one for one in outputs if not one.own]
    told = read_payment(asset, paid[0].address, paid[0].amount) if len(paid) == 1 else None
    if told is None:
        return Seen(doubt="what the request tells is no one payment that bytes could be held against")
    operation = None if isinstance(half, str) else half.get("txInfo", half)
    if isinstance(operation, Mapping) and "recipients" in operation:
        return _operation(operation, told)
    return _transaction(_hex(half), told)


def _hex(half: str | Mapping[str, object]) -> str:
    found = half if isinstance(half, str) else half.get("txHex")
    return found if isinstance(found, str) else ""


def _bitcoin(text: str, outputs: Sequence[Told], chain: str) -> Seen:
    network = NETWORK_OF.get(chain, TEST)
    try:
        raw = from_hex(text, field=_FIELD)
        psbt = describe_psbt(raw, chain=chain) if raw.startswith(MAGIC) else None
        held: Sequence[Output] = (
            read_transaction(raw, _FIELD, witness=True).outputs
            if psbt is None
            else [Output(one.amount_sats, one.script) for one in psbt.outputs]
        )
    except InputError:
        return Seen(doubt="the half-signed transaction cannot be decoded")
    try:
        told = Counter((script_of(one.address, network), one.amount) for one in outputs)
    except InputError:
        return Seen(doubt="the request tells an address that is none of the wallet's chain")
    lacks, besides = told - _counted(held), _counted(held) - told
    facts = _legacy_facts(held, network) if psbt is None else facts_of_psbt(psbt)
    facts = msgspec.structs.replace(facts, display_mismatch=bool(lacks))
    digest = None if psbt is None else digest_of(psbt)
    if lacks:
        script = max(besides, key=lambda one: one[1], default=(b"", 0))[0]
        return Seen(facts, digest, None, address_of(script, network))
    if besides:
        return Seen(facts, digest, "it pays others besides those that the request tells")
    if psbt is None:
        return Seen(facts, digest, "its fee cannot be seen: choose the wallet's transaction format psbt at BitGo")
    if psbt.open_signatures:
        return Seen(facts, digest, "it asks for a signature that leaves outputs open")
    bound = all(one.proven or (one.script or b"")[:2] in _SEGWIT for one in psbt.inputs)
    return Seen(facts, digest, fee_doubt(psbt.fee_sats if bound else None, sum(one.amount for one in outputs)))


def _counted(outputs: Sequence[Output]) -> "Counter[tuple[bytes, int]]":
    return Counter((one.script, one.amount_sats) for one in outputs)


def _legacy_facts(outputs: Sequence[Output], network: Network) -> SigningFacts:
    shown = [
        f"{o.amount_sats} sat to {address_of(o.script, network) or 'script ' + o.script.hex()[:80]}" for o in outputs
    ]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return SigningFacts(
        delegatecall=False,
        unlimited_approval=False,
        governance_call=False,
        summary=f"pays {', '.join(shown[:_SHOWN])}{more}, fee unknown",
    )


def _operation(fields: Mapping[str, object], told: Payment) -> Seen:
    try:
        operation = msgspec.convert(fields, _Operation)
        data = from_hex(operation.recipients[0].data, field=_FIELD) if operation.recipients else b""
    except (msgspec.ValidationError, InputError):
        return Seen(doubt="the half-signed transaction cannot be decoded")
    if len(operation.recipients) != 1:
        return Seen(doubt="the half-signed transaction pays several recipients at once, or none")
    (paid,) = operation.recipients
    token = None if operation.token_contract_address is None else operation.token_contract_address.lower()
    hashed = _operation_hash(operation, data)
    place, amount = paid.address.lower(), int(paid.amount)
    if token is None:
        facts = facts_of_call(to=place, operation=0, method="", data=data.hex(), field=_FIELD)
        summary = f"{amount} wei, {facts.summary}" if data else f"pays {amount} wei to {place}"
    else:
        facts = SigningFacts(delegatecall=False, unlimited_approval=False, governance_call=False)
        summary = f"pays {amount} of token {token} to {place}"
    if hashed is None or hashed != bytes.fromhex(operation.operation_hash[2:]):
        facts = msgspec.structs.replace(facts, summary=summary)
        return Seen(facts, doubt="what it tells is not what its signature covers, as far as we can compute it")
    same = (place, amount, token, data) == (told.place, told.amount, told.contract, b"")
    facts = msgspec.structs.replace(facts, summary=summary, display_mismatch=not same)
    return Seen(facts, hashed, None, None if same else place)


def _operation_hash(operation: _Operation, data: bytes) -> bytes | None:
    paid, token = operation.recipients[0], operation.token_contract_address
    numbers = [int(paid.amount), int(operation.expire_time), int(operation.contract_sequence_id)]
    if max(numbers) >= _WORD or (token is not None and data):
        return None
    amount, expiry, sequence = (number.to_bytes(32, "big") for number in numbers)
    word, what = (b"ETHER", data) if token is None else (b"ERC20", bytes.fromhex(token[2:]))
    return bytes(keccak(word + bytes.fromhex(paid.address[2:]) + amount + what + expiry + sequence))


def _transaction(text: str, told: Payment) -> Seen:
    try:
        transaction = decode_transaction(from_hex(text, field=_FIELD))
    except InputError:
        return Seen(doubt="the half-signed transaction cannot be decoded")
    digest, same = payload_digest(transaction), pays(transaction, told)
    call = decode_call(transaction.data)
    if not same and transaction.data and call.name != "transfer":
        return Seen(facts_of(transaction), digest, "it calls a contract, and a payment is told")
    recipient = call.recipient if call.name == "transfer" else transaction.to
    return Seen(facts_of(transaction, display_mismatch=not same), digest, None, None if same else recipient)
