"""Turns changes of the platform's state into events.

Rule: `fireblocks` accounts tell platform webhooks, `standard` ones activities of Portcullis's own wire schema.
"""

from datetime import UTC, datetime

from drills.emulator.money import usd
from drills.emulator.records import Account, Transaction, TxStatus
from drills.emulator.webhooks import Webhooks
from drills.emulator.wire import Json, transaction_details
from drills.emulator.world import World

_WITHDRAWAL = {
    TxStatus.SUBMITTED: "withdrawal.requested",
    TxStatus.PENDING_SIGNATURE: "withdrawal.approved",
    TxStatus.BROADCASTING: "withdrawal.broadcast",
    TxStatus.COMPLETED: "withdrawal.confirmed",
    TxStatus.FAILED: "withdrawal.failed",
    TxStatus.BLOCKED: "withdrawal.failed",
    TxStatus.REJECTED: "withdrawal.failed",
    TxStatus.CANCELLED: "withdrawal.cancelled",
}


def rfc3339(at_ms: int) -> str:
    """Return a UTC time with microseconds and Z."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}000Z"


class Events:
    """Emits one event per change of a transaction."""

    def __init__(self, world: World, webhooks: Webhooks) -> None:
        self._world = world
        self._webhooks = webhooks

    def created(self, tx: Transaction) -> None:
        """Tell that a transaction exists."""
        self._emit("transaction.created", tx)

    def updated(self, tx: Transaction) -> None:
        """Tell that a transaction's status changed."""
        self._emit("transaction.status.updated", tx)

    def _emit(self, event_type: str, tx: Transaction) -> None:
        account = self._account(tx)
        if account is None or account.platform == "fireblocks":
            self._webhooks.emit(event_type, tx.id, transaction_details(self._world, tx))
            return
        activity = self._activity(account, tx)
        if activity is not None:
            self._webhooks.emit_standard(activity, tx.id)

    def _account(self, tx: Transaction) -> Account | None:
        if tx.account_id is not None:
            return self._world.ledger.account(tx.account_id)
        return self._world.ledger.owner(tx.peer.address)

    def _activity(self, account: Account, tx: Transaction) -> Json | None:
        kind = _WITHDRAWAL.get(tx.status)
        if tx.account_id is None:
            kind = "deposit.confirmed" if tx.status is TxStatus.COMPLETED else None
        if kind is None:
            return None
        asset = self._world.ledger.asset(tx.asset_id)
        balance = self._world.ledger.account_balance(account.id, asset.id)
        data: Json = {
            "account": account.id,
            "asset": asset.caip19,
            "amount_base_units": str(tx.amount),
            "amount_usd": str(usd(tx.amount, asset.decimals, asset.price_usd)),
            "balance_usd": str(usd(balance, asset.decimals, asset.price_usd)),
        }
        if tx.account_id is not None:
            kinds = {"VAULT_ACCOUNT": "internal", "EXTERNAL_WALLET": "whitelisted"}
            data |= {"transaction": tx.id, "destination": tx.peer.address, "actor": tx.created_by or "unknown"}
            data["destination_kind"] = kinds.get(tx.peer.type, "one_time")
        return {"type": kind, "timestamp": rfc3339(tx.updated_at_ms), "data": data}

    def access(self, kind: str, actor: str, details: Json) -> str | None:
        """Tell an access or governance event; returns the event id, None without a target for it."""
        now = self._world.log(actor, kind, kind, "Access").at_ms
        activity = {"type": kind, "timestamp": rfc3339(now), "data": {"actor": actor, **details}}
        return self._webhooks.emit_standard(activity, actor)
