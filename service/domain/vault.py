"""The vault's records: wallets with sealed seeds, leaf keys, rotations, and prepared sweep transactions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.domain.ids import AccountId


class WalletState(StrEnum):
    """A compromised wallet still signs sweeps; nothing new is derived from it."""

    ACTIVE = "active"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


class SweepState(StrEnum):
    """`signed` is committed before the transaction is sent, so that a lost answer can be asked for by its hash."""

    SIGNED = "signed"
    SENT = "sent"
    FINAL = "final"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wallet:
    """One seed, sealed by the vault token."""

    id: str
    sealed_seed: bytes
    state: WalletState
    restored: bool = False
    """A ceremony restored its seed: addresses under it may have been used before we knew it."""


@dataclass(frozen=True, slots=True)
class VaultKey:
    """One leaf that the vault token holds, or can derive. `state` is a `hsm.restrictions.KeyState`."""

    id: str
    wallet_id: str
    account_id: AccountId
    path: str
    chain: str
    """CAIP-2."""
    public_key: bytes
    address: str
    """0x address, EIP-55 checksummed."""
    state: str
    destroy_from: datetime | None = None
    """A quorum decided that the retired key is destroyed, from this moment on."""
    destroy_by: str = ""
    """Idempotency key of the step that carried the decision."""


@dataclass(frozen=True, slots=True)
class RotationRecord:
    """One rotation; its state is what replaying `events` gives (`hsm/rotation.py`)."""

    id: str
    step_key: str
    """Idempotency key of the step that began it."""
    account_id: AccountId
    scope: str
    """leaf | account_key | seed"""
    old_wallet_id: str
    old_path: str
    new_wallet_id: str
    new_path: str
    state: str
    events: tuple[tuple[str, dict[str, str]], ...]
    """(kind, fields) of each event, in order."""


@dataclass(frozen=True, slots=True)
class SweepTransaction:
    """One signed transfer of everything of one asset to a verified safe destination."""

    id: str
    step_key: str
    account_id: AccountId
    chain: str
    from_address: str
    to_address: str
    asset: str
    """CAIP-19."""
    amount_base_units: int
    nonce: int
    raw_transaction: bytes
    transaction_hash: str
    state: SweepState
