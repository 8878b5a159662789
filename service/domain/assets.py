"""A platform's own asset ids as CAIP-19, with their decimals.

Rules: an asset that is not known keeps its platform id as `<platform>:<id>`, has no decimals and no chain: an amount in
base units is then unknown, never guessed. A connection's setting `assets` adds to and overrides what its platform knows:
`{"ETH": {"caip19": "eip155:1/slip44:60", "decimals": 18}}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Annotated, Final

import msgspec

from service.domain.errors import InputError
from service.domain.evm import MAX_UNITS
from service.domain.places import spelt

ASSETS_SETTING: Final = "assets"
_EVM: Final = "eip155:"
_MAX_DIGITS: Final = 78
_MAX_ID: Final = 180
_EXACT: Final = Context(prec=_MAX_DIGITS)
"""Keeps every digit that PostgreSQL's numeric(78, 0) keeps; the default context would round after 28."""


def spelt_once(assets: Sequence[str]) -> tuple[str, ...]:
    """Return CAIP-19 ids as an account keeps them: EVM contracts in lower case (EIP-55 is a checksum), each id once."""
    return tuple(dict.fromkeys(one.lower() if one.startswith(_EVM) else one for one in assets))


class Asset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an asset id stands for."""

    caip19: Annotated[
        str, msgspec.Meta(pattern=r"^[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}/[-a-z0-9]{3,8}:[-.%a-zA-Z0-9]{1,128}\Z")
    ]
    decimals: Annotated[int, msgspec.Meta(ge=0, le=36)]

    @property
    def chain(self) -> str:
        """CAIP-2 id of its chain."""
        return self.caip19.partition("/")[0]

    @property
    def contract(self) -> str | None:
        """The ERC-20 contract, lower-case 0x hex; None for a native coin."""
        kind, _, reference = self.caip19.partition("/")[2].partition(":")
        return reference.lower() if kind == "erc20" else None


@dataclass(frozen=True, slots=True)
class Assets:
    """The assets of one connection."""

    platform: str
    table: Mapping[str, Asset]
    own: frozenset[str] = frozenset()
    """The ids that the connection itself named."""

    def on(self, chain: str) -> tuple[str, ...]:
        """Return the ids that a new address of this CAIP-2 chain is for: its native coin and the connection's own."""
        here = {name for name, asset in self.table.items() if asset.chain == chain}
        coins = {name for name in here if self.table[name].caip19.partition("/")[2].startswith("slip44:")}
        return (*sorted(coins & self.own or coins), *sorted((here & self.own) - coins))

    def name(self, asset_id: str | None) -> str | None:
        """Return the CAIP-19 id, or `<platform>:<id>` for an asset that nobody described."""
        if not asset_id:
            return None
        known = self.table.get(asset_id)
        return f"{self.platform}:{asset_id[:_MAX_ID]}" if known is None else known.caip19

    def base_units(self, asset_id: str | None, amount: Decimal | None) -> int | None:
        """Return an amount in base units; None when it is unknown, negative, over 2^256 - 1 or not a whole number."""
        known = self.table.get(asset_id or "")
        if known is None or amount is None or not amount.is_finite() or amount < 0:
            return None
        if amount == 0:
            return 0
        if not 0 <= amount.adjusted() + known.decimals < _MAX_DIGITS or len(amount.as_tuple().digits) > _MAX_DIGITS:
            return None
        units = _EXACT.scaleb(amount, known.decimals)
        return int(units) if units == units.to_integral_value() and units <= MAX_UNITS else None

    def place(self, asset_id: str | None, address: str | None) -> str | None:
        """Return where an address of this asset's chain is, as CAIP-10 where the chain is known."""
        if not address:
            return None
        known = self.table.get(asset_id or "")
        plain = spelt(address.lower() if address[:2] in {"0x", "0X"} else address)
        return plain if known is None else f"{known.chain}:{plain}"


def read_assets(platform: str, known: Mapping[str, Asset], settings: Mapping[str, str]) -> Assets:
    """Return a connection's assets beside those that its platform knows. Raises InputError naming the setting."""
    text = settings.get(ASSETS_SETTING, "")
    if not text:
        return Assets(platform, known)
    try:
        own = msgspec.json.decode(text.encode(), type=dict[str, Asset])
    except msgspec.MsgspecError as error:
        raise InputError(f"{ASSETS_SETTING}: {error}", field=ASSETS_SETTING) from error
    return Assets(platform, {**known, **own}, frozenset(own))
