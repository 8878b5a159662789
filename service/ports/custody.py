"""What a custody platform offers: webhooks in, a gate before signing, and calls that contain.

A platform is one package or module under `service/custody/` that provides `PLATFORM: PlatformDeclaration`. Inbound
parts run in the API process with the connection's inbound secrets; the outbound part runs in the containment worker with
the platform token. Each capability that a platform lacks is missing from `capabilities`, and calling it raises
MissingCapabilityError, never a pretended success.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from service.domain.account import AccountRef
from service.domain.activity import Activity
from service.domain.ids import ConnectionId
from service.domain.plan import Receipt, Verdict
from service.ports.gate import GateDoor


class Capability(StrEnum):
    """What a platform can do for us."""

    HOLD_OUTGOING = "hold_outgoing"
    CANCEL_PENDING = "cancel_pending"
    DROP_BROADCAST = "drop_broadcast"
    """Replace a transfer that was sent and is in no block yet by one of its nonce that moves nothing."""
    LOCK_DESTINATION = "lock_destination"
    REVOKE_CREDENTIAL = "revoke_credential"
    FORBID_ONE_TIME_ADDRESSES = "forbid_one_time_addresses"
    FREEZE_WORKSPACE = "freeze_workspace"
    FREEZE_ACCOUNT = "freeze_account"
    """For a time that nobody can shorten."""
    PUBLISH_ADDRESS = "publish_address"
    REJECT_CHANGES = "reject_changes"
    """Of its policy, its users and its approvals, while they wait for approval."""


def nobody_hears(_answered: bool) -> None:  # noqa: FBT001  a callback's only word
    """Stand where nobody wants to know whether a platform answers."""


class Pace(Protocol):
    """How fast one connection's platform may be called, over all workers."""

    def turn(self, per_s: float) -> float | None:
        """Wait for the next turn at `per_s` calls a second. Raises CallDeferredError when it is not soon.

        Returns how many seconds the exchange may take in all, None for as long as usual.
        """
        ...

    def slow_down(self, retry_after_s: float) -> None:
        """Note that the platform asked for no call in that time."""
        ...


class Unpaced:
    """Implements `Pace` where nobody counts."""

    def turn(self, per_s: float) -> float | None:  # noqa: ARG002  nobody counts
        """Go at once, with the usual patience."""
        return None

    def slow_down(self, retry_after_s: float) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """One connection as its platform's code gets it. `secret(name)` unseals on demand; the result is never kept."""

    id: ConnectionId
    platform: str
    settings: Mapping[str, str]
    """Non-secret settings; each platform declares and checks its own."""
    secret: Callable[[str], bytes]
    """Raises NotFoundError for a name that was not registered."""
    secret_names: tuple[str, ...]
    heard: Callable[[bool], None] = nobody_hears
    """Told after each exchange with the platform whether it answered at all; for circuit breaking."""
    pace: Pace = field(default_factory=Unpaced)
    """Asked before each exchange with the platform."""


class Delivery(msgspec.Struct, frozen=True):
    """One verified and parsed webhook. `activity` is None for events that are stored but mean nothing to the engine."""

    event_id: str
    activity: Activity | None
    event_type: str = ""
    """The platform's own word for the event, kept when it means nothing to the engine."""
    facts: bytes | None = None
    """What the event's id is held against, where the same event may come with other bytes (a count of retries)."""


class WebhookReceiver(Protocol):
    """Verifies and parses one connection's webhooks. `receive` is called with raw bytes, before anything is parsed."""

    def receive(self, headers: Mapping[bytes, bytes], body: bytes, *, now_s: float) -> Delivery:
        """Verify, then parse. Header names are lower case.

        Raises UnauthenticatedError (signature, timestamp, workspace), InputError (verified but malformed; names the
        field), UnavailableError (our own fault, e.g. a key set that cannot be fetched).
        """
        ...

    def prepare(self, headers: Mapping[bytes, bytes], *, now_s: float) -> Callable[[], None] | None:
        """Return what must be fetched before `receive` can verify this delivery: a call that may block; else None.

        Decided from headers that nobody has verified yet, so it is bounded in how often it fetches and from where.
        """
        ...


@dataclass(frozen=True, slots=True)
class PolledEvent:
    """One event that the platform was asked for; as a `Delivery`, with its bytes."""

    event_id: str
    activity: Activity | None
    event_type: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Polled:
    """What one question brought, and from where to ask next."""

    events: tuple[PolledEvent, ...]
    cursor: str


class EventSource(Protocol):
    """What a platform sends no webhook of and can be asked for."""

    def poll(self, cursor: str | None, *, now: datetime) -> Polled:
        """Return the events since `cursor`, bounded; some may have been returned before. None begins at `now`.

        Raises UnavailableError, RefusedByOtherSideError.
        """
        ...

    def close(self) -> None:
        """Let go of the line to the platform."""
        ...


@dataclass(frozen=True, slots=True)
class PendingTransfer:
    """An outgoing transfer that has not reached the chain, or no block of it yet."""

    transaction: str
    account: str
    destination: str | None
    amount_usd: Decimal | None
    state: str


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A change of policy, users or approvals that waits for approval. `kind` and `state` are the platform's own words."""

    change: str
    kind: str
    state: str


