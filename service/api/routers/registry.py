"""Accounts and connections. A connection's settings and secrets never leave; adding one takes a quorum after set-up."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.deps import Admin, Parts, Reader, name_of
from service.api.pagination import Cursor, Limit, decode, envelope
from service.domain.timeline import Entry
from service.store.queries import reading
from service.store.tables.keys import accounts

router = APIRouter(prefix="/v1", tags=["registry"])


@router.get("/accounts", summary="List registered accounts")
def list_accounts(
    parts: Parts,
    _reader: Reader,
    connection: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, object]:
    """Return a page of accounts."""
    with parts.database.begin() as uow:
        return envelope(reading.accounts_page(uow.connection, of=connection, after=decode(cursor), limit=limit))


@router.get("/accounts/{account_id}", summary="One account with its safe destinations")
def get_account(account_id: str, parts: Parts, _reader: Reader) -> dict[str, object]:
    """Return one account."""
    with parts.database.begin() as uow:
        return dict(reading.account(uow.connection, account_id))


@router.post("/accounts/{account_id}/go-live", summary="End the history phase: from now on alerts are raised")
def go_live(account_id: str, parts: Parts, admin: Admin) -> dict[str, object]:
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
        return dict(reading.account(uow.connection, account_id))


@router.get("/connections", summary="List connections")
def list_connections(parts: Parts, _reader: Reader) -> dict[str, object]:
    """Return every connection: id, platform, name, state."""
    with parts.database.begin() as uow:
        return {"items": reading.connections_list(uow.connection), "next": None}
