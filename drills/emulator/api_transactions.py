"""Transactions in the platform's shapes: create, list, read, cancel, drop, freeze."""

from decimal import Decimal
from urllib.parse import urlencode

import msgspec

from drills.emulator import evm
from drills.emulator.custody import Order
from drills.emulator.emulator import Running
from drills.emulator.errors import FieldError, NotFoundError
from drills.emulator.money import to_base_units
from drills.emulator.records import EvmCall, Transaction
from drills.emulator.reply import Call, Reply, ok
from drills.emulator.wire import Json, destination, source, transaction_details

PAGE, LARGEST_PAGE = 200, 500
LATEST_MS = 10**15


class OneTime(msgspec.Struct, frozen=True):
    """OneTimeAddress."""

    address: str


class PeerPath(msgspec.Struct, frozen=True):
    """SourceTransferPeerPath or DestinationTransferPeerPath."""

    type: str
    id: str = ""
    one_time: OneTime | None = msgspec.field(name="oneTimeAddress", default=None)


class Extra(msgspec.Struct, frozen=True):
    """ExtraParameters, as far as they have an effect here."""

    call_data: str | None = msgspec.field(name="contractCallData", default=None)


class NewTransaction(msgspec.Struct, frozen=True):
    """TransactionRequest, as far as it has an effect here. `amount` may be a decimal string or a number."""

    asset_id: str = msgspec.field(name="assetId")
    source: PeerPath
    destination: PeerPath
    amount: Decimal
    operation: str = "TRANSFER"
    external_id: str = msgspec.field(name="externalTxId", default="")
    note: str = ""
    extra: Extra | None = msgspec.field(name="extraParameters", default=None)


def create(running: Running, call: Call) -> Reply:
    """POST /transactions."""
    wanted = call.read(NewTransaction)
    if wanted.source.type != "VAULT_ACCOUNT":
        raise FieldError("source.type: only VAULT_ACCOUNT is emulated")
    asset = running.world.ledger.asset(wanted.asset_id)
    reference = wanted.destination.one_time.address if wanted.destination.one_time else wanted.destination.id
    peer = running.custody.peer(wanted.destination.type, reference)
    amount = to_base_units(str(wanted.amount), asset.decimals)
    order = Order(
        account_id=wanted.source.id,
        asset_id=asset.id,
        amount=amount,
        peer=peer,
        created_by=call.api_key,
        operation=wanted.operation,
        external_id=wanted.external_id,
        note=wanted.note,
        call=_contract_call(wanted, evm.from_caip10(peer.address), amount),
    )
    tx = running.custody.submit(order)
    return ok({"id": tx.id, "status": tx.status.value, "systemMessages": []})


def _contract_call(wanted: NewTransaction, target: str, amount: int) -> EvmCall | None:
    if wanted.operation == "TRANSFER":
        return None
    if wanted.operation != "CONTRACT_CALL" or wanted.extra is None or wanted.extra.call_data is None:
        raise FieldError("operation: TRANSFER, or CONTRACT_CALL with extraParameters.contractCallData")
    try:
        return EvmCall(target, amount, bytes.fromhex(wanted.extra.call_data.removeprefix("0x")))
    except ValueError:
        raise FieldError("extraParameters.contractCallData: not hexadecimal") from None


def listing(running: Running, call: Call) -> Reply:
    """GET /transactions: filtered and ordered; `next-page` names the following page."""
    field = "updated_at_ms" if call.query.get("orderBy") == "lastUpdated" else "created_at_ms"
    found = [t for t in running.world.transactions.values() if _matches(running, call, t, getattr(t, field))]
    descending = call.query.get("sort", "DESC") != "ASC"
    found.sort(key=lambda t: (getattr(t, field), t.id), reverse=descending)
    limit = max(1, call.number("limit", PAGE, LARGEST_PAGE))
    start = call.number("next", 0, len(running.world.transactions)) if call.query.get("next") else 0
    headers = {"next-page": "", "prev-page": ""}
    if start + limit < len(found):
        query = urlencode({**call.query, "next": start + limit})
        headers["next-page"] = f"{call.base_url}/v1/transactions?{query}"
    return Reply(200, [transaction_details(running.world, t) for t in found[start : start + limit]], headers)


def _matches(running: Running, call: Call, tx: Transaction, at_ms: int) -> bool:
    from_peer, to_peer = source(running.world, tx), destination(tx)
    facts: dict[str, object] = {
        "status": tx.status.value,
        "sourceType": from_peer["type"],
        "sourceId": from_peer["id"],
        "destType": to_peer["type"],
        "destId": to_peer["id"],
        "txHash": tx.tx_hash,
    }
    if any(name in call.query and call.query[name] != fact for name, fact in facts.items()):
        return False
    if "assets" in call.query and tx.asset_id not in call.query["assets"].split(","):
        return False
    return call.number("after", 0, LATEST_MS) <= at_ms <= call.number("before", LATEST_MS, LATEST_MS)


def get(running: Running, call: Call) -> Reply:
    """GET /transactions/{txId}."""
    return ok(transaction_details(running.world, running.custody.find(call.path["tx"])))


def get_by_external_id(running: Running, call: Call) -> Reply:
    """GET /transactions/external_tx_id/{externalTxId}."""
    wanted = call.path["external"]
    found = next((t for t in running.world.transactions.values() if t.external_id == wanted), None)
    if found is None:
        raise NotFoundError(f"no transaction has the external id {wanted!r}")
    return ok(transaction_details(running.world, found))


def cancel(running: Running, call: Call) -> Reply:
    """POST /transactions/{txId}/cancel."""
    running.custody.cancel(call.path["tx"])
    return ok({"success": True})


def drop(running: Running, call: Call) -> Reply:
    """POST /transactions/{txId}/drop."""
    tx = running.custody.drop(call.path["tx"])
    body: Json = {"txStatus": tx.status.value, "txId": tx.id, "replacedTxHash": tx.replaced_tx_hash}
    return ok(body)


def freeze(running: Running, call: Call) -> Reply:
    """POST /transactions/{txId}/freeze and /unfreeze: quarantines incoming funds; it stops nothing that goes out."""
    tx = running.custody.find(call.path["tx"])
    if tx.account_id is not None:
        raise FieldError("only an incoming transaction can be frozen")
    running.world.log(call.api_key, tx.id, "INCOMING_FUNDS_FROZEN_OR_RELEASED")
    return ok({"success": True})
