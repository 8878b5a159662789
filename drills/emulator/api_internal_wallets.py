"""Internal wallets: addresses of the workspace's own outside the platform, whitelisted asset by asset.

Rule: an asset's address is entered once and may be paid only after the callback handler approved it.
"""

import asyncio
import uuid

import msgspec

from drills.emulator import evm
from drills.emulator.emulator import Running
from drills.emulator.errors import FieldError, NotFoundError
from drills.emulator.records import InternalWallet, WhitelistedAsset
from drills.emulator.reply import Call, Reply, ok
from drills.emulator.wire import internal_wallet, wallet_asset

OUTCOMES = {"APPROVE": "APPROVED", "REJECT": "REJECTED"}


class NewWallet(msgspec.Struct, frozen=True):
    """CreateWalletRequest."""

    name: str = ""


class NewAsset(msgspec.Struct, frozen=True):
    """CreateInternalWalletAssetRequest."""

    address: str


def listing(running: Running, _call: Call) -> Reply:
    """GET /internal_wallets."""
    return ok([internal_wallet(w) for w in running.world.internal_wallets.values()])


def _wallet(running: Running, call: Call) -> InternalWallet:
    found = running.world.internal_wallets.get(call.path["wallet"])
    if found is None:
        raise NotFoundError(f"internal wallet {call.path['wallet']!r} does not exist")
    return found


def _asset(running: Running, call: Call) -> tuple[InternalWallet, WhitelistedAsset]:
    wallet = _wallet(running, call)
    found = wallet.assets.get(call.path["asset"])
    if found is None:
        raise NotFoundError(f"wallet {wallet.id!r} has no asset {call.path['asset']!r}")
    return wallet, found


def get(running: Running, call: Call) -> Reply:
    """GET /internal_wallets/{walletId}."""
    return ok(internal_wallet(_wallet(running, call)))


def get_asset(running: Running, call: Call) -> Reply:
    """GET /internal_wallets/{walletId}/{assetId}."""
    return ok(wallet_asset(call.path["asset"], _asset(running, call)[1]))


def create(running: Running, call: Call) -> Reply:
    """POST /internal_wallets: a wallet without an address yet; a name may be given twice."""
    wallet = InternalWallet(str(uuid.uuid4()), call.read(NewWallet).name)
    running.world.internal_wallets[wallet.id] = wallet
    running.world.log(call.api_key, wallet.name, "INTERNAL_WALLET_ADDED")
    return ok(internal_wallet(wallet))


def add_asset(running: Running, call: Call) -> Reply:
    """POST /internal_wallets/{walletId}/{assetId}."""
    wallet, asset = _wallet(running, call), running.world.ledger.asset(call.path["asset"])
    if asset.id in wallet.assets:
        raise FieldError(f"the wallet has an address for {asset.id!r} already; remove it first")
    added = WhitelistedAsset(evm.to_caip10(call.read(NewAsset).address, running.world.chain.chain_id))
    wallet.assets[asset.id] = added
    running.world.log(call.api_key, wallet.name, "INTERNAL_WALLET_ASSET_ADDED")
    _start_approval(running, wallet, asset.id, added)
    return ok(wallet_asset(asset.id, added))


def _start_approval(running: Running, wallet: InternalWallet, asset_id: str, added: WhitelistedAsset) -> None:
    """Ask in the background; without a callback handler it is approved at once."""
    cosigner = running.custody.cosigner
    if cosigner is None:
        added.status = "APPROVED"
        return
    named = {"subType": "INTERNAL", "walletName": wallet.name, "walletId": wallet.id, "asset": asset_id, "tag": ""}
    info = {**named, "address": evm.checksum_address(evm.from_caip10(added.address))}

    async def ask() -> None:
        verdict = await cosigner.ask_config_change("UNMANAGED_WALLET", info)
        added.status = OUTCOMES.get(verdict.outcome, "FAILED")

    running.custody.run_in_background(asyncio.get_running_loop().create_task(ask()))


def delete(running: Running, call: Call) -> Reply:
    """DELETE /internal_wallets/{walletId}."""
    wallet = _wallet(running, call)
    del running.world.internal_wallets[wallet.id]
    running.world.log(call.api_key, wallet.name, "INTERNAL_WALLET_REMOVED")
    return Reply(201)


def delete_asset(running: Running, call: Call) -> Reply:
    """DELETE /internal_wallets/{walletId}/{assetId}."""
    wallet, _ = _asset(running, call)
    del wallet.assets[call.path["asset"]]
    running.world.log(call.api_key, wallet.name, "INTERNAL_WALLET_ASSET_REMOVED")
    return Reply(201)
