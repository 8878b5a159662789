"""Vault accounts, their assets and addresses, in the platform's shapes."""

import secrets
from urllib.parse import quote

import msgspec

from drills.emulator import evm
from drills.emulator.emulator import Running
from drills.emulator.errors import FieldError
from drills.emulator.records import Account
from drills.emulator.reply import Call, Reply, ok
from drills.emulator.wire import Json, vault_account, vault_asset

PAGE = 500


class NewAccount(msgspec.Struct, frozen=True):
    """CreateVaultAccountRequest, as far as it has an effect here."""

    name: str = ""
    hidden: bool = msgspec.field(name="hiddenOnUI", default=False)


def list_accounts(running: Running, call: Call) -> Reply:
    """GET /vault/accounts_paged: filtered by name and asset, `after` is the last id of the page before."""
    prefix, suffix, asset = (call.query.get(k, "") for k in ("namePrefix", "nameSuffix", "assetId"))
    accounts = [
        a
        for a in running.world.ledger.accounts.values()
        if a.name.startswith(prefix) and a.name.endswith(suffix) and (not asset or asset in a.assets)
    ]
    limit = max(1, call.number("limit", PAGE, PAGE))
    start = _after(accounts, call.query.get("after"))
    page = accounts[start : start + limit]
    more = start + limit < len(accounts)
    paging: Json = {"after": page[-1].id} if more else {}
    body: Json = {"accounts": [vault_account(running.world, a) for a in page], "paging": paging}
    if more:
        body["nextUrl"] = f"{call.base_url}/v1/vault/accounts_paged?limit={limit}&after={quote(page[-1].id)}"
    return ok(body)


def _after(accounts: list[Account], cursor: str | None) -> int:
    if cursor is None:
        return 0
    ids = [a.id for a in accounts]
    if cursor not in ids:
        raise FieldError("after: this cursor is not known; start again without it")
    return ids.index(cursor) + 1


def get_account(running: Running, call: Call) -> Reply:
    """GET /vault/accounts/{vaultAccountId}."""
    return ok(vault_account(running.world, running.world.ledger.account(call.path["account"])))


def create_account(running: Running, call: Call) -> Reply:
    """POST /vault/accounts: an account with an address whose key only the platform has."""
    wanted = call.read(NewAccount)
    numbers = [int(a) for a in running.world.ledger.accounts if a.isascii() and a.isdigit()]
    address = evm.to_caip10("0x" + secrets.token_hex(evm.ADDRESS_BYTES), running.world.chain.chain_id)
    account_id = str(max(numbers, default=-1) + 1)
    account = Account(account_id, wanted.name or f"account {account_id}", "fireblocks", [address], [])
    account.hidden = wanted.hidden
    running.world.ledger.add_account(account)
    return ok(vault_account(running.world, account))


def get_asset(running: Running, call: Call) -> Reply:
    """GET /vault/accounts/{vaultAccountId}/{assetId}."""
    account = running.world.ledger.account(call.path["account"])
    return ok(vault_asset(running.world, account, call.path["asset"]))


def create_asset(running: Running, call: Call) -> Reply:
    """POST /vault/accounts/{vaultAccountId}/{assetId}: activate an asset; activating twice is harmless."""
    account = running.world.ledger.account(call.path["account"])
    asset = running.world.ledger.asset(call.path["asset"])
    if asset.id not in account.assets:
        account.assets.append(asset.id)
    address = evm.checksum_address(evm.from_caip10(account.addresses[0]))
    return ok({"id": account.id, "address": address, "legacyAddress": "", "tag": "", "status": "READY"})


def list_addresses(running: Running, call: Call) -> Reply:
    """GET /vault/accounts/{vaultAccountId}/{assetId}/addresses_paginated."""
    account = running.world.ledger.account(call.path["account"])
    asset = running.world.ledger.asset(call.path["asset"])
    found: list[Json] = [
        {
            "assetId": asset.id,
            "address": evm.checksum_address(evm.from_caip10(address)),
            "description": "",
            "tag": "",
            "type": "Permanent" if index == 0 else "Deposit",
            "addressFormat": "BASE",
            "bip44AddressIndex": index,
            "userDefined": False,
        }
        for index, address in enumerate(account.addresses)
    ]
    return ok({"addresses": found, "paging": {}})


def hide(running: Running, call: Call) -> Reply:
    """POST /vault/accounts/{vaultAccountId}/hide: cosmetic, not a lock."""
    running.world.ledger.account(call.path["account"]).hidden = True
    return Reply(201, {"success": True})


def unhide(running: Running, call: Call) -> Reply:
    """POST /vault/accounts/{vaultAccountId}/unhide."""
    running.world.ledger.account(call.path["account"]).hidden = False
    return Reply(201, {"success": True})


def list_supported_assets(running: Running, _call: Call) -> Reply:
    """GET /supported_assets."""
    native = running.world.chain.native_asset_id
    return ok(
        [
            {
                "id": a.id,
                "name": a.id,
                "type": "BASE_ASSET" if a.contract is None else "ERC20",
                "contractAddress": "" if a.contract is None else evm.checksum_address(a.contract),
                "nativeAsset": native,
                "decimals": a.decimals,
            }
            for a in running.world.ledger.assets.values()
        ]
    )
