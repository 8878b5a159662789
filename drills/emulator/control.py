"""The drill's own calls under /emulator: seed, look, act as a user or a thief, break things.

Rule: each needs the control token, compared in constant time.
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from drills.emulator import evm
from drills.emulator.custody import Order
from drills.emulator.emulator import Emulator, Running
from drills.emulator.errors import EmulatorError, FieldError, UnauthorizedError
from drills.emulator.faults import Fault, Mode
from drills.emulator.records import Destination, EvmCall, Transaction
from drills.emulator.reply import Call, Reply, ok
from drills.emulator.rest import read_body, respond
from drills.emulator.settings import BaseUnits, Caip10, DestinationSeed, Seconds, Seed, Text
from drills.emulator.webhooks import Delivery
from drills.emulator.wire import transaction_details
from drills.emulator.world import World, add_destination

Handler = Callable[[Emulator, Call], Reply | Awaitable[Reply]]


class RawCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is really signed, when it differs from what is shown: 0x recipient, wei, 0x calldata."""

    to: str
    value: BaseUnits = "0"
    data: str = "0x"


class Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A platform user's order. `destination` is a 0x address, a wallet id or an account id, as `destination_type` says."""

    account: Text
    asset: Text
    amount_base_units: BaseUnits
    destination: Text
    user: Text
    destination_type: Literal["ONE_TIME_ADDRESS", "EXTERNAL_WALLET", "INTERNAL_WALLET", "VAULT_ACCOUNT"] = (
        "ONE_TIME_ADDRESS"
    )
    operation: Literal["TRANSFER", "CONTRACT_CALL"] = "TRANSFER"
    raw_call: RawCall | None = None
    external_id: str = ""
    note: str = ""


class Theft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A move with a stolen key; without an amount it takes all."""

    from_address: Caip10
    to: Caip10
    asset: Text
    amount_base_units: BaseUnits | None = None


class FaultOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fault to arm."""

    path_prefix: Text
    mode: Mode
    count: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    delay_s: Seconds = 0.0
    method: Literal["", "GET", "POST", "PUT", "DELETE"] = ""


class ConfigChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A change of the platform's configuration that a user asks for; `wallet` is whitelisted when it is approved."""

    type: Text
    user: Text
    extra_info: dict[str, object] = {}
    wallet: DestinationSeed | None = None


class AccessEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that a person or key did: an `access.*` or `governance.*` type and its details."""

    type: Annotated[str, msgspec.Meta(pattern=r"^(access|governance)\.[a-z_]{1,60}$")]
    actor: Text
    details: dict[str, str | int] = {}


class NewAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One more address of an account."""

    account: Text
    address: Caip10


def seed(emulator: Emulator, call: Call) -> Reply:
    """POST /emulator/seed: build the world; answers what the other side must know."""
    running = emulator.seed(call.read(Seed))
    return ok(
        {
            "workspace_id": running.world.seed.workspace_id,
            "webhook_id": running.world.webhook_id,
            "base_path": f"{call.base_url}/v1",
            "rpc_url": f"{call.base_url}/chain/rpc",
            "jwks_url": f"{call.base_url}/.well-known/jwks.json",
            "webhook_v1_public_key_pem": emulator.keys.webhook.public_pem(),
            "cosigner_public_key_pem": emulator.keys.cosigner.public_pem(),
            "standard_action_url": f"{call.base_url}/standard/action",
            "standard_status_url": f"{call.base_url}/standard/status",
        }
    )


def keys(emulator: Emulator, _call: Call) -> Reply:
    """GET /emulator/keys: with which keys the platform signs; answers before the world is built."""
    return ok(
        {
            "webhook_v1_public_key_pem": emulator.keys.webhook.public_pem(),
            "cosigner_public_key_pem": emulator.keys.cosigner.public_pem(),
        }
    )


def figures(emulator: Emulator, _call: Call) -> Reply:
    """GET /emulator/figures."""
    world = emulator.running().world
    agrees = world.chain.refresh()
    report = world.figures.report()
    return ok({**report, "conserved": agrees and report["conserved"]})


