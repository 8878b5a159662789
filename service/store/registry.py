"""People, connections, accounts, policy on PostgreSQL; implements `ports.store.registry.RegistryStore`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Row, Text, and_, any_, bindparam, func, insert, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.account import Account, AccountRef, Holder
from service.domain.errors import ConflictError, NotFoundError
from service.domain.ids import AccountId, ConnectionId, PersonId
from service.domain.person import Person, PersonState
from service.domain.quorum import Role
from service.domain.signed import Signed
from service.ports.store.registry import ChannelRow, Connection, DestinationRow, NewAccount, Ours, SealedSecret
from service.store.quick import rows
from service.store.tables.keys import accounts, safe_destinations
from service.store.tables.registry import channels, connection_secrets, connections, factors, people, policies, setup

FACTOR_AGE: Final = timedelta(hours=24)
"""How long a factor enrolled after set-up waits before it counts: time to notice one that should not be there."""


def account_of(row: Row[Any]) -> Account:
    """Build an account from its row."""
    return Account(
        id=AccountId(row.id),
        at=AccountRef(ConnectionId(row.connection_id), row.ref),
        holder=Holder(row.holder),
        addresses=tuple(row.addresses),
        peer_group=row.peer_group,
        live_since=row.live_since,
        wallet_id=row.wallet_id,
        account_path=row.account_path,
    )


def person_of(row: Row[Any]) -> Person:
    """Build a person from its row."""
    return Person(
        id=PersonId(row.id),
        name=row.name,
        email=row.email,
        roles=frozenset(Role(role) for role in row.roles),
        state=PersonState(row.state),
        oncall_level=row.oncall_level,
        channels=tuple(row.channels),
    )


def destination_of(row: Row[Any]) -> DestinationRow:
    """Build a safe destination from its row."""
    return DestinationRow(
        account_id=AccountId(row.account_id),
        chain=row.chain,
        descriptor=row.descriptor,
        active_from=row.active_from,
        registered=Signed(row.statement, row.statement_signature),
        signature=row.signature,
        approval_id=row.approval_id,
    )


def _connection_of(row: Row[Any]) -> Connection:
    return Connection(ConnectionId(row.id), row.platform, row.name, dict(row.config), row.state, row.version)


class RegistryRepository:
    """See the port."""

    def __init__(self, connection: SqlConnection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def account(self, account_id: AccountId) -> Account:
        """Read one account."""
        row = self._connection.execute(select(accounts).where(accounts.c.id == account_id)).first()
        if row is None:
            raise NotFoundError(f"there is no account {account_id}", field="account")
        return account_of(row)

    def account_at(self, at: AccountRef) -> Account | None:
        """Find the account at a platform's id."""
        row = self._connection.execute(_ACCOUNT_AT, {"connection": at.connection, "ref": at.ref}).first()
        return None if row is None else account_of(row)

    def accounts_at(self, at: Sequence[AccountRef]) -> Sequence[Account]:
        """Find the accounts at platforms' ids, by one query."""
        wanted = list(dict.fromkeys(at))
        named = {"connections": [one.connection for one in wanted], "refs": [one.ref for one in wanted]}
        return [account_of(row) for row in rows(self._connection, _ACCOUNTS_AT, named)] if wanted else []

    def accounts_of(self, connection: ConnectionId, holder: Holder | None = None) -> Sequence[Account]:
        """List a connection's accounts."""
        held = list(Holder) if holder is None else [holder]
        values = {"connection": connection, "holders": [one.value for one in held]}
        return [account_of(row) for row in rows(self._connection, _ACCOUNTS_OF, values)]

    def ours_among(self, connections: Sequence[ConnectionId], destinations: Sequence[str]) -> Ours:
        """Find those of these destinations that are registered, by one query."""
        named = {"connections": list(connections), "destinations": list(destinations)}
        found = rows(self._connection, _OURS_AMONG, named)
        addresses = frozenset(address.lower() for row in found for address in row.addresses)
        return Ours(addresses, [destination_of(row) for row in found if row.account_id is not None])

    def accounts_sharing(self, wallet_id: str, account_path: str | None = None) -> Sequence[Account]:
        """List the accounts under one seed or one account key."""
        wanted = select(accounts).where(accounts.c.wallet_id == wallet_id).order_by(accounts.c.id)
        if account_path is not None:
            wanted = wanted.where(accounts.c.account_path == account_path)
        return [account_of(row) for row in self._connection.execute(wanted)]

    def register_account(self, new: NewAccount) -> None:
        """Insert an account and its safe destinations."""
        account = new.account
        provisioned_by_us = account.holder is not Holder.PLATFORM
        inserted = self._connection.execute(
            upsert(accounts)
            .values(
                id=account.id,
                connection_id=account.at.connection,
                ref=account.at.ref,
                name=new.name,
                holder=account.holder.value,
                addresses=list(account.addresses),
                assets=list(new.assets),
                peer_group=account.peer_group,
                wallet_id=account.wallet_id,
                account_path=account.account_path,
                provisioning="pending" if provisioned_by_us or new.destinations else "ready",
                created_at=self._now,
            )
            .on_conflict_do_nothing()
            .returning(accounts.c.id)
        ).first()
        if inserted is None:
            raise ConflictError(f"account {account.at.entity} is already registered", field="ref")
        for destination in new.destinations:
            self._connection.execute(insert(safe_destinations).values(destination_values(destination, self._now)))

    def destinations(self, account_id: AccountId) -> Sequence[DestinationRow]:
        """List an account's safe destinations, newest first."""
        return self.destinations_of([account_id]).get(account_id, [])

    def destinations_of(self, account_ids: Collection[AccountId]) -> Mapping[AccountId, Sequence[DestinationRow]]:
        """List many accounts' safe destinations, each account's newest first."""
        found: dict[AccountId, list[DestinationRow]] = {}
        for row in self._connection.execute(_DESTINATIONS_OF, {"accounts": list(account_ids)}):
            found.setdefault(AccountId(row.account_id), []).append(destination_of(row))
        return found

    def connection(self, connection_id: ConnectionId) -> Connection:
        """Read one connection."""
        row = self._connection.execute(select(connections).where(connections.c.id == connection_id)).first()
        if row is None:
            raise NotFoundError(f"there is no connection {connection_id}", field="connection")
        return _connection_of(row)

    def connections(self) -> Sequence[Connection]:
        """List the connections."""
        return [_connection_of(row) for row in self._connection.execute(select(connections).order_by(connections.c.id))]

    def secrets(self, connection_id: ConnectionId, opened_by: str) -> Sequence[SealedSecret]:
        """List the sealed secrets that one process kind may open."""
        mine = and_(connection_secrets.c.connection_id == connection_id, connection_secrets.c.opened_by == opened_by)
        rows = self._connection.execute(select(connection_secrets).where(mine).order_by(connection_secrets.c.name))
        return [SealedSecret(row.name, row.opened_by, row.sealed) for row in rows]

    def reached(self, connection_id: ConnectionId, opened_by: str) -> tuple[Connection, Mapping[str, bytes]]:
        """Read one connection with the sealed secrets that one process kind may open."""
        found = rows(self._connection, _REACHED, {"connection": connection_id, "opened_by": opened_by})
        if not found:
            raise NotFoundError(f"there is no connection {connection_id}", field="connection")
        return _connection_of(found[0]), {row.secret: row.sealed for row in found if row.secret is not None}

    def channels(self) -> Sequence[ChannelRow]:
        """List the channels."""
        rows = self._connection.execute(select(channels).order_by(channels.c.id))
        return [ChannelRow(row.id, row.kind, dict(row.config), row.sealed_secret) for row in rows]

    def person(self, person_id: PersonId) -> Person:
        """Read one person."""
        row = self._connection.execute(select(people).where(people.c.id == person_id)).first()
        if row is None:
            raise NotFoundError(f"there is no person {person_id}", field="person")
        return person_of(row)

    def people(self) -> Sequence[Person]:
        """List everybody."""
        return [person_of(row) for row in self._connection.execute(select(people).order_by(people.c.id))]

    def eligible(self) -> Sequence[Person]:
        """List the active people whose factor counts now."""
        old_enough = or_(factors.c.during_setup, factors.c.confirmed_at <= self._now - FACTOR_AGE)
        usable = select(factors.c.person_id).where(
            factors.c.confirmed_at.is_not(None), factors.c.revoked_at.is_(None), old_enough
        )
        wanted = select(people).where(people.c.state == PersonState.ACTIVE.value, people.c.id.in_(usable))
        return [person_of(row) for row in self._connection.execute(wanted.order_by(people.c.id))]

    def factor_moments(self, person: PersonId, factor_id: str) -> Mapping[str, datetime]:
        """Read what happened to a factor."""
        query = select(factors.c.seed_shown_at.label("shown"), factors.c.confirmed_at.label("confirmed"))
        row = self._connection.execute(query.where(factors.c.id == factor_id, factors.c.person_id == person)).first()
        moments = {} if row is None else {"shown": row.shown, "confirmed": row.confirmed}
        return {what: at for what, at in moments.items() if at is not None}

    def policy(self) -> Signed | None:
        """Read the newest policy."""
        found = rows(self._connection, _POLICY, {})
        return Signed(found[0].body, found[0].signature) if found else None

    def set_up_at(self) -> datetime | None:
        """Read when set-up was completed."""
        return self._connection.execute(select(setup.c.completed_at)).scalar_one_or_none()


