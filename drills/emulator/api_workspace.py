"""The workspace: freeze, one-time addresses, whitelisted wallets, users, audit log, webhook resending."""

import asyncio
import uuid

import msgspec

from drills.emulator import evm
from drills.emulator.emulator import Running
from drills.emulator.errors import FieldError, NotFoundError
from drills.emulator.records import ExternalWallet
from drills.emulator.reply import Call, Reply, ok
from drills.emulator.wire import external_wallet

PAGE, LARGEST_PAGE = 200, 500
LATEST_MS = 10**15
ROLES = frozenset({"OWNER", "ADMIN", "SIGNER", "EDITOR", "APPROVER", "VIEWER", "NON_SIGNING_ADMIN", "AUDITOR"})


class OneTimeAddresses(msgspec.Struct, frozen=True):
    """SetOtaStatusRequest."""

    enabled: bool


class NewWallet(msgspec.Struct, frozen=True):
    """CreateWalletRequest."""

    name: str


class NewAddress(msgspec.Struct, frozen=True):
    """BasicAddressRequest."""

    address: str


def get_workspace(running: Running, _call: Call) -> Reply:
    """GET /workspace."""
    seed = running.world.seed
    return ok({"id": seed.workspace_id, "name": seed.workspace_name})


def get_status(running: Running, _call: Call) -> Reply:
    """GET /management/workspace_status."""
    return ok({"status": "FROZEN" if running.world.frozen else "ACTIVE"})


def freeze(running: Running, call: Call) -> Reply:
    """POST /workspace/freeze: there is no call that lifts it."""
    running.custody.freeze()
    running.world.log(call.api_key, "workspace", "WORKSPACE_FROZEN")
    return Reply(204)


def get_ota(running: Running, _call: Call) -> Reply:
    """GET /management/ota."""
    return ok({"enabled": running.world.ota_enabled})


async def put_ota(running: Running, call: Call) -> Reply:
    """PUT /management/ota: forbidding is immediate; allowing asks the callback handler first, where there is one."""
    wanted = call.read(OneTimeAddresses).enabled
    if wanted == running.world.ota_enabled:
        return Reply(202, {"message": "nothing to change"})
    cosigner = running.custody.cosigner
    if wanted and cosigner is not None:
        verdict = await cosigner.ask_config_change("ENABLE_ONE_TIME_ADDRESS", {})
        if verdict.outcome != "APPROVE":
            return Reply(202, {"message": "the change was not approved"})
    running.world.ota_enabled = wanted
    running.world.log(call.api_key, "one-time addresses", "OTA_ENABLED" if wanted else "OTA_DISABLED")
    return Reply(202, {"message": "the change is carried out"})


def list_wallets(running: Running, _call: Call) -> Reply:
    """GET /external_wallets."""
    return ok([external_wallet(w) for w in running.world.wallets.values()])


def _wallet(running: Running, call: Call) -> ExternalWallet:
    found = running.world.wallets.get(call.path["wallet"])
    if found is None:
        raise NotFoundError(f"external wallet {call.path['wallet']!r} does not exist")
    return found


def get_wallet(running: Running, call: Call) -> Reply:
    """GET /external_wallets/{walletId}."""
    return ok(external_wallet(_wallet(running, call)))


def create_wallet(running: Running, call: Call) -> Reply:
    """POST /external_wallets: a wallet without an address yet."""
    wallet = ExternalWallet(str(uuid.uuid4()), call.read(NewWallet).name, None, [])
    running.world.wallets[wallet.id] = wallet
    return ok(external_wallet(wallet))


def add_address(running: Running, call: Call) -> Reply:
    """POST /external_wallets/{walletId}/{assetId}: may be paid only after the callback handler approved it."""
    wallet, asset = _wallet(running, call), running.world.ledger.asset(call.path["asset"])
    address = evm.to_caip10(call.read(NewAddress).address, running.world.chain.chain_id)
    if wallet.address not in (None, address):
        raise FieldError("address: the wallet has another address already; make a new wallet")
    wallet.address, wallet.status = address, "WAITING_FOR_APPROVAL"
    wallet.asset_ids.append(asset.id)
    running.world.log(call.api_key, wallet.name, "EXTERNAL_WALLET_ASSET_ADDED")
    start_approval(running, wallet, asset.id)
    status = {"id": asset.id, "address": evm.checksum_address(evm.from_caip10(address)), "status": wallet.status}
    return ok(status)


