"""Accounts, destinations and credentials as targets of containment.

CAIP-2 names a chain, CAIP-10 an account on a chain, CAIP-19 an asset. A custody account is `(connection, ref)`, where
`ref` is the platform's own id of it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.domain.ids import AccountId, ConnectionId


class Holder(StrEnum):
    """Who holds the keys of an account."""

    PLATFORM = "platform"
    VAULT_KEY = "vault_key"
    MULTISIG = "multisig"


class OwnWallet(StrEnum):
    """A kind of wallet whose keys no platform holds; named as the platform whose connections watch it."""

    EVM = "evm"
    """One key of the vault on EVM chains."""
    SAFE = "safe"
    """A multisig contract, some of whose owners' keys are in the vault."""
    BITCOIN = "bitcoin"
    """A descriptor wallet of the vault's keys."""

    @property
    def holder(self) -> Holder:
        """Who holds the keys of an account of this kind."""
        return Holder.MULTISIG if self is OwnWallet.SAFE else Holder.VAULT_KEY


@dataclass(frozen=True, slots=True)
class AccountRef:
    """A custody account as its platform knows it."""

    connection: ConnectionId
    ref: str

    @property
    def entity(self) -> str:
        """The engine's name of this account, unique over connections."""
        return f"{self.connection}/{self.ref}"


@dataclass(frozen=True, slots=True)
class Account:
    """A registered custody account."""

    id: AccountId
    at: AccountRef
    holder: Holder
    addresses: tuple[str, ...]
    """CAIP-10."""
    peer_group: str
    live_since: datetime | None
    """None while only history has been sent."""
    wallet_id: str | None = None
    """The vault wallet, when the holder is a vault key."""
    account_path: str | None = None
    """BIP-32 account path below that wallet's seed."""


@dataclass(frozen=True, slots=True)
class SafeDestination:
    """Where funds of one account may be swept: registered by quorum, signed inside the vault token."""

    account_id: AccountId
    chain: str
    """CAIP-2."""
    descriptor: str
    """An address, or a BIP-380 descriptor."""
    active_from: datetime
    signature: bytes
    """By the vault token's statement key over `domain/statements.py`."""
