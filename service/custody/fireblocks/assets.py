"""The assets that most Fireblocks workspaces hold, by Fireblocks' own ids."""

from collections.abc import Mapping
from typing import Final

from service.domain import assets
from service.domain.assets import Asset, Assets

KNOWN: Final[Mapping[str, Asset]] = {
    "BTC": Asset("bip122:000000000019d6689c085ae165831e93/slip44:0", 8),
    "ETH": Asset("eip155:1/slip44:60", 18),
    "ETH_TEST5": Asset("eip155:11155111/slip44:60", 18),
    "USDC": Asset("eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", 6),
    "USDT_ERC20": Asset("eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7", 6),
    "DAI": Asset("eip155:1/erc20:0x6b175474e89094c44da98b954eedeac495271d0f", 18),
    "WETH": Asset("eip155:1/erc20:0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2", 18),
}
"""The assets that most workspaces hold; everything else is told by the connection."""


def read_assets(settings: Mapping[str, str]) -> Assets:
    """Return the connection's assets. Raises InputError naming the setting."""
    return assets.read_assets("fireblocks", KNOWN, settings)
