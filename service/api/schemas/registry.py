"""Accounts and connections as they are shown; a connection's settings and secrets are in none of them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from service.api.pagination import Asked, Paged
from service.api.schemas.common import Body, Shown, Words, shows
from service.domain.account import Holder

_ACCOUNT: dict[str, Any] = {
    "id": "acc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8U",
    "connection_id": "main",
    "ref": "hot-eth-1",
    "name": "Hot wallet",
    "holder": "vault_key",
    "addresses": ["eip155:1:0xeb31973e0febf3e3d7058234a5ebbae1ab4b8c23"],
    "assets": ["eip155:1/slip44:60"],
    "peer_group": "default",
    "wallet_id": "wal_01JD2Z5Q8Z6W9X4V7T3S1R0Q8V",
    "account_path": "m/44'/60'/0'",
    "provisioning": "ready",
    "live_since": None,
    "created_at": "2026-01-05T09:00:00Z",
}


class AccountShown(Shown):
    """One registered account. Alerts are raised once it is live."""

    model_config = shows(_ACCOUNT)

    id: str
    connection_id: str
    ref: str
    name: str
    holder: str
    addresses: list[str]
    assets: list[str]
    peer_group: str
    wallet_id: str | None
    account_path: str | None
    provisioning: str = Field(description="pending | ready | failed")
    live_since: datetime | None
    created_at: datetime


class AccountNew(Body):
    """An account to watch and guard, after set-up. Its addresses and safe destinations are not said here."""

    connection: str = Field(min_length=1, max_length=64, examples=["main"])
    ref: Words = Field(min_length=1, max_length=200, examples=["hot-eth-2"], description="The platform's own id.")
    name: Words | None = Field(default=None, max_length=200, examples=["Second hot wallet"])
    holder: Holder = Field(examples=["platform"])
    assets: list[str] = Field(default_factory=list, max_length=200, description="CAIP-19 ids that a sweep carries.")
    peer_group: Words = Field(default="default", min_length=1, max_length=100)


class SafeDestinationShown(Shown):
    """Where funds may be swept; only what is active and signed by the vault is ever used."""

    chain: str
    descriptor: str
    active_from: datetime
    signed: bool


class AccountWhole(AccountShown):
    """One account with its safe destinations, newest first."""

    model_config = shows({**_ACCOUNT, "safe_destinations": []})

    safe_destinations: list[SafeDestinationShown]


class AccountsAsked(Asked):
    """Which accounts to list."""

    connection: str | None = Field(default=None, max_length=64)
    ref: str | None = Field(default=None, max_length=200, description="The platform's own id.")
    live: Literal["yes", "no"] | None = None


class ConnectionShown(Shown):
    """One configured source of activity."""

    model_config = shows(
        {
            "id": "main",
            "platform": "fireblocks",
            "name": "Main workspace",
            "state": "active",
            "version": 1,
            "created_at": "2026-01-05T09:00:00Z",
        }
    )

    id: str
    platform: str
    name: str
    state: str
    version: int
    created_at: datetime


class ConnectionsAsked(Paged):
    """Which connections to list."""
