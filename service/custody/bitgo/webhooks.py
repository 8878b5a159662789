"""Inbound BitGo notifications: HMAC-SHA256 over the raw body, in hex, in `x-signature-sha256`.

Rules: the signature is checked before anything is parsed; several secrets may be in force, for rotation. Nothing in a
notification says when it was made and none has an id, so the SHA-256 of what it tells (without its count of retries) is
its id, kept for ever: that is what stops a replay. A simulation is stored and means nothing. What a transfer does not tell
(which way it goes, how much) is not guessed: such an event is stored, and the platform's own list is asked before anything
is done.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from service.custody.bitgo.wallets import read_assets
from service.domain.activity import MAX_ID_LENGTH, Activity
from service.domain.errors import ConfigurationError, InputError, UnauthenticatedError
from service.ports.custody import ConnectionConfig, Delivery

SIGNATURE: Final = b"x-signature-sha256"
SECRET: Final = "webhook_secret"  # noqa: S105  the name of secrets, not one
"""Secrets of this name, with any suffix (`webhook_secret.0`), verify; all of them are in force."""
ACTOR: Final = "bitgo-console"
"""A change of users or policy names no person that we could be sure of: all of them share this actor's baseline."""
_MIN_SECRET: Final = 16
_MAX_SECRET: Final = 200
_STATES: Final[Mapping[str, str]] = {
    "initialized": "requested",
    "pendingApproval": "requested",
    "signed": "signed",
    "unconfirmed": "broadcast",
    "confirmed": "confirmed",
    "removed": "failed",
    "failed": "failed",
    "rejected": "cancelled",
}
_CHANGES: Final[Mapping[str, str]] = {
    "policyRuleRequest": "governance.policy_changed",
    "userChangeRequest": "governance.role_changed",
    "updateApprovalsRequiredRequest": "governance.quorum_changed",
}
_PENDING: Final = frozenset({"pending", "awaitingSignature"})

Text = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]
Amount = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,78}\Z")]


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a notification that we read."""

    type: Text
    wallet: Text | None = None
    wallet_id: Text | None = None
    coin: Text | None = None
    state: Text | None = None
    transfer: Text | None = None
    hash: Text | None = None
    transfer_type: Text | None = None
    value_string: Amount | None = None
    receiver: Text | None = None
    pending_approval_type: Text | None = None
    simulation: bool = False


class BitgoReceiver:
    """Verifies and parses one connection's notifications. Secrets are unsealed once, when the connection is loaded."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._connection = config.id
        self._assets = read_assets(config.settings)
        names = sorted(name for name in config.secret_names if name.split(".")[0] == SECRET)
        self._secrets = [config.secret(name) for name in names]
        if not self._secrets:
            raise ConfigurationError(
                f"connection {config.id} has no {SECRET}: nothing could ever verify; make one at BitGo",
                field=SECRET,
            )

    def prepare(self, headers: Mapping[bytes, bytes], *, now_s: float) -> None:
        """Nothing has to be fetched before a notification can be verified."""

    def receive(self, headers: Mapping[bytes, bytes], body: bytes, *, now_s: float) -> Delivery:
        """Verify, then parse; see the port."""
        told = headers.get(SIGNATURE, b"")
        found = [hmac.compare_digest(hmac.new(key, body, "sha256").hexdigest().encode(), told) for key in self._secrets]
        if not any(found):
            raise UnauthenticatedError("the webhook's signature does not verify")
        try:
            read = msgspec.json.decode(body, type=Notification)
            everything = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"the body is not a notification: {error}", field="body") from error
        facts = _facts(everything)
        event_id = hashlib.sha256(facts).hexdigest()
        return Delivery(event_id, self._activity(read, event_id, datetime.fromtimestamp(now_s, UTC)), read.type, facts)

    def _activity(self, told: Notification, event_id: str, at: datetime) -> Activity | None:
        if told.simulation:
            return None
        if told.type == "pendingapproval":
            kind = _CHANGES.get(told.pending_approval_type or "")
            if kind is None or told.state not in _PENDING:
                return None
            return Activity(connection=self._connection, event_id=event_id, kind=kind, occurred_at=at, actor=ACTOR)
        return self._transfer(told, event_id, at) if told.type == "transfer" else None

    def _transfer(self, told: Notification, event_id: str, at: datetime) -> Activity | None:
        state = _STATES.get(told.state or "", "requested")
        outgoing, account, transaction = told.transfer_type == "send", told.wallet, told.transfer or told.hash
        if account is None or not transaction or not (outgoing or told.transfer_type == "receive"):
            return None
        if not outgoing and state != "confirmed":
            return None
        return Activity(
            connection=self._connection,
            event_id=event_id,
            kind=f"withdrawal.{state}" if outgoing else "deposit.confirmed",
            occurred_at=at,
            account=account,
            transaction=transaction,
            asset=self._assets.name(told.coin),
            amount_base_units=None if told.value_string is None else abs(int(told.value_string)),
            destination=self._assets.place(told.coin, told.receiver) if outgoing else None,
        )


def check_secret(secret: bytes, name: str) -> None:
    """Raise ConfigurationError naming a secret that BitGo would not have made."""
    if not _MIN_SECRET <= len(secret) <= _MAX_SECRET or not secret.isascii():
        raise ConfigurationError(f"{name} has {_MIN_SECRET} to {_MAX_SECRET} ASCII characters", field=name)


def _facts(everything: object) -> bytes:
    if not isinstance(everything, dict):
        raise InputError("the body is not a JSON object", field="body")
    kept = {name: value for name, value in everything.items() if name != "retries"}
    return msgspec.json.encode(kept, order="deterministic")
