"""What a route gets: who calls, and the parts of the service. Which role may do what stands here, once.

Rules: a route without `require` does not exist (a test walks them all); roles are sets, not a ladder: a viewer reads, an
analyst judges, a responder acts, approvers and treasury vote, an admin registers. Votes need a person and his code, never
a role alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends, Request

from service.api.auth import Authenticator, Principal
from service.config import Settings
from service.domain.errors import ForbiddenError
from service.domain.quorum import Role
from service.ports.authority import Authority
from service.ports.clock import Clock
from service.store.database import SqlDatabase

READERS: Final = frozenset({Role.VIEWER, Role.ANALYST, Role.RESPONDER, Role.APPROVER, Role.TREASURY, Role.ADMIN})
JUDGES: Final = frozenset({Role.ANALYST, Role.RESPONDER, Role.ADMIN})
"""May read raw bodies, comment, and give verdicts."""
RESPONDERS: Final = frozenset({Role.RESPONDER, Role.ADMIN})
VOTERS: Final = frozenset({Role.RESPONDER, Role.APPROVER, Role.TREASURY, Role.ADMIN})
ADMINS: Final = frozenset({Role.ADMIN})


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the composition root hands to the routes."""

    settings: Settings
    database: SqlDatabase
    authenticator: Authenticator
    authority: Authority
    clock: Clock


def parts(request: Request) -> ApiParts:
    """Return the service's parts."""
    return cast("ApiParts", request.app.state.parts)


Parts = Annotated[ApiParts, Depends(parts)]


def require(roles: frozenset[Role]) -> Callable[[Request], Principal]:
    """Return a dependency that lets only callers with one of these roles pass.

    It raises UnauthenticatedError without a valid token and ForbiddenError for a role that may not.
    """

    def authenticated(request: Request) -> Principal:
        principal = parts(request).authenticator.authenticate(request.headers.raw)
        if principal.role not in roles:
            wanted = ", ".join(sorted(role.value for role in roles))
            raise ForbiddenError(f"this needs a token of one of the roles: {wanted}")
        return principal

    return authenticated


Reader = Annotated[Principal, Depends(require(READERS))]
Judge = Annotated[Principal, Depends(require(JUDGES))]
Responder = Annotated[Principal, Depends(require(RESPONDERS))]
Voter = Annotated[Principal, Depends(require(VOTERS))]
Admin = Annotated[Principal, Depends(require(ADMINS))]


def name_of(principal: Principal) -> str:
    """Return who acted, for the audit log: the person, or the token where no person is bound to it."""
    return principal.person_id or f"token:{principal.token_id}"
