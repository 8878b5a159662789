"""What a route gets: who calls, and the parts of the service. Which role may do what stands here, once.

Rules: a route without `require` does not exist (a test walks them all); roles are sets, not a ladder: a viewer reads, an
analyst judges, a responder acts, approvers and treasury vote, an admin registers. Votes need a person and his code, never
a role alone. Whoever asks for something that others must approve is a person, because he may not count among them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Final, cast

from fastapi import Depends, Path, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from rules.health import Health
from service.actions.base import ContainmentAction, actions_in
from service.api.auth import Authenticator, Principal
from service.api.failures import Failures, address_of
from service.config import Settings
from service.domain.errors import ForbiddenError
from service.domain.ids import PersonId
from service.domain.quorum import Role
from service.flow.rulebook import Rulebook
from service.ports.authority import Authority
from service.ports.clock import Clock
from service.store.database import SqlDatabase

READERS: Final = frozenset({Role.VIEWER, Role.ANALYST, Role.RESPONDER, Role.APPROVER, Role.TREASURY, Role.ADMIN})
JUDGES: Final = frozenset({Role.ANALYST, Role.RESPONDER, Role.ADMIN})
"""May read raw bodies, comment, and give verdicts."""
RESPONDERS: Final = frozenset({Role.RESPONDER, Role.ADMIN})
VOTERS: Final = frozenset({Role.RESPONDER, Role.APPROVER, Role.TREASURY, Role.ADMIN})
ADMINS: Final = frozenset({Role.ADMIN})

Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$", examples=["inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P"])]
"""An id in a path. What has not even the form of one is refused before anything is looked up."""


def _unknown() -> Health | None:
    return None


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the composition root hands to the routes."""

    settings: Settings
    database: SqlDatabase
    authenticator: Authenticator
    authority: Authority
    clock: Clock
    rulebook: Rulebook | None = None
    """The detectors in force; None where no engine runs."""
    refused_ballots: Failures = field(default_factory=Failures)
    """By token, in this process."""
    engine_health: Callable[[], Health | None] = _unknown
    """How well the engine keeps its promises; None while it is not known."""
    actions: Mapping[str, ContainmentAction] = field(default_factory=partial(actions_in, "service.actions"))
    """What is declared: who must settle a step depends on it."""


def parts(request: Request) -> ApiParts:
    """Return the service's parts."""
    return cast("ApiParts", request.app.state.parts)


Parts = Annotated[ApiParts, Depends(parts)]


class Require(SecurityBase):
    """A dependency that lets only callers with one of `roles` pass; OpenAPI shows it as the bearer scheme `token`."""

    def __init__(self, roles: frozenset[Role]) -> None:
        self.roles = roles
        self.scheme_name = "token"
        self.model = HTTPBearer(bearerFormat="pcl_…", description="An API token: `Authorization: Bearer pcl_…`.")

    def __call__(self, request: Request) -> Principal:
        """Return who calls. Raises UnauthenticatedError without a valid token, ForbiddenError for another role."""
        principal = parts(request).authenticator.authenticate(request.headers.raw, address_of(request.scope))
        if principal.role not in self.roles:
            wanted = ", ".join(sorted(role.value for role in self.roles))
            raise ForbiddenError(f"this needs a token of one of the roles: {wanted}")
        return principal


def require(roles: frozenset[Role]) -> Require:
    """Return the dependency for a set of roles."""
    return Require(roles)


Reader = Annotated[Principal, Depends(require(READERS))]
Judge = Annotated[Principal, Depends(require(JUDGES))]
Responder = Annotated[Principal, Depends(require(RESPONDERS))]
Voter = Annotated[Principal, Depends(require(VOTERS))]
Admin = Annotated[Principal, Depends(require(ADMINS))]


def name_of(principal: Principal) -> str:
    """Return who acted, for the audit log: the person, or the token where no person is bound to it."""
    return principal.person_id or f"token:{principal.token_id}"


def requester_of(principal: Principal) -> PersonId:
    """Return the person who asks for what others must approve. Raises ForbiddenError for a token without a person."""
    if principal.person_id is None:
        raise ForbiddenError(
            "this token is bound to no person: who asks may not approve, so the asker must be known; use your own token"
        )
    return principal.person_id
