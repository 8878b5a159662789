"""Amounts: integers in base units inside, decimal strings on the wire, USD as Decimal; never a float.

Rule: a decimal string with more places than the asset has is refused rather than rounded, so that no unit is lost in
conversion.
"""

import decimal
from decimal import Decimal

from drills.emulator.errors import AmountError

_WIDE = decimal.Context(prec=120)
_CENT = Decimal("0.01")
MAX_TEXT_CHARACTERS = 100


def to_base_units(text: str, decimals: int) -> int:
    """The integer base units of a decimal string; AmountError if negative, not finite, too long or too fine."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise AmountError(f"amount has {len(text)} characters; give at most {MAX_TEXT_CHARACTERS}")
    try:
        value = Decimal(text)
    except decimal.InvalidOperation:
        raise AmountError(f"amount {text!r} is not a decimal number; give for example '1.5'") from None
    if not value.is_finite() or value < 0:
        raise AmountError(f"amount {text!r} must be finite and not negative")
    if value.adjusted() > MAX_TEXT_CHARACTERS:
        raise AmountError(f"amount {text!r} is larger than any asset's supply")
    scaled = value.scaleb(decimals, context=_WIDE)
    whole = int(scaled)
    if whole != scaled:
        raise AmountError(f"amount {text!r} has more than the {decimals} decimal places of the asset")
    return whole


def to_decimal(base_units: int, decimals: int) -> Decimal:
    """The exact decimal value, with all of the asset's places."""
    return Decimal(base_units).scaleb(-decimals, context=_WIDE)


def full_text(base_units: int, decimals: int) -> str:
    """Decimal text with all places, as a co-signer shows it: '0.010000000000000000'."""
    return f"{to_decimal(base_units, decimals):f}"


def short_text(base_units: int, decimals: int) -> str:
    """Decimal text without trailing zeros, as the platform's REST answers show it: '0.01'."""
    text = full_text(base_units, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def usd(base_units: int, decimals: int, price_usd: Decimal) -> Decimal:
    """Value in US dollars rounded half-even to cents."""
    exact = _WIDE.multiply(to_decimal(base_units, decimals), price_usd)
    return exact.quantize(_CENT, context=_WIDE)
