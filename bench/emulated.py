"""What the emulated platform is told at its start where accounts are all alike and the caller sends the webhooks."""

from collections.abc import Sequence
from typing import Final

ETH: Final = "eip155:1/slip44:60"
BALANCE_WEI: Final = 1000 * 10**18
_FIRST_ADDRESS: Final = 0xA0


def emulated_world(refs: Sequence[str], workspace_id: str, tenant_id: str, action_secret: str) -> dict[str, object]:
    """Return the emulator's seed (`drills/emulator/settings.py`): one account of 1,000 ether for each reference."""
    accounts = [
        {
            "id": ref,
            "name": ref,
            "addresses": [f"eip155:1:0x{number:040x}"],
            "balances": {"ETH": str(BALANCE_WEI)},
            "platform": "standard",
        }
        for number, ref in enumerate(refs, _FIRST_ADDRESS)
    ]
    return {
        "workspace_id": workspace_id,
        "tenant_id": tenant_id,
        "assets": [{"id": "ETH", "caip19": ETH, "decimals": 18, "price_usd": "350.00"}],
        "accounts": accounts,
        "users": [{"id": "signer", "name": "Signer"}],
        "standard_action_secret": action_secret,
    }
