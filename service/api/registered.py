"""Registering accounts: the authority signs their safe destinations first, then the rows are written together.

Rules: an account's id is made here and stands in what the authority signs; a safe destination without its signed statement
is never written; the key worker checks the statement again before the vault token signs.
"""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from service.api.deps import ApiParts
from service.domain.account import Account, AccountRef, Holder
from service.domain.assets import spelt_once
from service.domain.errors import InputError, UnavailableError
from service.domain.events import AccountRegistered
from service.domain.ids import AccountId, ConnectionId, new_id
from service.domain.setup import registered_destination
from service.domain.signed import Signed
from service.domain.timeline import Entry
from service.ports.store.registry import DestinationRow, NewAccount

PUBLIC_KEY = "authority-votes.pem"


class DestinationIn(BaseModel):
    """Where an account's funds on one chain may be swept."""

    chain: str = Field(max_length=41, examples=["eip155:1"], description="CAIP-2.")
    descriptor: str = Field(min_length=1, max_length=1000, description="An address, or a BIP-380 descriptor.")


class AccountIn(BaseModel):
    """A custody account to guard."""

    connection: str = Field(max_length=40, examples=["main"])
    ref: str = Field(min_length=1, max_length=200, examples=["hot-eth-1"], description="The platform's own id.")
    name: str = Field(default="", max_length=200)
    holder: Holder = Field(examples=["platform"])
    addresses: list[str] = Field(default_factory=list, max_length=1000, description="CAIP-10.")
    assets: list[str] = Field(default_factory=list, max_length=200, description="CAIP-19 ids that a sweep carries.")
    peer_group: str = Field(default="default", min_length=1, max_length=100)
    wallet_id: str | None = Field(default=None, max_length=64, description="The vault wallet that it shares.")
    safe_destinations: list[DestinationIn] = Field(default_factory=list, max_length=20)


def register(parts: ApiParts, token: str, given: Sequence[AccountIn]) -> list[dict[str, str]]:
    """Have the authority sign, then store the accounts; each is handed to the key worker by event."""
    ids = [AccountId(new_id("acc")) for _ in given]
    sent = [
        {
            "id": account_id,
            "connection": one.connection,
            "ref": one.ref,
            "safe_destinations": [d.model_dump() for d in one.safe_destinations],
        }
        for account_id, one in zip(ids, given, strict=True)
    ]
    answer = parts.authority.call("/setup/accounts", {"token": token, "accounts": sent})["accounts"]
    if not isinstance(answer, dict):
        raise UnavailableError("the authority's answer is not understood: nothing was stored")
    pem = (parts.settings.public / PUBLIC_KEY).read_bytes()
    rows = [_new(account_id, one, answer[account_id], pem) for account_id, one in zip(ids, given, strict=True)]
    with parts.database.begin() as uow:
        for row in rows:
            uow.registry.register_account(row)
            at = row.account.at
            entry = Entry(
                kind="account.registered",
                at=uow.now,
                subject=row.account.id,
                sentence=f"Account {at.entity} was registered",
                by="setup",
                facts={"holder": row.account.holder.value, "chains": [d.chain for d in row.destinations]},
            )
            uow.record(entry, AccountRegistered(row.account.id))
    return [{"id": a.account.id, "connection": a.account.at.connection, "ref": a.account.at.ref} for a in rows]


def _new(account_id: AccountId, given: AccountIn, signed: object, pem: bytes) -> NewAccount:
    at = AccountRef(ConnectionId(given.connection), given.ref)
    if given.wallet_id is not None and given.holder is not Holder.VAULT_KEY:
        raise InputError("only an account with a vault key has a wallet_id", field="wallet_id")
    return NewAccount(
        account=Account(
            id=account_id,
            at=at,
            holder=given.holder,
            addresses=tuple(given.addresses),
            peer_group=given.peer_group,
            live_since=None,
            wallet_id=given.wallet_id,
        ),
        name=given.name,
        assets=spelt_once(given.assets),
        destinations=tuple(_destination(account_id, one, pem) for one in signed) if isinstance(signed, list) else (),
    )


def _destination(account_id: AccountId, told: dict[str, str], pem: bytes) -> DestinationRow:
    registered = Signed(told["statement"], bytes.fromhex(told["signature"]))
    stated = registered_destination(registered, pem)
    return DestinationRow(account_id, stated.chain, stated.descriptor, stated.active_from, registered, None, None)
