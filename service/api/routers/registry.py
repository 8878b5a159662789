"""Accounts and connections. A connection's settings and secrets never leave; adding one takes a quorum after set-up.

Rules: registering an account only widens what is watched and held, so an administrator may; its safe destinations take a
quorum (`change.destination.register`), and nothing is swept before they are signed. It says no addresses: one of ours is
never locked as a destination, so naming an attacker's would blind us (design D4); the vault's own are written by the key
worker.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.deps import Admin, Id, Parts, Reader, name_of
from service.api.pagination import Listing, listing
from service.api.schemas.registry import (
    AccountNew,
    AccountsAsked,
    AccountShown,
    AccountWhole,
    ConnectionsAsked,
    ConnectionShown,
)
from service.domain.account import Account, AccountRef
from service.domain.assets import spelt_once
from service.domain.events import AccountRegistered
from service.domain.ids import AccountId, ConnectionId, new_id
from service.domain.timeline import Entry
from service.ports.store.registry import NewAccount
from service.store.queries import reading
from service.store.tables.keys import accounts
from service.store.unit_of_work import SqlUnitOfWork

router = APIRouter(prefix="/v1", tags=["registry"])


@router.get("/accounts", summary="List registered accounts")
def list_accounts(parts: Parts, _reader: Reader, asked: Annotated[AccountsAsked, Query()]) -> Listing[AccountShown]:
    """Return a page of accounts."""
    span = asked.span()
    filters = {"connection_id": asked.connection, "ref": asked.ref}
    live = None if asked.live is None else asked.live == "yes"
    with parts.database.begin() as uow:
        return listing(reading.accounts_page(uow.connection, span, filters, live=live), AccountShown)


@router.get("/accounts/{account_id}", summary="One account with its safe destinations")
def get_account(account_id: Id, parts: Parts, _reader: Reader) -> AccountWhole:
    """Return one account."""
    with parts.database.begin() as uow:
        return _account(uow, account_id)


@router.post("/accounts", summary="Register an account to watch and guard", status_code=201)
def register_account(body: AccountNew, parts: Parts, admin: Admin) -> AccountWhole:
    """Register an account; the key worker makes its wallet when the vault holds its key."""
    account = Account(
        id=AccountId(new_id("acc")),
        at=AccountRef(ConnectionId(body.connection), body.ref),
        holder=body.holder,
        addresses=(),
        peer_group=body.peer_group,
        live_since=None,
    )
    with parts.database.begin() as uow:
        uow.registry.connection(account.at.connection)
        uow.registry.register_account(
            NewAccount(account=account, name=body.name or "", assets=spelt_once(body.assets), destinations=())
        )
        entry = Entry(
            kind="account.registered",
            at=uow.now,
            subject=account.id,
            sentence=f"Account {account.at.entity} was registered",
            by=name_of(admin),
            facts={"holder": account.holder.value, "chains": []},
        )
        uow.record(entry, AccountRegistered(account.id))
        return _account(uow, account.id)


@router.post("/accounts/{account_id}/go-live", summary="End the history phase: from now on alerts are raised")
def go_live(account_id: Id, parts: Parts, admin: Admin) -> AccountWhole:
    """Mark an account as live; repeating it changes nothing."""
    with parts.database.begin() as uow:
        reading.account(uow.connection, account_id)
        changed = uow.connection.execute(
            accounts.update()
            .where(accounts.c.id == account_id, accounts.c.live_since.is_(None))
            .values(live_since=uow.now)
        )
        if changed.rowcount:
            uow.record(
                Entry(
                    kind="account.went_live",
                    at=uow.now,
                    subject=account_id,
                    sentence=f"Account {account_id} is live",
                    by=name_of(admin),
                )
            )
        return _account(uow, account_id)


@router.get("/connections", summary="List connections")
def list_connections(
    parts: Parts, _reader: Reader, asked: Annotated[ConnectionsAsked, Query()]
) -> Listing[ConnectionShown]:
    """Return a page of connections: id, platform, name, state."""
    span = asked.span()
    with parts.database.begin() as uow:
        return listing(reading.connections_page(uow.connection, span), ConnectionShown)


@router.get("/connections/{connection_id}", summary="One connection")
def get_connection(connection_id: Id, parts: Parts, _reader: Reader) -> ConnectionShown:
    """Return one connection."""
    with parts.database.begin() as uow:
        return ConnectionShown.model_validate(reading.connection_row(uow.connection, connection_id))


def _account(uow: SqlUnitOfWork, account_id: str) -> AccountWhole:
    return AccountWhole.model_validate(reading.account(uow.connection, account_id))
