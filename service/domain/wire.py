"""Our own wire schema of an activity (docs/concepts/activity.md), from JSON bytes to an `Activity`.

Rules:

- The caller has verified the bytes; nothing here is called on unverified input.
- A missing or malformed field is an `InputError` that names it (`data.amount_base_units`). Unknown fields are kept with
  the raw body and never an error.
- A destination is kept in one spelling (`places`), as a hold and a baseline of it are: a sender's way of writing it
  changes nothing.
- An id from outside never begins as the event ids of gate questions do: it could take a later question's place.
- The bytes of a withdrawal that is asked about are held against what is told of it: another payment is a mismatch, what
  cannot be compared is a doubt.
- Amounts are decimal strings and stay exact; base units fit a word of the EVM (2^256 - 1), more is no amount.
- Ids and texts have at most 200 characters; NUL is refused, because PostgreSQL cannot store it. A time needs a zone
  (RFC 3339) and lies between 2009 and 2100.
"""

import base64
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Final, NamedTuple

import msgspec

from service.domain.activity import DESTINATION_KINDS, KINDS, MAX_ID_LENGTH, Activity, Family, SigningFacts
from service.domain.decode.eip712 import read_typed_data
from service.domain.decode.evm import EvmTransaction, decode_transaction, from_hex
from service.domain.decode.payment import pays, psbt_doubt, psbt_pays, read_payment
from service.domain.decode.psbt import Psbt, describe_psbt, digest_of
from service.domain.decode.signing import facts_of, facts_of_call, facts_of_psbt, facts_of_raw, facts_of_typed_data
from service.domain.decode.typed import decode_typed_data, typed_doubt
from service.domain.errors import InputError
from service.domain.evm import MAX_UNITS
from service.domain.ids import ConnectionId
from service.domain.intake import GATE_PREFIX
from service.domain.places import spelt
from service.domain.transactions import call_digest, payload_digest

MAX_BODY_BYTES: Final = 256 * 1024
"""Longest body or line that intake reads."""
EARLIEST: Final = datetime(2009, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]
Amount = Annotated[str, msgspec.Meta(max_length=78)]
"""Looked at in `_check`: a pattern here would cost as much as all the rest of decoding."""
_WITHDRAWAL: Final = f"{Family.WITHDRAWAL.value}."
_SIGNING: Final = f"{Family.SIGNING.value}."
_NULL: Final = msgspec.Raw(b"null")
HexText = Annotated[str, msgspec.Meta(max_length=MAX_BODY_BYTES)]


class ContractCall(msgspec.Struct, frozen=True):
    """What is to be signed, where the platform shows the call instead of the bytes."""

    to: Id
    operation: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0
    """0 call, 1 delegatecall, as Safe numbers them."""
    method: Text = ""
    data: HexText = ""


class WireData(msgspec.Struct, frozen=True):
    """The `data` object; which fields are required depends on the type."""

    account: Id | None = None
    actor: Id | None = None
    transaction: Id | None = None
    asset: Id | None = None
    amount_base_units: Amount | None = None
    amount_usd: Amount | None = None
    balance_usd: Amount | None = None
    destination: Id | None = None
    destination_kind: Text | None = None
    ip: Text | None = None
    country: Text | None = None
    asn: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None
    device: Text | None = None
    session: Text | None = None
    user_agent: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    raw_transaction: HexText | None = None
    contract_call: ContractCall | None = None
    typed_data: msgspec.Raw = _NULL
    """An EIP-712 message as wallets sign it."""
    psbt: HexText | None = None
    """Base64 (BIP-174)."""


class Decoded(NamedTuple):
    """What the gate needs of the bytes: a digest of what they would do, and why they are held whatever they score."""

    payload_digest: bytes | None = None
    doubt: str | None = None
    signing: SigningFacts | None = None
    """Of a withdrawal: what its bytes do, and whether that is what is told."""


class WireActivity(msgspec.Struct, frozen=True):
    """One activity as a platform sends it. `id` and `deadline_ms` belong to batch lines and gate questions."""

    type: Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]
    timestamp: datetime
    data: WireData
    id: Id | None = None
    deadline_ms: Annotated[int, msgspec.Meta(ge=1, le=600_000)] | None = None


