"""API tokens: shown once, stored as a hash, bound to a role and where it applies to a person or a connection.

Rules: an ingest token belongs to a connection that exists, a person's token to an active person who has the role: a token
never gives what the registry does not. Every token made and revoked is in the audit log with who did it.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.deps import Admin, Id, Parts, name_of
from service.api.issued import Grant, issue_token
from service.api.pagination import Listing, listing
from service.api.schemas.access import TokenIn, TokenMade, TokensAsked, TokenShown
from service.domain.errors import InputError
from service.domain.ids import ConnectionId, PersonId
from service.domain.person import PersonState
from service.domain.quorum import Role
from service.domain.timeline import Entry
from service.store.queries import reading
from service.store.tables.access import api_tokens
from service.store.unit_of_work import SqlUnitOfWork

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.get("", summary="List tokens, without what they are")
def list_tokens(parts: Parts, _admin: Admin, asked: Annotated[TokensAsked, Query()]) -> Listing[TokenShown]:
    """Return a page of tokens."""
    span = asked.span()
    with parts.database.begin() as uow:
        return listing(reading.tokens_page(uow.connection, span, uow.now if asked.usable else None), TokenShown)


@router.post("", summary="Make a token; it is shown this once", status_code=201)
def make_token(body: TokenIn, parts: Parts, admin: Admin) -> TokenMade:
    """Make a token for a role."""
    with parts.database.begin() as uow:
        _check(uow, body)
        grant = Grant(body.role, body.label, name_of(admin), body.person, body.connection, body.valid_days)
        token = issue_token(uow, grant)
    return TokenMade(id=f"tok_{token.split('_')[1]}", token=token)


@router.delete("/{token_id}", summary="Revoke a token", status_code=204)
def revoke_token(token_id: Id, parts: Parts, admin: Admin) -> None:
    """Revoke a token; it stops working within seconds in every process."""
    with parts.database.begin() as uow:
        reading.token(uow.connection, token_id)
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


def _check(uow: SqlUnitOfWork, wanted: TokenIn) -> None:
    if (wanted.role is Role.INGEST) != (wanted.connection is not None):
        raise InputError("an ingest token belongs to one connection, others to none", field="connection")
    if wanted.connection is not None:
        if wanted.person is not None:
            raise InputError("an ingest token belongs to a connection, not to a person", field="person")
        uow.registry.connection(ConnectionId(wanted.connection))
    if wanted.person is not None:
        person = uow.registry.person(PersonId(wanted.person))
        if person.state is not PersonState.ACTIVE or wanted.role not in person.roles:
            raise InputError(
                f"{person.id} is {person.state.value} with the roles {', '.join(sorted(person.roles))}: a token has one "
                "of the roles of an active person",
                field="role",
            )