def ledger(emulator: Emulator, _call: Call) -> Reply:
    """GET /emulator/ledger: holdings, movements and whether every unit is accounted for."""
    emulator.running().world.chain.refresh()
    found = emulator.running().world.ledger
    holdings = [{"address": a, "asset": s, "amount_base_units": str(n)} for a, s, n in found.holdings()]
    movements = [
        {
            "sequence": m.sequence,
            "at_ms": m.at_ms,
            "from": m.sender,
            "to": m.recipient,
            "asset": m.asset_id,
            "amount_base_units": str(m.amount),
            "tx_hash": m.tx_hash,
        }
        for m in found.movements
    ]
    return ok({"holdings": holdings, "movements": movements, "conserved": found.is_conserved()})


def transactions(emulator: Emulator, _call: Call) -> Reply:
    """GET /emulator/transactions: as the platform keeps them."""
    world = emulator.running().world
    return ok([transaction_details(world, t) for t in world.transactions.values()])


def deliveries(emulator: Emulator, _call: Call) -> Reply:
    """GET /emulator/deliveries: every event sent, with the status of each try (null: no answer)."""
    return ok([_delivery(d) for d in emulator.running().webhooks.deliveries])


def _delivery(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "resource_id": delivery.resource_id,
        "state": delivery.state,
        "tries": delivery.tries,
        "delivered_at_ms": delivery.delivered_at_ms,
    }


def actions(emulator: Emulator, _call: Call) -> Reply:
    """GET /emulator/actions: every containment request that arrived, at either standard face, and whether it acted."""
    running = emulator.running()
    return ok([msgspec.to_builtins(a) for a in (*running.standard.arrivals, *running.forgetful.arrivals)])


def callbacks(emulator: Emulator, _call: Call) -> Reply:
    """GET /emulator/callbacks: every exchange with the callback handler."""
    cosigner = emulator.running().custody.cosigner
    exchanges = [] if cosigner is None else cosigner.exchanges
    return ok([{"request_id": e.request_id, "path": e.path, "result": e.result, "at_ms": e.at_ms} for e in exchanges])


def transfer(emulator: Emulator, call: Call) -> Reply:
    """POST /emulator/transfer: a user of the platform orders a transfer; it takes the co-signer's way."""
    running, wanted = emulator.running(), call.read(Transfer)
    order = Order(
        account_id=wanted.account,
        asset_id=running.world.ledger.asset(wanted.asset).id,
        amount=int(wanted.amount_base_units),
        peer=running.custody.peer(wanted.destination_type, wanted.destination),
        created_by=wanted.user,
        operation=wanted.operation,
        external_id=wanted.external_id,
        note=wanted.note,
        call=None if wanted.raw_call is None else _raw(wanted.raw_call),
    )
    return ok(_told(running, running.custody.submit(order)))


def _raw(raw: RawCall) -> EvmCall:
    try:
        return EvmCall(
            "0x" + evm.address_bytes(raw.to).hex(), int(raw.value), bytes.fromhex(raw.data.removeprefix("0x"))
        )
    except ValueError:
        raise FieldError("raw_call.data: not hexadecimal") from None


def _told(running: Running, tx: Transaction) -> dict[str, object]:
    return {"transaction": tx.id, "status": tx.status.value, "frozen": running.world.frozen}


def steal(emulator: Emulator, call: Call) -> Reply:
    """POST /emulator/steal: a thief moves funds on chain; only an empty balance stops it (409)."""
    chain, wanted = emulator.running().world.chain, call.read(Theft)
    amount = None if wanted.amount_base_units is None else int(wanted.amount_base_units)
    sender, recipient = (evm.to_caip10(evm.from_caip10(a), chain.chain_id) for a in (wanted.from_address, wanted.to))
    moved = chain.steal(sender, recipient, chain.ledger.asset(wanted.asset).id, amount)
    return ok({"tx_hash": moved.tx_hash, "amount_base_units": str(moved.amount), "at_ms": moved.at_ms})


def faults(emulator: Emulator, call: Call) -> Reply:
    """POST /emulator/faults: arm one."""
    wanted = call.read(FaultOrder)
    emulator.faults.arm(Fault(wanted.path_prefix, wanted.mode, wanted.count, wanted.delay_s, wanted.method))
    return Reply(204)


def clear_faults(emulator: Emulator, _call: Call) -> Reply:
    """DELETE /emulator/faults: forget all."""
    emulator.faults.clear()
    return Reply(204)