_ACCOUNT_AT: Final = select(accounts).where(
    accounts.c.connection_id == bindparam("connection"), accounts.c.ref == bindparam("ref")
)
_AT: Final = (
    func.unnest(*(bindparam(name, type_=ARRAY(Text)) for name in ("connections", "refs")))
    .table_valued("connection", "ref", with_ordinality="place")
    .render_derived()
)
_ACCOUNTS_AT: Final = (
    select(accounts)
    .join(_AT, and_(accounts.c.connection_id == _AT.c.connection, accounts.c.ref == _AT.c.ref))
    .order_by(_AT.c.place)
)
_ACCOUNTS_OF: Final = (
    select(accounts)
    .where(
        accounts.c.connection_id == bindparam("connection"),
        accounts.c.holder == any_(bindparam("holders", type_=ARRAY(Text))),
    )
    .order_by(accounts.c.ref)
)
_AMONG: Final = bindparam("destinations", type_=ARRAY(Text))
_ADDRESS: Final = func.unnest(accounts.c.addresses).column_valued("address")
_SAFE_AMONG: Final = or_(
    func.lower(safe_destinations.c.descriptor) == any_(_AMONG),
    func.lower(safe_destinations.c.chain + ":" + safe_destinations.c.descriptor) == any_(_AMONG),
)
_OURS_AMONG: Final = (
    select(accounts.c.addresses, safe_destinations)
    .outerjoin(safe_destinations, and_(safe_destinations.c.account_id == accounts.c.id, _SAFE_AMONG))
    .where(
        accounts.c.connection_id == any_(bindparam("connections", type_=ARRAY(Text))),
        or_(
            safe_destinations.c.account_id.is_not(None),
            select(_ADDRESS).where(func.lower(_ADDRESS) == any_(_AMONG)).exists(),
        ),
    )
)
_DESTINATIONS_OF: Final = (
    select(safe_destinations)
    .where(safe_destinations.c.account_id == any_(bindparam("accounts", type_=ARRAY(Text))))
    .order_by(safe_destinations.c.chain, safe_destinations.c.active_from.desc())
)
_POLICY: Final = select(policies).order_by(policies.c.version.desc()).limit(1)
_REACHED: Final = (
    select(connections, connection_secrets.c.name.label("secret"), connection_secrets.c.sealed)
    .outerjoin(
        connection_secrets,
        and_(
            connection_secrets.c.connection_id == connections.c.id,
            connection_secrets.c.opened_by == bindparam("opened_by"),
        ),
    )
    .where(connections.c.id == bindparam("connection"))
    .order_by(connection_secrets.c.name)
)
"""Made once, as those above: making a statement takes longer than running it, and holds wait for these."""


def destination_values(destination: DestinationRow, now: datetime) -> dict[str, object]:
    """Return the columns of a safe destination that is registered now; the vault's signature comes later."""
    return {
        "account_id": destination.account_id,
        "chain": destination.chain,
        "descriptor": destination.descriptor,
        "active_from": destination.active_from,
        "statement": destination.registered.body,
        "statement_signature": destination.registered.signature,
        "approval_id": destination.approval_id,
        "created_at": now,
    }
