"""People: who they are, what tightens at once, what takes a quorum, and a person's own enrolment.

Rules: suspending, taking a role away and revoking a factor run at once on an administrator's word; everything that gives
more opens a request; a factor is enrolled by the person it belongs to, with his own API token, and what his
authenticator is told and tells is sealed between his client and the authority.
"""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.auth import Principal
from service.api.deps import Admin, ApiParts, Parts, Reader, Voter, name_of
from service.api.routers.approvals import propose
from service.api.schemas.ballot import SealedIn
from service.domain.ballot import read_client_code
from service.domain.changes import NewFactor, NewPerson, PersonNamed, PersonRoles
from service.domain.errors import ForbiddenError
from service.domain.ids import new_id
from service.domain.quorum import Role

router = APIRouter(prefix="/v1/people", tags=["people"])


_CLIENT = Field(
    default=None,
    max_length=40,
    description="Code of the client that alone may enrol the factor, as `portcullis people prepare` printed it.",
    examples=["mfra-gg2z-onsx-i5dj-ovzg-s3tf"],
)


class NewPersonIn(BaseModel):
    """A person to add."""

    name: str = Field(min_length=1, max_length=200, examples=["Ada"])
    email: str = Field(min_length=3, max_length=254, examples=["ada@example.org"])
    roles: list[Role] = Field(min_length=1, max_length=10, examples=[["responder", "approver"]])
    oncall_level: int | None = Field(default=None, ge=1, le=3)
    channels: list[dict[str, str]] = Field(default_factory=list, max_length=10)
    why: str = Field(min_length=1, max_length=1000, examples=["Joins the response team."])
    client: str | None = _CLIENT


class FactorIn(BaseModel):
    why: str = Field(min_length=1, max_length=1000, examples=["Lost his phone."])
    client: str | None = _CLIENT


class RolesIn(BaseModel):
    roles: list[Role] = Field(min_length=1, max_length=10)
    why: str = Field(min_length=1, max_length=1000)


class WhyIn(BaseModel):
    why: str = Field(min_length=1, max_length=1000)


@router.get("", summary="Everybody, with roles and state")
def list_people(parts: Parts, _reader: Reader) -> dict[str, object]:
    """Return everybody; `votes` says whose factor counts now."""
    with parts.database.begin() as uow:
        counting = {person.id for person in uow.registry.eligible()}
        found = uow.registry.people()
    return {
        "items": [
            {
                "id": person.id,
                "name": person.name,
                "email": person.email,
                "roles": sorted(person.roles),
                "state": person.state.value,
                "oncall_level": person.oncall_level,
                "votes": person.id in counting,
            }
            for person in found
        ],
        "next": None,
    }


@router.get("/me", summary="Whom my token speaks for")
def me(reader: Reader) -> dict[str, object]:
    """Return the caller's person and role."""
    return {"id": _person(reader), "role": reader.role.value}


@router.post("", summary="Ask for a person to be added", status_code=201)
def add(body: NewPersonIn, parts: Parts, admin: Admin) -> dict[str, object]:
    """Open a request to add a person; the answer names the id he will have."""
    person = NewPerson(
        id=new_id("per"),
        name=body.name,
        email=body.email,
        roles=tuple(body.roles),
        oncall_level=body.oncall_level,
        channels=tuple(body.channels),
        client="" if body.client is None else read_client_code(body.client),
    )
    return {"person": person.id, "approval": propose(parts, "change.person.add", person, body.why, admin)}


@router.post("/{person}/suspend", summary="Suspend a person at once")
def suspend(person: str, parts: Parts, admin: Admin) -> dict[str, object]:
    """Suspend."""
    return _tighten(parts, "change.person.suspend", {"person": person}, admin)


@router.post("/{person}/roles/remove", summary="Take roles away at once")
def remove_roles(person: str, body: RolesIn, parts: Parts, admin: Admin) -> dict[str, object]:
    """Take roles away."""
    params: dict[str, object] = {"person": person, "roles": [role.value for role in body.roles]}
    return _tighten(parts, "change.person.role_remove", params, admin)


@router.post("/{person}/factor/revoke", summary="Revoke a person's factor at once")
def revoke_factor(person: str, parts: Parts, admin: Admin) -> dict[str, object]:
    """Revoke a factor."""
    return _tighten(parts, "change.factor.revoke", {"person": person}, admin)


@router.post("/{person}/restore", summary="Ask for a suspended person to be restored", status_code=201)
def restore(person: str, body: WhyIn, parts: Parts, admin: Admin) -> dict[str, object]:
    """Open a request."""
    return propose(parts, "change.person.restore", PersonNamed(person=person), body.why, admin)


@router.post("/{person}/roles", summary="Ask for other roles", status_code=201)
def change_roles(person: str, body: RolesIn, parts: Parts, admin: Admin) -> dict[str, object]:
    """Open a request."""
    change = PersonRoles(person=person, roles=tuple(body.roles))
    return propose(parts, "change.person.roles", change, body.why, admin)


@router.post("/{person}/factor", summary="Ask for a new factor for a person", status_code=201)
def new_factor(person: str, body: FactorIn, parts: Parts, admin: Admin) -> dict[str, object]:
    """Open a request."""
    change = NewFactor(person=person, client="" if body.client is None else read_client_code(body.client))
    return propose(parts, "change.factor.enrol", change, body.why, admin)


@router.post("/me/enrol", summary="Answer my sealed question for my enrolment code, once")
def enrol(body: SealedIn, parts: Parts, voter: Voter) -> dict[str, object]:
    """Begin the caller's own enrolment."""
    return dict(parts.authority.call("/enrol/totp", {"person": _person(voter), "sealed": body.sealed}))


@router.post("/me/enrol/confirm", summary="Confirm my factor by its first code, sealed")
def confirm(body: SealedIn, parts: Parts, voter: Voter) -> dict[str, object]:
    """Confirm the caller's own factor."""
    return dict(parts.authority.call("/enrol/confirm", {"person": _person(voter), "sealed": body.sealed}))


def _person(principal: Principal) -> str:
    if principal.person_id is None:
        raise ForbiddenError("this token is bound to no person")
    return principal.person_id


def _tighten(parts: ApiParts, action: str, params: dict[str, object], admin: Principal) -> dict[str, object]:
    sent = {"action": action, "params": params, "by": name_of(admin)}
    return dict(parts.authority.call("/registry/tighten", sent))