async def config_change(emulator: Emulator, call: Call) -> Reply:
    """POST /emulator/config_change: asks the callback handler and answers what came of it."""
    running, wanted = emulator.running(), call.read(ConfigChange)
    cosigner = running.custody.cosigner
    running.world.log(wanted.user, wanted.type, f"{wanted.type}_REQUESTED")
    outcome = "APPROVE"
    if cosigner is not None:
        outcome = (await cosigner.ask_config_change(wanted.type, _extra_info(wanted))).outcome
    if outcome == "APPROVE":
        _apply(running.world, wanted)
        running.world.log(wanted.user, wanted.type, wanted.type)
    return ok({"outcome": outcome})


def _extra_info(wanted: ConfigChange) -> dict[str, object]:
    if wanted.wallet is None:
        return wanted.extra_info
    address = evm.checksum_address(evm.from_caip10(wanted.wallet.address))
    named = {"walletName": wanted.wallet.name, "walletId": wanted.wallet.wallet_id or "", "address": address}
    return {"subType": "EXTERNAL", "asset": "ETH", "tag": "", **named, **wanted.extra_info}


def _apply(world: World, wanted: ConfigChange) -> None:
    if wanted.wallet is not None:
        _register(world, wanted.wallet)


def _register(world: World, found: DestinationSeed) -> None:
    address = evm.to_caip10(evm.from_caip10(found.address), world.chain.chain_id)
    add_destination(world, Destination(address, found.kind, found.name, found.wallet_id))


def access(emulator: Emulator, call: Call) -> Reply:
    """POST /emulator/access: into the audit log, and as an activity to the standard target."""
    wanted = call.read(AccessEvent)
    return ok({"event_id": emulator.running().events.access(wanted.type, wanted.actor, dict(wanted.details))})


def destination(emulator: Emulator, call: Call) -> Reply:
    """POST /emulator/destinations: tell what an address is, for example a new safe destination."""
    _register(emulator.running().world, call.read(DestinationSeed))
    return Reply(204)


def address(emulator: Emulator, call: Call) -> Reply:
    """POST /emulator/addresses: give an account one more address, for example after a rotation."""
    wanted, world = call.read(NewAddress), emulator.running().world
    world.ledger.add_address(wanted.account, evm.to_caip10(evm.from_caip10(wanted.address), world.chain.chain_id))
    return Reply(204)


def mine(emulator: Emulator, _call: Call) -> Reply:
    """POST /emulator/mine: make a block now."""
    chain = emulator.running().world.chain
    chain.mine()
    return ok({"block": chain.block})


def unfreeze(emulator: Emulator, _call: Call) -> Reply:
    """POST /emulator/unfreeze: the platform's support lifts a freeze at the owner's request."""
    emulator.running().world.frozen = False
    return Reply(204)


ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "/seed", seed),
    ("GET", "/keys", keys),
    ("GET", "/figures", figures),
    ("GET", "/ledger", ledger),
    ("GET", "/transactions", transactions),
    ("GET", "/deliveries", deliveries),
    ("GET", "/actions", actions),
    ("GET", "/callbacks", callbacks),
    ("POST", "/transfer", transfer),
    ("POST", "/steal", steal),
    ("POST", "/faults", faults),
    ("DELETE", "/faults", clear_faults),
    ("POST", "/config_change", config_change),
    ("POST", "/access", access),
    ("POST", "/destinations", destination),
    ("POST", "/addresses", address),
    ("POST", "/mine", mine),
    ("POST", "/unfreeze", unfreeze),
]


def routes(emulator: Emulator) -> list[Route]:
    """Return all control routes."""
    return [Route("/emulator" + path, _endpoint(emulator, handler), methods=[m]) for m, path, handler in ROUTES]


def _endpoint(emulator: Emulator, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            given = request.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {emulator.token}".encode()):
                raise UnauthorizedError("control calls need the token given at start: Authorization: Bearer TOKEN")
            base_url = f"{request.url.scheme}://{request.url.netloc}"
            call = Call(request.path_params, dict(request.query_params), await read_body(request), base_url)
            result = handler(emulator, call)
            return respond(await result if not isinstance(result, Reply) else result)
        except EmulatorError as refused:
            return respond(Reply(refused.status, {"code": refused.code, "message": str(refused)}))

    return endpoint
