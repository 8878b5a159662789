"""What signers are shown, what the co-signer gives the key to sign, and what comparing the two found."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

import msgspec

from service.domain.activity import MAX_ID_LENGTH, SigningFacts
from service.domain.assets import Asset, Assets

Hex = Annotated[str, msgspec.Meta(max_length=250_000)]
Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]


class RawTx(msgspec.Struct, frozen=True, rename="camel"):
    """One message to sign: the transaction's bytes and the digest that the key gets."""

    raw_tx: Hex = ""
    payload: Hex = ""


class ShownDestination(msgspec.Struct, frozen=True, rename={"amount_native_str": "amountNativeStr",
                                                            "amount_usd": "amountUSD",
                                                            "dst_address_type": "dstAddressType",
                                                            "dst_type": "dstType",
                                                            "display_dst_address": "displayDstAddress"}):  # fmt: skip
    """Who is paid, as signers are shown it."""

    amount_native_str: Id = ""
    amount_usd: Decimal | None = None
    dst_address_type: Id = ""
    dst_type: Id = ""
    display_dst_address: Id = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the signers see of one request."""

    operation: str
    asset_id: str
    destinations: tuple[ShownDestination, ...]
    fee: str | None = None
    """In whole coins."""
    change: tuple[str, ...] = ()
    """Addresses of the source that the connection knows as those its change goes to."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the comparison found."""

    facts: SigningFacts | None
    recipient: str | None
    """The decoded recipient, where it differs from the one shown; of a message, who may act by it."""
    payload_digest: bytes | None
    doubt: str | None


def base_units(text: str | None, asset: Asset) -> int | None:
    """Return an amount of whole coins in base units; None where it is none."""
    try:
        amount = None if text is None else Decimal(text)
    except ArithmeticError:
        return None
    return Assets("fireblocks", {"it": asset}).base_units("it", amount)
