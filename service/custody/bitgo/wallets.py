"""What a BitGo connection says of its wallets and coins.

Rules: an account here is a wallet id. The setting `wallets` names the coin of each one, `{"<wallet id>": "tbtc4"}`: BitGo's
paths need it, and its questions before signing do not tell it. Coins are BitGo's own tickers; the setting `assets` says
what they stand for.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from service.domain import assets
from service.domain.assets import Asset, Assets
from service.domain.errors import InputError

WALLETS: Final = "wallets"
ENTERPRISE: Final = "enterprise"
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_COIN: Final = re.compile(r"[a-z0-9]{1,20}(:[a-z0-9._-]{1,60})?", re.ASCII)
_MOST: Final = 5_000
KNOWN: Final[Mapping[str, Asset]] = {
    "btc": Asset("bip122:000000000019d6689c085ae165831e93/slip44:0", 8),
    "eth": Asset("eip155:1/slip44:60", 18),
}
"""Everything else is told by the connection."""


def read_wallets(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Return the coin of each wallet. Raises InputError naming the setting."""
    try:
        found = msgspec.json.decode(settings.get(WALLETS, "").encode() or b"{}", type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise InputError(f"{WALLETS}: {error}", field=WALLETS) from error
    if len(found) > _MOST:
        raise InputError(f"{WALLETS} names at most {_MOST} wallets", field=WALLETS)
    for wallet, coin in found.items():
        if _ID.fullmatch(wallet) is None or _COIN.fullmatch(coin) is None:
            raise InputError(f"{WALLETS}: ids are 32 hex digits and coins are BitGo's small tickers", field=WALLETS)
    return found


def read_enterprise(settings: Mapping[str, str]) -> str:
    """Return the enterprise's id, empty where none is told. Raises InputError naming the setting."""
    told = settings.get(ENTERPRISE, "")
    if told and _ID.fullmatch(told) is None:
        raise InputError(f"{ENTERPRISE} is 32 hex digits", field=ENTERPRISE)
    return told


def read_assets(settings: Mapping[str, str]) -> Assets:
    """Return the connection's assets. Raises InputError naming the setting."""
    return assets.read_assets("bitgo", KNOWN, settings)
