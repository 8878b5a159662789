"""The API as one ASGI application: the raw intake app in front, FastAPI behind it.

Rules: what a custody platform calls never passes FastAPI; every error leaves as an RFC 9457 problem, the framework's own
included; no page loads anything from elsewhere; a path means one thing, with or without nothing after it: there are no
redirects.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from service.api.deps import ApiParts, Require
from service.api.feed import GAP_S, Feed
from service.api.front import Front
from service.api.problems import HANDLERS, ProblemShown
from service.api.raw import Receive, Scope, Send
from service.api.routers import (
    activities,
    alerts,
    approvals,
    engine,
    explanations,
    forensics,
    incidents,
    letters,
    live,
    people,
    registry,
    setup,
    steps,
    tokens,
)
from service.domain.quorum import Role
from service.store.queries import reading
from service.store.queries.pages import Record

_INTAKE: Final = ("/webhooks/", "/cosigner/")
_INTAKE_POSTS: Final = frozenset({"/v1/activities", "/v1/decisions"})
MODULES: Final = (
    alerts,
    incidents,
    steps,
    activities,
    explanations,
    forensics,
    letters,
    engine,
    registry,
    approvals,
    people,
    setup,
    tokens,
    live,
)
_PROBLEM: Final[dict[str, Any]] = {
    "description": "A problem (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{ProblemShown.__name__}"}}},
}


def create_api(parts: ApiParts) -> FastAPI:
    """Return the FastAPI half: everything for people and their tools."""
    api = FastAPI(
        title="Portcullis",
        version="1",
        summary="Wallet-security incident response: what was seen, what was done, what waits for you.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        redirect_slashes=False,
        exception_handlers=dict(HANDLERS),
        responses={"default": {**_PROBLEM, "model": ProblemShown}, 422: _PROBLEM},
    )
    api.state.parts = parts
    api.state.feed = _feed(parts)
    for module in MODULES:
        api.include_router(module.router)
    return api


def routes() -> Iterator[tuple[str, APIRoute]]:
    """Yield every route of the FastAPI half with its method, in the order in which they are looked at."""
    for module in MODULES:
        for route in module.router.routes:
            if isinstance(route, APIRoute):
                for method in sorted(route.methods or ()):
                    yield method, route


def roles_of(route: APIRoute) -> frozenset[Role] | None:
    """Return the roles of which a caller must have one; None when a route asks for no token with a role."""
    waiting = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        if isinstance(dependant.call, Require):
            return dependant.call.roles
        waiting += dependant.dependencies
    return None


class Portcullis:
    """Sends intake to the raw app and the rest to FastAPI, each behind the same front."""

    def __init__(self, intake: Any, api: FastAPI) -> None:
        self._intake = Front(intake, bounded=False)
        self._api = Front(api, bounded=True)
        self._fastapi = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._fastapi(scope, receive, send)
            return
        app = self._intake if _is_intake(scope) else self._api
        await app(scope, receive, send)

    def end_streams(self) -> None:
        """End the streams of events, so that a server that stops need not wait for their listeners."""
        self._fastapi.state.feed.close()


def _is_intake(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith(_INTAKE) or (scope["method"] == "POST" and path in _INTAKE_POSTS)


def _feed(parts: ApiParts) -> Feed:
    def read(after: int, missing: Sequence[int], limit: int) -> Sequence[Record]:
        with parts.database.begin() as uow:
            return reading.events_after(uow.connection, after, missing, limit, uow.now - timedelta(seconds=GAP_S))

    def newest() -> int:
        with parts.database.begin() as uow:
            return reading.newest_event(uow.connection)

    async def read_aside(after: int, missing: Sequence[int], limit: int) -> Sequence[Record]:
        return await run_in_threadpool(read, after, missing, limit)

    async def newest_aside() -> int:
        return await run_in_threadpool(newest)

    return Feed(read_aside, newest_aside)
