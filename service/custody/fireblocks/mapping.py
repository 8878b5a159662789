"""Fireblocks' TransactionDetails as our activities.

Rules: a status says how far a transfer is; one we do not know counts as requested, the least that can be said. What
Fireblocks does not tell (an address before it is resolved, decimals of an unknown asset) stays untold. Transfers into a
vault account from outside count once they are completed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Annotated, Final

import msgspec

from service.domain.activity import MAX_ID_LENGTH, Activity, SigningFacts
from service.domain.assets import Assets
from service.domain.decode.signing import facts_of_call
from service.domain.errors import InputError
from service.domain.ids import ConnectionId

VAULT: Final = "VAULT_ACCOUNT"
MAX_USD: Final = Decimal(10) ** 18
_USD_DIGITS: Final = 18
_FINEST: Final = Decimal(1).scaleb(-_USD_DIGITS)
_USD: Final = Context(prec=40)
MILLISECONDS_FROM: Final = 100_000_000_000
"""A stamp above this is in milliseconds, one below in seconds."""
_LATEST_MS: Final = 4_102_444_800_000

STATES: Final[Mapping[str, str]] = {
    "SUBMITTED": "requested",
    "PENDING_AML_SCREENING": "requested",
    "PENDING_ENRICHMENT": "requested",
    "PENDING_AUTHORIZATION": "requested",
    "QUEUED": "requested",
    "PENDING_SIGNATURE": "approved",
    "PENDING_3RD_PARTY_MANUAL_APPROVAL": "approved",
    "PENDING_3RD_PARTY": "approved",
    "BROADCASTING": "signed",
    "CONFIRMING": "broadcast",
    "COMPLETED": "confirmed",
    "CANCELLED": "cancelled",
    "REJECTED": "cancelled",
    "BLOCKED": "cancelled",
    "FAILED": "failed",
    "TIMEOUT": "failed",
}
_KINDS: Final = {
    "VAULT_ACCOUNT": "internal",
    "INTERNAL_WALLET": "internal",
    "CONTRACT": "contract",
    "EXTERNAL_WALLET": "whitelisted",
    "EXCHANGE_ACCOUNT": "whitelisted",
    "FIAT_ACCOUNT": "whitelisted",
    "NETWORK_CONNECTION": "whitelisted",
    "ONE_TIME_ADDRESS": "one_time",
}

Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]
Long = Annotated[str, msgspec.Meta(max_length=200_000)]


class Peer(msgspec.Struct, frozen=True):
    """Source or destination."""

    type: Id = ""
    id: Id | None = None


class AmountInfo(msgspec.Struct, frozen=True, rename={"amount_usd": "amountUSD"}):
    """Amounts in whole units."""

    amount: Decimal | None = None
    amount_usd: Decimal | None = None


class ExtraParameters(msgspec.Struct, frozen=True, rename="camel"):
    """What a contract call carries."""

    contract_call_data: Long | None = None


class TransactionDetails(msgspec.Struct, frozen=True, rename="camel"):
    """The part of TransactionDetails that an activity is made of."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    status: Id
    asset_id: Id | None = None
    source: Peer = Peer()
    destination: Peer = Peer()
    amount_info: AmountInfo = AmountInfo()
    destination_address: Id | None = None
    address_type: Id | None = None
    created_by: Id | None = None
    extra_parameters: ExtraParameters | None = None


def transaction_activity(
    details: TransactionDetails, assets: Assets, connection: ConnectionId, event_id: str, occurred_at: datetime
) -> Activity | None:
    """Return the activity of a transaction event; None for an incoming transfer that is not complete."""
    outgoing = details.source.type == VAULT
    state = STATES.get(details.status, "requested")
    if not outgoing and (details.destination.type != VAULT or state != "confirmed"):
        return None
    account = details.source.id if outgoing else details.destination.id
    return Activity(
        connection=connection,
        event_id=event_id,
        kind=f"withdrawal.{state}" if outgoing else "deposit.confirmed",
        occurred_at=occurred_at,
        account=account or None,
        actor=(details.created_by or None) if outgoing else None,
        transaction=details.id,
        asset=assets.name(details.asset_id),
        amount_base_units=assets.base_units(details.asset_id, details.amount_info.amount),
        amount_usd=dollars(details.amount_info.amount_usd),
        destination=assets.place(details.asset_id, details.destination_address) if outgoing else None,
        destination_kind=destination_kind(details.destination.type, details.address_type) if outgoing else None,
        signing=_signing(details) if outgoing else None,
    )


def destination_kind(peer_type: str, address_type: str | None) -> str | None:
    """Return our word for where funds go; the address type speaks louder than the peer's."""
    told = {"WHITELISTED": "whitelisted", "ONE_TIME": "one_time"}.get(address_type or "")
    found = _KINDS.get(peer_type)
    return found if found in {"internal", "contract"} else told or found


def dollars(value: Decimal | None) -> Decimal | None:
    """Return a USD amount that can be stored, rounded to 10^-18, or None: negative and absurd ones are untold."""
    if value is None or not value.is_finite() or not 0 <= value < MAX_USD:
        return None
    return value if int(value.as_tuple().exponent) >= -_USD_DIGITS else value.quantize(_FINEST, context=_USD)


def moment(stamp: int, field: str) -> datetime:
    """Return the time of a stamp in seconds or milliseconds: the documentation says one, the platform sends the other."""
    milliseconds = stamp if stamp > MILLISECONDS_FROM else stamp * 1000
    if not 0 < milliseconds < _LATEST_MS:
        raise InputError(f"{field} is not a time between 1970 and 2100", field=field)
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _signing(details: TransactionDetails) -> SigningFacts | None:
    data = details.extra_parameters.contract_call_data if details.extra_parameters is not None else None
    if not data:
        return None
    field = "data.extraParameters.contractCallData"
    return facts_of_call(to=details.destination_address or "", operation=0, method="", data=data, field=field)
