"""Issuing an API token: shown once, stored as its SHA-256 (`auth.py` checks it)."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from service.domain.ids import new_id
from service.domain.quorum import Role
from service.domain.timeline import Entry
from service.store.tables.access import api_tokens
from service.store.unit_of_work import SqlUnitOfWork


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token lets its holder be."""

    role: Role
    label: str
    by: str
    """Who issued it, for the audit log."""
    person: str | None = None
    connection: str | None = None
    valid_days: int = 366


def issue_token(uow: SqlUnitOfWork, grant: Grant) -> str:
    """Store a new token's hash, record it, and return the token."""
    token_id = new_id("tok")
    token = f"pcl_{token_id.removeprefix('tok_')}_{secrets.token_urlsafe(32)}"
    uow.connection.execute(
        api_tokens.insert().values(
            id=token_id,
            token_hash=hashlib.sha256(token.encode()).digest(),
            role=grant.role.value,
            person_id=grant.person,
            connection_id=grant.connection,
            label=grant.label,
            created_at=uow.now,
            expires_at=uow.now + timedelta(days=grant.valid_days),
        )
    )
    uow.record(
        Entry(
            kind="token.made",
            at=uow.now,
            subject=token_id,
            sentence=f"API token {grant.label} made for role {grant.role.value}",
            by=grant.by,
            facts={"role": grant.role.value, "person": grant.person, "connection": grant.connection},
        )
    )
    return token
