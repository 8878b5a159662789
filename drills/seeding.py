"""Turns a scenario into the world of an emulator.

That is the body of POST /emulator/seed, without the parts that connect the two sides.
"""

from collections.abc import Mapping
from decimal import Decimal

from drills import addresses
from drills.scenario_form import PlatformTransfer, Scenario, ScenarioAccount

Json = dict[str, object]


def base_units(scenario: Scenario, asset_id: str, amount: str) -> int:
    """Return an amount of the file in base units; the loader has checked that it is whole."""
    return int(Decimal(amount).scaleb(scenario.asset(asset_id).decimals))


def world(scenario: Scenario, accounts: Mapping[str, str], platform: str = "fireblocks") -> Json:
    """Return assets, accounts, destinations, users and chain; `accounts`: CAIP-10 address by account id.

    The caller adds workspace_id, tenant_id, api_users, webhooks, callback, timings and standard_action_secret.
    """
    return {
        "chain_id": scenario.chain_id,
        "workspace_name": scenario.name,
        "assets": [
            {"id": a.id, "caip19": a.caip19, "decimals": a.decimals, "price_usd": a.price_usd, "contract": a.contract}
            for a in scenario.assets
        ],
        "accounts": [_account(scenario, a, accounts[a.id], platform) for a in scenario.accounts],
        "destinations": [*_named(scenario), *_fresh(scenario)],
        "users": [{"id": p.id, "name": p.name, "role": p.platform_role} for p in scenario.people],
    }


def _account(scenario: Scenario, account: ScenarioAccount, address: str, platform: str) -> Json:
    totals: dict[str, int] = {}
    for balance in account.balances:
        totals[balance.asset] = totals.get(balance.asset, 0) + base_units(scenario, balance.asset, balance.amount)
    return {
        "id": account.id,
        "name": account.id,
        "platform": platform,
        "addresses": [address],
        "balances": {asset: str(units) for asset, units in totals.items()},
        "at_risk": account.at_risk,
        "key_stolen": account.key_stolen,
    }


def _named(scenario: Scenario) -> list[Json]:
    known = addresses.of_destinations(scenario)
    return [
        {"address": known[d.id], "kind": d.kind, "name": d.id, "wallet_id": d.id if d.whitelisted else None}
        | ({"usurper": True} if d.usurper else {})
        for d in scenario.destinations
    ]


def _fresh(scenario: Scenario) -> list[Json]:
    found: list[Json] = []
    for number, move in enumerate(scenario.script):
        if isinstance(move, PlatformTransfer) and move.to == "new":
            times = 1 if move.repeat is None else move.repeat.count
            for index in range(times):
                address = addresses.fresh(scenario, number, index)
                found.append({"address": address, "kind": "customer", "name": f"new customer {number}/{index}"})
    return found