class GateHolds(Protocol):
    """Durable holds that our gate before signing answers RETRY for; how suspension works where the gate is ours."""

    def place(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        """Place a hold; the same key again returns the same receipt. `scope`: account | destination | connection."""
        ...

    def release(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        """Release every hold on it."""
        ...

    def held(self, connection: ConnectionId, scope: str, value: str) -> Verdict:
        """Say whether a hold is in force."""
        ...

    def known_pending(self, account: AccountRef) -> Sequence["PendingTransfer"]:
        """Return the account's outgoing transfers that webhooks told us of and that have not reached the chain."""
        ...


class ContainmentCalls(Protocol):
    """Calls to one connection's platform. `key` is the idempotency key: the same key never acts twice.

    Every call raises RefusedByOtherSideError for a clear no, UnknownOutcomeError when the answer was lost, and
    MissingCapabilityError where the platform has no such call. Every query answers CANNOT_TELL rather than guess.
    """

    @property
    def capabilities(self) -> frozenset[Capability]: ...
    @property
    def ours(self) -> frozenset[Capability]:
        """Return what our own gate does by rows of ours: the platform is never called for it."""
        ...

    def lacks(self, capability: Capability) -> str:
        """Return a sentence that names a missing capability and what to do by hand."""
        ...

    def settled(self, key: str) -> Verdict:
        """Say whether the call made under this key is in force, where the platform can be asked by key.

        CANNOT_TELL where it cannot, or where the question itself failed.
        """
        ...

    def hold_outgoing(self, account: AccountRef, *, key: str) -> Receipt: ...
    def outgoing_held(self, account: AccountRef) -> Verdict: ...
    def release_outgoing(self, account: AccountRef, *, key: str) -> Receipt: ...

    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """Yield the outgoing transfers that were not sent yet. Raises IncompleteListError behind the last that is read."""
        ...

    def cancel(self, account: AccountRef, transaction: str, *, key: str) -> Receipt: ...
    def cancelled(self, transaction: str) -> Verdict: ...

    def broadcast(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """Yield the outgoing transfers that were sent, are in no block yet, and may be dropped; raises as `pending`."""
        ...

    def drop(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:
        """Replace one; that it was accepted says nothing of which of the two gets into a block."""
        ...

    def dropped(self, transaction: str) -> Verdict:
        """HOLDS once it can get into no block any more, DOES_NOT_HOLD while it can and when it did."""
        ...

    def lock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt: ...
    def destination_locked(self, destination: str) -> Verdict: ...
    def unlock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt: ...

    def revoke_credential(self, account: AccountRef | None, actor: str, *, key: str) -> Receipt: ...
    def credential_revoked(self, actor: str) -> Verdict: ...

    def forbid_one_time_addresses(self, *, key: str) -> Receipt: ...
    def one_time_addresses_forbidden(self) -> Verdict: ...
    def allow_one_time_addresses(self, *, key: str) -> Receipt: ...

    def freeze_workspace(self, *, key: str) -> Receipt: ...
    def workspace_frozen(self) -> Verdict: ...

    def freeze_account(self, account: AccountRef, *, seconds: int, key: str) -> Receipt:
        """Freeze one account for that time; a freeze that still has most of it to run is not made again."""
        ...

    def account_frozen(self, account: AccountRef, *, seconds: int) -> Verdict:
        """Whether a freeze of so many seconds is in force that has more than half of them to run."""
        ...

    def publish_address(self, account: AccountRef, address: str, *, key: str) -> Receipt: ...
    def address_published(self, account: AccountRef, address: str) -> Verdict: ...

    def pending_changes(self) -> Iterator[PendingChange]:
        """Yield what waits; RefusedByOtherSideError comes last, naming the places whose changes are not shown."""
        ...

    def reject_change(self, change: str, *, key: str) -> Receipt: ...
    def change_rejected(self, change: str) -> Verdict: ...


@runtime_checkable
class HoldsLine(Protocol):
    """Calls that hold a line open to their platform, and can let go of it."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting or secret that a connection of this platform has."""

    name: str
    required: bool
    secret: bool
    opened_by: str
    """api | containment: which process unseals it (secrets only)."""
    help: str
    check: Callable[[bytes, str], object] | None = None
    """Called with a secret and its name before it is sealed; raises ConfigurationError when the form is wrong."""


class SignHere(Protocol):
    """Signs RS256 with the connection's API key inside the platform token."""

    def __call__(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class PlatformDeclaration:
    """What `service/custody/<platform>` provides as `PLATFORM`: declared once, found by scanning (design D6)."""

    name: str
    title: str
    settings: tuple[Setting, ...]
    capabilities: frozenset[Capability]
    missing: Mapping[Capability, str]
    """For each capability it lacks: why, and what to do by hand. Together they cover every capability."""
    receiver: Callable[[ConnectionConfig], WebhookReceiver]
    calls: Callable[[ConnectionConfig, SignHere | None, GateHolds], ContainmentCalls]
    check_settings: Callable[[Mapping[str, str]], None]
    """Raises InputError naming the setting."""
    gate: Callable[[ConnectionConfig], GateDoor] | None = None
    """Where the platform asks before it signs; None where it cannot."""
    poll: Callable[[ConnectionConfig, SignHere | None], EventSource] | None = None
    """What is asked for where the platform pushes too little; None where nothing is."""
