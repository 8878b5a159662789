"""API tokens: shown once, stored as a hash, bound to a role and where it applies to a person or a connection."""

import hashlib
import secrets
from datetime import timedelta

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.deps import Admin, Parts, name_of
from service.domain.errors import InputError
from service.domain.ids import new_id
from service.domain.quorum import Role
from service.domain.timeline import Entry
from service.store.tables.access import api_tokens

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


class TokenIn(BaseModel):
    """A token to make. An ingest token belongs to one connection."""

    label: str = Field(min_length=1, max_length=100, examples=["batch loader"])
    role: Role = Field(examples=["ingest"])
    connection: str | None = Field(default=None, max_length=64)
    person: str | None = Field(default=None, max_length=64)
    valid_days: int = Field(default=90, ge=1, le=366)


@router.post("", summary="Make a token; it is shown this once", status_code=201)
def make_token(body: TokenIn, parts: Parts, admin: Admin) -> dict[str, str]:
    """Make a token for a role."""
    if (body.role is Role.INGEST) != (body.connection is not None):
        raise InputError("an ingest token belongs to one connection, others to none", field="connection")
    token_id = new_id("tok")
    token = f"pcl_{token_id.removeprefix('tok_')}_{secrets.token_urlsafe(32)}"
    with parts.database.begin() as uow:
        uow.connection.execute(
            api_tokens.insert().values(
                id=token_id,
                token_hash=hashlib.sha256(token.encode()).digest(),
                role=body.role.value,
                person_id=body.person,
                connection_id=body.connection,
                label=body.label,
                created_at=uow.now,
                expires_at=uow.now + timedelta(days=body.valid_days),
            )
        )
        uow.record(
            Entry(
                kind="token.made",
                at=uow.now,
                subject=token_id,
                sentence=f"API token {body.label} made for role {body.role.value}",
                by=name_of(admin),
                facts={"role": body.role.value, "connection": body.connection},
            )
        )
    return {"id": token_id, "token": token}


@router.delete("/{token_id}", summary="Revoke a token", status_code=204)
def revoke_token(token_id: str, parts: Parts, admin: Admin) -> None:
    """Revoke a token; it stops working within seconds in every process."""
    with parts.database.begin() as uow:
        changed = uow.connection.execute(
            api_tokens.update()
            .where(api_tokens.c.id == token_id, api_tokens.c.revoked_at.is_(None))
            .values(revoked_at=uow.now)
        )
        if changed.rowcount:
            uow.record(
                Entry(
                    kind="token.revoked", at=uow.now, subject=token_id, sentence="API token revoked", by=name_of(admin)
                )
            )
