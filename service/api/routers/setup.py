"""First set-up over HTTP: the one-time token is the authority, and the authority process is who checks it.

Rules: no route here looks at roles; each passes the one-time token on, and nothing is stored by this process before the
authority said yes; API tokens and enrolment codes are shown once, in the answer.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from msgspec import to_builtins
from pydantic import BaseModel, Field

from service.api.deps import Parts
from service.api.issued import Grant, issue_token
from service.api.registered import AccountIn, register
from service.api.sealed import ChannelIn, ConnectionIn, channel_setting, connection_setting
from service.domain.errors import InputError, UnauthenticatedError
from service.domain.quorum import Role
from service.store.unit_of_work import SqlUnitOfWork

router = APIRouter(prefix="/v1/setup", tags=["set-up"])

MAX_TOKEN: Final = 200
TOKEN_ROLES: Final = (Role.ADMIN, Role.RESPONDER, Role.APPROVER, Role.TREASURY, Role.ANALYST, Role.VIEWER)
"""Which of a person's roles his API token gets, unless said otherwise: the first of these that he has."""


def one_time_token(request: Request) -> str:
    """Return the bearer token as sent. Raises UnauthenticatedError when there is none of a plausible form."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN:
        raise UnauthenticatedError("send the set-up token: Authorization: Bearer …")
    return token.strip()


SetupToken = Annotated[str, Depends(one_time_token)]


class PersonIn(BaseModel):
    """A person who decides, or only looks."""

    name: str = Field(min_length=1, max_length=200, examples=["Ada"])
    email: str = Field(min_length=3, max_length=254, examples=["ada@example.org"])
    roles: list[Role] = Field(min_length=1, max_length=10, examples=[["responder", "approver"]])
    oncall_level: int | None = Field(default=None, ge=1, le=3)
    channels: list[dict[str, str]] = Field(default_factory=list, max_length=10)
    token_role: Role | None = Field(default=None, description="Role of the API token that is made for this person.")


class PeopleIn(BaseModel):
    people: list[PersonIn] = Field(min_length=1, max_length=100)


class CodeIn(BaseModel):
    code: str = Field(min_length=6, max_length=10, examples=["123456"])


class ConnectionsIn(BaseModel):
    connections: list[ConnectionIn] = Field(min_length=1, max_length=100)


class ChannelsIn(BaseModel):
    channels: list[ChannelIn] = Field(min_length=1, max_length=100)


class PolicyIn(BaseModel):
    changes: dict[str, object] = Field(
        default_factory=dict, examples=[{"quorums": {"sweep_to_safe": [[1, "responder"], [1, "treasury"]]}}]
    )


class AccountsIn(BaseModel):
    accounts: list[AccountIn] = Field(min_length=1, max_length=1000)


@router.post("/people", summary="Register people; their enrolment codes and API tokens are shown this once")
def people(body: PeopleIn, parts: Parts, token: SetupToken) -> dict[str, object]:
    """Register people."""
    roles = [_token_role(person) for person in body.people]
    sent = [person.model_dump(mode="json", exclude={"token_role"}) for person in body.people]
    answer = parts.authority.call("/setup/people", {"token": token, "people": sent})
    added = answer["people"]
    if not isinstance(added, list) or len(added) != len(roles):
        raise InputError("the authority answered for other people")
    with parts.database.begin() as uow:
        for person, role in zip(added, roles, strict=True):
            grant = Grant(role, f"set-up of {person['person']}", "setup", person=str(person["person"]))
            person["api_token"] = issue_token(uow, grant)
    return {"people": added}


@router.post("/people/{person}/enrol", summary="Show a new enrolment code in place of one that was not confirmed")
def enrol(person: str, parts: Parts, token: SetupToken) -> dict[str, object]:
    """Enrol again."""
    return dict(parts.authority.call("/setup/enrol", {"token": token, "person": person}))


@router.post("/people/{person}/confirm", summary="Confirm a factor by its first code")
def confirm(person: str, body: CodeIn, parts: Parts, token: SetupToken) -> dict[str, object]:
    """Confirm a factor."""
    sent = {"token": token, "person": person, "code": body.code}
    return dict(parts.authority.call("/setup/confirm", sent))


@router.post("/connections", summary="Register connections; an ingest token for each is shown this once")
def connections(body: ConnectionsIn, parts: Parts, token: SetupToken) -> dict[str, object]:
    """Register connections."""
    settings = [connection_setting(parts.settings.public, given) for given in body.connections]
    sent = [to_builtins(setting) for setting in settings]
    parts.authority.call("/setup/connections", {"token": token, "connections": sent})
    with parts.database.begin() as uow:
        return {"connections": [_connected(uow, setting.id) for setting in settings]}


@router.post("/channels", summary="Register delivery channels")
def channels(body: ChannelsIn, parts: Parts, token: SetupToken) -> dict[str, object]:
    """Register channels."""
    sent = [to_builtins(channel_setting(parts.settings.public, given)) for given in body.channels]
    return dict(parts.authority.call("/setup/channels", {"token": token, "channels": sent}))


@router.post("/policy", summary="Lay changes over the policy: quorums, limits, expiries")
def policy(body: PolicyIn, parts: Parts, token: SetupToken) -> dict[str, object]:
    """Set the policy."""
    return dict(parts.authority.call("/setup/policy", {"token": token, "changes": body.changes}))


@router.post("/accounts", summary="Register accounts with their safe destinations, active at once")
def accounts(body: AccountsIn, parts: Parts, token: SetupToken) -> dict[str, object]:
    """Register accounts."""
    return {"accounts": register(parts, token, body.accounts)}


@router.post("/complete", summary="End set-up: the token is dead, everything takes a quorum from here on")
def complete(parts: Parts, token: SetupToken) -> dict[str, object]:
    """Complete set-up."""
    return dict(parts.authority.call("/setup/complete", {"token": token}))


def _token_role(person: PersonIn) -> Role:
    chosen = person.token_role or next((role for role in TOKEN_ROLES if role in person.roles), None)
    if chosen is None or chosen not in person.roles:
        raise InputError("a person's API token has one of his own roles, and not ingest", field="token_role")
    return chosen


def _connected(uow: SqlUnitOfWork, connection: str) -> dict[str, str]:
    grant = Grant(Role.INGEST, f"ingest of {connection}", "setup", connection=connection)
    return {"id": connection, "webhook_path": f"/webhooks/{connection}", "ingest_token": issue_token(uow, grant)}