_REQUIRED_OF: Final = {
    Family.WITHDRAWAL: ("account", "transaction", "asset", "amount_base_units", "destination"),
    Family.DEPOSIT: ("account", "asset", "amount_base_units"),
    Family.SIGNING: ("account", "transaction"),
    Family.ACCESS: ("actor",),
    Family.GOVERNANCE: ("actor",),
}
_REQUIRED: Final = {kind: _REQUIRED_OF[Family(kind.partition(".")[0])] for kind in KINDS}
_MOST_DIGITS: Final = 78
_is_usd: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?").fullmatch
_DIGITS: Final = len(str(MAX_UNITS))
_TOLD: Final = {kind: attrgetter(*fields, fields[0]) for kind, fields in _REQUIRED.items()}
"""All required fields at once, as a tuple, which of a single name would be none."""
_DECODER: Final = msgspec.json.Decoder(WireActivity)
_TEXTS: Final = tuple(
    name
    for name in WireData.__struct_fields__
    if name not in {"asn", "contract_call", "raw_transaction", "typed_data", "psbt"}
)


def parse_wire(body: bytes) -> WireActivity:
    """Read one JSON object. Raises InputError naming the field."""
    try:
        wire = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        field = _field_of(str(error))
        raise InputError(f"{field}: {_problem_of(str(error))}", field=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("the body is not a JSON object in UTF-8", field="body") from error
    _check(wire)
    # JSON has no other way to write it, so that the texts need not be searched one by one.
    if b"\\u0000" in body:
        _refuse_nul(wire)
    return wire


def to_activity(wire: WireActivity, connection: ConnectionId, event_id: str) -> Activity:
    """Return the activity that a checked wire object describes."""
    data = wire.data
    return Activity(
        connection=connection,
        event_id=event_id,
        kind=wire.type,
        occurred_at=wire.timestamp.astimezone(UTC),
        account=data.account,
        actor=data.actor,
        transaction=data.transaction,
        asset=data.asset,
        amount_base_units=None if data.amount_base_units is None else int(data.amount_base_units),
        amount_usd=None if data.amount_usd is None else Decimal(data.amount_usd),
        balance_usd=None if data.balance_usd is None else Decimal(data.balance_usd),
        destination=None if data.destination is None else spelt(data.destination),
        destination_kind=data.destination_kind,
        ip=data.ip,
        country=data.country,
        asn=data.asn,
        device=data.device,
        session=data.session,
        user_agent=data.user_agent,
        signing=_signing(data) if wire.type.startswith(_SIGNING) else None,
    )


def decoded(wire: WireActivity) -> Decoded:
    """Return what can be said of the bytes that the activity shows, if it shows any. Raises InputError."""
    shown = _shown(wire.data)
    if not shown:
        return Decoded()
    found = _held_against(wire) if wire.type.startswith(_WITHDRAWAL) else _of_bytes(wire.data)
    if len(shown) > 1:
        return found._replace(doubt=f"{' and '.join(shown)} are told at once, and one can be signed")
    if not wire.type.startswith((_WITHDRAWAL, _SIGNING)):
        return found._replace(doubt="bytes are to be signed by an activity that signs nothing")
    return found


def _shown(data: WireData) -> list[str]:
    told = {
        "raw_transaction": data.raw_transaction is not None,
        "contract_call": data.contract_call is not None,
        "typed_data": data.typed_data != _NULL,
        "psbt": data.psbt is not None,
    }
    return [name for name, there in told.items() if there]


def _of_bytes(data: WireData) -> Decoded:
    if data.raw_transaction is not None:
        return Decoded(payload_digest(_transaction(data)))
    if data.typed_data != _NULL:
        message = read_typed_data(bytes(data.typed_data))
        return Decoded(message.digest, typed_doubt(decode_typed_data(message)))
    if data.psbt is not None:
        psbt = _psbt(data)
        return Decoded(digest_of(psbt), "its signatures leave outputs or inputs open" if psbt.open_signatures else None)
    call = data.contract_call
    if call is None:
        return Decoded()
    return Decoded(call_digest(to=call.to, operation=call.operation, method=call.method, data=call.data))


def _held_against(wire: WireActivity) -> Decoded:
    """Compare a withdrawal's bytes with what is told of it."""
    data, found = wire.data, _of_bytes(wire.data)
    units = None if data.amount_base_units is None else int(data.amount_base_units)
    told = read_payment(data.asset, data.destination, units)
    if told is None or (data.raw_transaction is None and data.psbt is None):
        doubt = found.doubt or "what is told of the withdrawal cannot be compared with what is to be signed"
        return found._replace(doubt=doubt, signing=_signing(data))
    if data.raw_transaction is not None:
        transaction = _transaction(data)
        return found._replace(signing=facts_of(transaction, display_mismatch=not pays(transaction, told)))
    psbt = _psbt(data)
    signing = facts_of_psbt(psbt, display_mismatch=not psbt_pays(psbt, told))
    return found._replace(doubt=found.doubt or psbt_doubt(psbt, told), signing=signing)


def _transaction(data: WireData) -> EvmTransaction:
    return decode_transaction(from_hex(data.raw_transaction or "", field="data.raw_transaction"))


def check_event_id(event_id: str, field: str) -> str:
    """Return the id if it can be one. Raises InputError."""
    if not 0 < len(event_id) <= MAX_ID_LENGTH or not event_id.isprintable():
        raise InputError(f"{field} must be 1 to {MAX_ID_LENGTH} printable characters", field=field)
    if event_id.startswith(GATE_PREFIX):
        raise InputError(f"{field} must not begin with {GATE_PREFIX}, which marks our own questions", field=field)
    return event_id


def _signing(data: WireData) -> SigningFacts:
    if data.raw_transaction is not None:
        return facts_of_raw(data.raw_transaction, field="data.raw_transaction")
    if data.typed_data != _NULL:
        return facts_of_typed_data(read_typed_data(bytes(data.typed_data)))
    if data.psbt is not None:
        return facts_of_psbt(_psbt(data))
    call = data.contract_call
    if call is None:
        raise InputError(
            "data.raw_transaction, data.contract_call, data.typed_data or data.psbt is required",
            field="data.raw_transaction",
        )
    return facts_of_call(
        to=call.to, operation=call.operation, method=call.method, data=call.data, field="data.contract_call.data"
    )


def _psbt(data: WireData) -> Psbt:
    try:
        raw = base64.b64decode(data.psbt or "", validate=True)
    except ValueError as error:
        raise InputError("data.psbt is not base64", field="data.psbt") from error
    return describe_psbt(raw, chain=(data.asset or "").partition("/")[0])


def _check(wire: WireActivity) -> None:
    required = _REQUIRED.get(wire.type)
    if required is None:
        raise InputError(f"type {json.dumps(wire.type)} is not one that docs/concepts/activity.md lists", field="type")
    if wire.timestamp.tzinfo is None:
        raise InputError("timestamp must name its zone, for example 2020-09-25T18:51:00Z", field="timestamp")
    if not EARLIEST <= wire.timestamp <= LATEST:
        raise InputError("timestamp must lie between 2009 and 2100", field="timestamp")
    if None in _TOLD[wire.type](wire.data):
        missing = next(name for name in required if getattr(wire.data, name) is None)
        raise InputError(f"data.{missing} is required for {wire.type}", field=f"data.{missing}")
    _check_amounts(wire.data)
    kind = wire.data.destination_kind
    if kind is not None and kind not in DESTINATION_KINDS:
        raise InputError(
            f"data.destination_kind must be one of {', '.join(sorted(DESTINATION_KINDS))}",
            field="data.destination_kind",
        )


def _check_amounts(data: WireData) -> None:
    units, usd, balance = data.amount_base_units, data.amount_usd, data.balance_usd
    if units is not None:
        if not (units.isdecimal() and units.isascii() and len(units) <= _MOST_DIGITS):
            raise InputError("data.amount_base_units must be 1 to 78 digits", field="data.amount_base_units")
        if len(units) >= _DIGITS and int(units) > MAX_UNITS:
            raise InputError("data.amount_base_units is over 2^256 - 1", field="data.amount_base_units")
    if not ((usd is None or _is_usd(usd)) and (balance is None or _is_usd(balance))):
        name = "balance_usd" if usd is None or _is_usd(usd) else "amount_usd"
        field = f"data.{name}"
        raise InputError(f"{field} must be a decimal number, 18 digits at most on each side of the point", field=field)


def _refuse_nul(wire: WireActivity) -> None:
    for name in _TEXTS:
        if "\0" in (getattr(wire.data, name) or ""):
            raise InputError(f"data.{name} must not contain a NUL character", field=f"data.{name}")


def _field_of(message: str) -> str:
    """Return the field that a msgspec message names: `… - at `$.data.account`` or ``missing required field `type` ``."""
    path = message.rpartition("`$")[2].rstrip("`").lstrip(".") if "`$" in message else ""
    if message.startswith("Object missing required field `"):
        missing = message.split("`")[1]
        return f"{path}.{missing}" if path else missing
    return path or "body"


def _problem_of(message: str) -> str:
    problem = message.partition(" - at `$")[0]
    return "is required" if problem.startswith("Object missing") else problem
