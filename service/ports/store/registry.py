"""Who decides and what is connected: reading for everybody, registering accounts for the API.

People, factors, policies, connections, channels and safe destinations after set-up are written by the authority alone
(`store/decided.py`); the database's grants hold that line.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from service.domain.account import Account, AccountRef, Holder
from service.domain.ids import AccountId, ConnectionId, PersonId
from service.domain.person import Person
from service.domain.signed import Signed


@dataclass(frozen=True, slots=True)
class Connection:
    """One configured source of activity; its secrets are sealed and read apart."""

    id: ConnectionId
    platform: str
    name: str
    settings: Mapping[str, str]
    state: str
    """active | paused"""
    version: int


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """One secret of a connection, sealed for the process that may open it (`domain/setup.py: secret_aad`)."""

    name: str
    opened_by: str
    """api | containment"""
    sealed: bytes


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One delivery channel. `config` has no secret; `sealed_secret` is for the containment worker."""

    id: str
    kind: str
    config: Mapping[str, object]
    sealed_secret: bytes | None


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """A safe destination as stored: usable only when both signatures hold.

    `registered` is the authority's statement (`domain/setup.py`); `signature` is the vault token's, None until the key
    worker checked the statement and signed.
    """

    account_id: AccountId
    chain: str
    descriptor: str
    active_from: datetime
    registered: Signed
    signature: bytes | None
    approval_id: str | None


@dataclass(frozen=True, slots=True)
class Ours:
    """Destinations that may be our own."""

    addresses: frozenset[str]
    """Addresses of registered accounts, in lower case."""
    safe: Sequence[DestinationRow]
    """Rows that name a destination as a safe one, by its descriptor with or without its chain; not verified."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What the API stores of an account that is registered."""

    account: Account
    name: str
    assets: tuple[str, ...]
    """CAIP-19 ids that a sweep must carry."""
    destinations: tuple[DestinationRow, ...]


class RegistryStore(Protocol):
    """See the module."""

    def account(self, account_id: AccountId) -> Account:
        """Raises NotFoundError."""
        ...

    def account_at(self, at: AccountRef) -> Account | None:
        """Return the registered account at a platform's own id, or None."""
        ...

    def accounts_at(self, at: Sequence[AccountRef]) -> Sequence[Account]:
        """The registered ones among these, each once, in their order."""
        ...

    def accounts_of(self, connection: ConnectionId, holder: Holder | None = None) -> Sequence[Account]:
        """Every registered account of a connection, or only those held so, by ref."""
        ...

    def ours_among(self, connections: Sequence[ConnectionId], destinations: Sequence[str]) -> Ours:
        """What of these destinations, in lower case, is registered for accounts of these connections."""
        ...

    def accounts_sharing(self, wallet_id: str, account_path: str | None = None) -> Sequence[Account]:
        """Every account under a wallet's seed, or only those under one account path of it."""
        ...

    def register_account(self, new: NewAccount) -> None:
        """Insert an account with its safe destinations. Raises ConflictError when (connection, ref) is registered."""
        ...

    def destinations(self, account_id: AccountId) -> Sequence[DestinationRow]:
        """Every registered safe destination of an account, newest `active_from` first; the reader checks signatures."""
        ...

    def destinations_of(self, account_ids: Collection[AccountId]) -> Mapping[AccountId, Sequence[DestinationRow]]:
        """The same of many accounts by one query; an account without any is not in the answer."""
        ...

    def connection(self, connection_id: ConnectionId) -> Connection:
        """Raises NotFoundError."""
        ...

    def connections(self) -> Sequence[Connection]:
        """Every connection, by id."""
        ...

    def secrets(self, connection_id: ConnectionId, opened_by: str) -> Sequence[SealedSecret]:
        """The sealed secrets that one process kind may open."""
        ...

    def reached(self, connection_id: ConnectionId, opened_by: str) -> tuple[Connection, Mapping[str, bytes]]:
        """One connection, and by name the sealed secrets that a process kind may open. Raises NotFoundError."""
        ...

    def channels(self) -> Sequence[ChannelRow]:
        """Every channel, by id."""
        ...

    def person(self, person_id: PersonId) -> Person:
        """Raises NotFoundError."""
        ...

    def people(self) -> Sequence[Person]:
        """Everybody, whatever their state, by id."""
        ...

    def eligible(self) -> Sequence[Person]:
        """Active people with a factor that counts now: confirmed, and either from set-up or a day old."""
        ...

    def factor_moments(self, person: PersonId, factor_id: str) -> Mapping[str, datetime]:
        """When a person's factor was `shown` and `confirmed`, each as far as it was; empty when he has no such factor."""
        ...

    def policy(self) -> Signed | None:
        """The newest policy with its signature, unverified; None before set-up is complete."""
        ...

    def set_up_at(self) -> datetime | None:
        """When set-up was completed, or None."""
        ...
