"""The API as one ASGI application: the raw intake app in front, FastAPI behind it.

Rules: what a custody platform calls never passes FastAPI; every answer carries the trace id and plain security headers;
every error leaves as an RFC 9457 problem, the framework's own included; no page loads anything from elsewhere.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from service.api.deps import ApiParts
from service.api.problems import problem_of, problem_of_status
from service.api.routers import (
    activities,
    alerts,
    approvals,
    incidents,
    live,
    people,
    registry,
    setup,
    steps,
    tokens,
)
from service.domain.errors import InputError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_INTAKE: Final = ("/webhooks/", "/cosigner/")
_INTAKE_POSTS: Final = frozenset({"/v1/activities", "/v1/decisions"})
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)


def create_api(parts: ApiParts) -> FastAPI:
    """Return the FastAPI half: everything for people and their tools."""
    api = FastAPI(
        title="Portcullis",
        version="1",
        summary="Wallet-security incident response: what was seen, what was done, what waits for you.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    api.state.parts = parts
    api.state.listeners = set()
    for module in (alerts, incidents, steps, activities, registry, approvals, people, setup, tokens, live):
        api.include_router(module.router)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _framework)
    api.add_exception_handler(Exception, _problem)
    return api


class Portcullis:
    """Sends intake to the raw app and the rest to FastAPI, under one trace id."""

    def __init__(self, intake: AsgiApp, api: AsgiApp) -> None:
        self._intake = intake
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        trace_id = _trace_id(scope)
        structlog.contextvars.bind_contextvars(trace_id=trace_id)

        async def send_marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-trace-id", trace_id.encode())]
            await send(message)

        app = self._intake if _is_intake(scope) else self._api
        await app(scope, receive, send_marked)


def _is_intake(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith(_INTAKE) or (scope["method"] == "POST" and path in _INTAKE_POSTS)


def _trace_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"traceparent" and (found := _TRACEPARENT.fullmatch(value)):
            return found[1].decode()
    return secrets.token_hex(16)


def _answer(error: Exception) -> Response:
    problem = problem_of(error)
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(problem.body, status_code=problem.status, headers=headers)


async def _problem(_request: Request, error: Exception) -> Response:
    return _answer(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return _answer(InputError(f"{field or 'the body'}: {first['msg']}", field=field or None))


async def _framework(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 0
    problem = problem_of_status(status)
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(problem.body, status_code=problem.status, headers=headers)
