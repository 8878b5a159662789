"""What the emulated platform and its chain keep: assets, accounts, destinations, movements and transactions.

Addresses are CAIP-10 with a lower-case EVM address, so that one spelling is one key. Amounts are base units. Times
are Unix milliseconds.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

Platform = Literal["fireblocks", "standard"]
DestinationKind = Literal["attacker", "safe", "customer", "internal"]
FEE_SINK = "eip155:1:0x00000000000000000000000000000000000000fe"


class TxStatus(StrEnum):
    """The platform's primary transaction statuses that the emulator goes through."""

    SUBMITTED = "SUBMITTED"
    PENDING_AUTHORIZATION = "PENDING_AUTHORIZATION"
    QUEUED = "QUEUED"
    PENDING_SIGNATURE = "PENDING_SIGNATURE"
    BROADCASTING = "BROADCASTING"
    CONFIRMING = "CONFIRMING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    BLOCKED = "BLOCKED"
    FAILED = "FAILED"


UNSIGNED = frozenset(
    {TxStatus.SUBMITTED, TxStatus.PENDING_AUTHORIZATION, TxStatus.QUEUED, TxStatus.PENDING_SIGNATURE},
)
STOPPED = frozenset({TxStatus.CANCELLED, TxStatus.REJECTED, TxStatus.BLOCKED, TxStatus.FAILED})
"""Final, and nothing left the account."""
FINAL = frozenset(
    {TxStatus.COMPLETED, TxStatus.CANCELLED, TxStatus.REJECTED, TxStatus.BLOCKED, TxStatus.FAILED},
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset: the platform's id, CAIP-19 id, decimals, price, and the ERC-20 contract (None: the native coin)."""

    id: str
    caip19: str
    decimals: int
    price_usd: Decimal
    contract: str | None


@dataclass(slots=True)
class Account:
    """A vault account. `key_stolen`: thieves move its funds on chain; `at_risk`: counted in the value at risk."""

    id: str
    name: str
    platform: Platform
    addresses: list[str]
    assets: list[str]
    at_risk: bool = False
    key_stolen: bool = False
    held: bool = False
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """A place outside that funds can go to. `wallet_id` names a whitelisted wallet, None a one-time address."""

    address: str
    kind: DestinationKind
    name: str
    wallet_id: str | None = None


@dataclass(frozen=True, slots=True)
class Movement:
    """Funds that changed address on chain, written once and never changed."""

    sequence: int
    at_ms: int
    sender: str
    recipient: str
    asset_id: str
    amount: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class EvmCall:
    """What an EVM transaction does: recipient (0x address), value in wei, calldata."""

    to: str
    value: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Peer:
    """Destination of a transaction as the platform names it."""

    type: str
    id: str | None
    name: str
    sub_type: str
    address: str


@dataclass(slots=True)
class Transaction:
    """A transaction as the platform keeps it. `call` is what is signed; asset, amount and peer are what is shown."""

    id: str
    request_id: str
    operation: str
    asset_id: str
    amount: int
    account_id: str | None
    source_address: str
    peer: Peer
    address_type: str
    created_by: str
    created_at_ms: int
    updated_at_ms: int
    call: EvmCall
    status: TxStatus = TxStatus.SUBMITTED
    sub_status: str = ""
    external_id: str = ""
    note: str = ""
    tx_hash: str = ""
    nonce: int | None = None
    fee: int = 0
    rejected_by: str = ""
    replaced_tx_hash: str = ""
    signed_by: list[str] = field(default_factory=list)
    observed_only: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """A user of the platform."""

    id: str
    name: str
    role: str


@dataclass(slots=True)
class ExternalWallet:
    """A whitelisted wallet and its address; it may be paid only while `status` is APPROVED."""

    id: str
    name: str
    address: str | None
    asset_ids: list[str]
    status: str = "APPROVED"


@dataclass(slots=True)
class InternalWallet:
    """A whitelisted wallet of the workspace's own: an address and an approval for each asset."""

    id: str
    name: str
    assets: dict[str, "WhitelistedAsset"] = field(default_factory=dict)


@dataclass(slots=True)
class WhitelistedAsset:
    """One asset of an internal wallet; it may be paid only while `status` is APPROVED."""

    address: str
    status: str = "WAITING_FOR_APPROVAL"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the platform's own audit log."""

    id: str
    at_ms: int
    user_id: str
    subject: str
    event: str
    category: str