def start_approval(running: Running, wallet: ExternalWallet, asset_id: str) -> None:
    """Ask for a new whitelisted address in the background; without a callback handler it is approved at once."""
    cosigner = running.custody.cosigner
    if cosigner is None:
        wallet.status = "APPROVED"
        return
    shown = evm.checksum_address(evm.from_caip10(wallet.address or ""))
    info = {
        "subType": "EXTERNAL",
        "walletName": wallet.name,
        "walletId": wallet.id,
        "asset": asset_id,
        "address": shown,
    }

    async def ask() -> None:
        verdict = await cosigner.ask_config_change("UNMANAGED_WALLET", {**info, "tag": ""})
        wallet.status = {"APPROVE": "APPROVED", "REJECT": "REJECTED"}.get(verdict.outcome, "FAILED")

    running.custody.run_in_background(asyncio.get_running_loop().create_task(ask()))


def delete_wallet(running: Running, call: Call) -> Reply:
    """DELETE /external_wallets/{walletId}: nothing can be sent there by name any more."""
    wallet = _wallet(running, call)
    del running.world.wallets[wallet.id]
    running.world.log(call.api_key, wallet.name, "EXTERNAL_WALLET_REMOVED")
    return Reply(201)


def delete_wallet_asset(running: Running, call: Call) -> Reply:
    """DELETE /external_wallets/{walletId}/{assetId}."""
    wallet, asset = _wallet(running, call), call.path["asset"]
    if asset not in wallet.asset_ids:
        raise NotFoundError(f"wallet {wallet.id!r} has no asset {asset!r}")
    wallet.asset_ids.remove(asset)
    running.world.log(call.api_key, wallet.name, "EXTERNAL_WALLET_ASSET_REMOVED")
    return Reply(201)


def list_users(running: Running, _call: Call) -> Reply:
    """GET /management/users."""
    users = []
    for user in running.world.users.values():
        first, _, last = user.name.partition(" ")
        role = user.role if user.role in ROLES else "VIEWER"
        names = {"id": user.id, "firstName": first, "lastName": last, "role": role}
        users.append(
            {**names, "email": f"{user.id}@example.test", "enabled": True, "status": "READY", "userType": "CONSOLE"}
        )
    return ok({"users": users})


def list_audit(running: Running, call: Call) -> Reply:
    """GET /management/audit_logs: by time and words, in pages; `next` is the cursor of the following page."""
    first, last = call.number("startTime", 0, LATEST_MS), call.number("endTime", LATEST_MS, LATEST_MS)
    found = [e for e in running.world.audit if first <= e.at_ms <= last]
    for name in ("category", "subject", "event"):
        if name in call.query:
            found = [e for e in found if getattr(e, name) == call.query[name]]
    if call.query.get("order", "DESC") != "ASC":
        found.reverse()
    cursor_name = "pageCursor" if "pageCursor" in call.query else "cursor"
    start = call.number(cursor_name, 0, len(running.world.audit))
    size = max(1, call.number("pageSize", PAGE, LARGEST_PAGE))
    rows = [
        {
            "id": e.id,
            "timestamp": e.at_ms,
            "createdAt": e.at_ms,
            "user": running.world.users[e.user_id].name if e.user_id in running.world.users else e.user_id,
            "userId": e.user_id,
            "subject": e.subject,
            "event": e.event,
            "category": e.category,
            "tenantId": running.world.seed.tenant_id,
        }
        for e in found[start : start + size]
    ]
    following = str(start + size) if start + size < len(found) else None
    return ok({"data": rows, "next": following, "cursor": following})
