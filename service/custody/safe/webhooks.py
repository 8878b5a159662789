"""Events of a Safe as the Safe events service posts them.

Rules:

- The service signs nothing. A delivery is let in by HTTP Basic (RFC 7617) alone, compared in constant time; so an event
  is a claim, never proof: it is scored and may tighten, and what acts on a Safe reads the chain before it does.
- The event has no id of its own: kind, Safe, chain, transaction and owner make one, so a repetition is one event.
- Only chains and Safes that the connection names are its own; anything else is refused before it is stored (design D9).
- A Safe transaction is known by its safeTxHash throughout. What the event does not tell stays untold: whether a pending
  transaction is a delegatecall or refunds gas, and the amount of what a module moved.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec.structs import replace

from service.domain.activity import Activity, SigningFacts
from service.domain.decode.call import Call
from service.domain.decode.calldata import decode_call
from service.domain.decode.evm import from_hex
from service.domain.errors import ConfigurationError, InputError, UnauthenticatedError
from service.domain.evm import address_bytes, chain_number
from service.domain.safe import ZERO
from service.ports.custody import ConnectionConfig, Delivery

SECRET_PREFIX: Final = "webhook_basic"  # noqa: S105  the name of secrets, not one
"""Secrets `user:password`, with any suffix (`webhook_basic.0`); all of them are in force."""
SAFES: Final = "safes"
"""Setting: CAIP-10 addresses of the Safes, separated by spaces."""
_MIN_PASSWORD: Final = 16
_OWNERS: Final = frozenset({"addOwnerWithThreshold", "removeOwner", "swapOwner", "changeThreshold", "setup"})

Hash = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{64}\Z")]
Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
Number = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,78}\Z")]


class SafeEvent(msgspec.Struct, frozen=True, rename="camel"):
    """The part of an event that an activity is made of."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    address: Address
    chain_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}\Z")]
    safe_tx_hash: Hash | None = None
    tx_hash: Hash | None = None
    to: Address | None = None
    data: Annotated[str, msgspec.Meta(max_length=200_000)] | None = None
    value: Number | None = None
    owner: Address | None = None
    module: Address | None = None
    failed: str | bool = False

    @property
    def chain(self) -> str:
        """CAIP-2."""
        return f"eip155:{int(self.chain_id)}"

    @property
    def account(self) -> str:
        """CAIP-10 of the Safe; the account's ref."""
        return f"{self.chain}:{self.address.lower()}"

    @property
    def identity(self) -> str:
        """What makes this event one."""
        named = (self.safe_tx_hash or "", self.tx_hash or "", self.owner or "")
        told = "\0".join((self.type, self.account, *(one.lower() for one in named)))
        return f"{self.type}:{hashlib.sha256(told.encode()).hexdigest()}"


class SafeReceiver:
    """Verifies and parses one connection's webhooks."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._connection = config.id
        self._safes = safes(config.settings)
        names = sorted(name for name in config.secret_names if name.split(".")[0] == SECRET_PREFIX)
        self._accepted = [_expected(basic(config.secret(name), name)) for name in names]
        if not self._accepted:
            raise ConfigurationError(
                f"connection {config.id} has no {SECRET_PREFIX}: nothing could ever be let in", field=SECRET_PREFIX
            )

    def receive(self, headers: Mapping[bytes, bytes], body: bytes, *, now_s: float) -> Delivery:
        """Let in, then parse; see the port."""
        given = hashlib.sha256(headers.get(b"authorization", b"")).digest()
        if not any([hmac.compare_digest(given, expected) for expected in self._accepted]):  # noqa: C419  all are compared
            raise UnauthenticatedError("the webhook's credentials are wrong")
        try:
            event = msgspec.json.decode(body, type=SafeEvent)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"the body is no event of a Safe: {str(error)[:200]}", field="body") from error
        if event.account not in self._safes:
            raise UnauthenticatedError("the webhook's credentials are wrong")
        return Delivery(event.identity, self._activity(event, datetime.fromtimestamp(now_s, UTC)), event.type)

    def prepare(self, headers: Mapping[bytes, bytes], *, now_s: float) -> None:
        """Nothing has to be fetched before a delivery can be let in."""

    def _activity(self, event: SafeEvent, now: datetime) -> Activity | None:
        told = Activity(
            connection=self._connection,
            event_id=event.identity,
            kind="signing.requested",
            occurred_at=now,
            account=event.account,
            transaction=(event.safe_tx_hash or event.tx_hash or "").lower() or None,
        )
        match event.type:
            case "PENDING_MULTISIG_TRANSACTION":
                return _pending(event, told)
            case "NEW_CONFIRMATION":
                return replace(told, kind="withdrawal.approved", actor=_lower(event.owner))
            case "EXECUTED_MULTISIG_TRANSACTION":
                failed = str(event.failed).lower() == "true"
                return replace(told, kind="withdrawal.failed" if failed else "withdrawal.confirmed")
            case "DELETED_MULTISIG_TRANSACTION":
                return replace(told, kind="withdrawal.cancelled")
            case "MODULE_TRANSACTION":
                return replace(told, kind="withdrawal.confirmed", actor=_lower(event.module))
            case _:
                return None


def _pending(event: SafeEvent, told: Activity) -> Activity:
    to = _lower(event.to) or ZERO
    data = from_hex(event.data or "", field="data")
    call = decode_call(data)
    told = replace(told, signing=_facts(to, call), destination=f"{event.chain}:{to}")
    if call.governance and to == event.address.lower():
        kind = "governance.quorum_changed" if call.name in _OWNERS else "governance.policy_changed"
        return replace(told, kind=kind, destination=None)
    if call.name == "transfer" and call.recipient is not None:
        return replace(
            told,
            kind="withdrawal.requested",
            asset=f"{event.chain}/erc20:{to}",
            amount_base_units=call.amount,
            destination=f"{event.chain}:{call.recipient}",
        )
    if not data and event.value is not None:
        coin = f"{event.chain}/slip44:60"
        return replace(told, kind="withdrawal.requested", asset=coin, amount_base_units=int(event.value))
    return told


def _facts(to: str, call: Call) -> SigningFacts:
    """Return what the calldata says; the event tells no operation and no gas refund, so nothing is ever ruled out."""
    return SigningFacts(
        delegatecall=call.any("delegatecall") or None,
        unlimited_approval=call.any("unlimited_approval") or None,
        governance_call=call.any("governance") or None,
        summary=f"call to {to}: {call.sentence()}",
    )


def safes(settings: Mapping[str, str]) -> frozenset[str]:
    """Return the Safes of a connection, lower-case. Raises InputError naming the setting."""
    named = settings.get(SAFES, "").split()
    for one in named:
        chain, _, address = one.rpartition(":")
        chain_number(chain)
        address_bytes(address)
    if not named:
        raise InputError(f"{SAFES} is missing: name each Safe as eip155:1:0x…, separated by spaces", field=SAFES)
    return frozenset(one.lower() for one in named)


def basic(secret: bytes, name: str) -> bytes:
    """Return `user:password` of a secret. Raises ConfigurationError naming it when it is of the wrong form."""
    user, colon, password = secret.strip().partition(b":")
    if not colon or not user or len(password) < _MIN_PASSWORD or not secret.isascii():
        raise ConfigurationError(f"{name} must be user:password with a password of 16 characters or more", field=name)
    return secret.strip()


def _expected(credentials: bytes) -> bytes:
    return hashlib.sha256(b"Basic " + base64.b64encode(credentials)).digest()


def _lower(address: str | None) -> str | None:
    return None if address is None else address.lower()
