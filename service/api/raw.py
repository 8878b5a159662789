"""The little HTTP that the hot path needs on bare ASGI: bounded bodies, JSON answers, problems.

Rule: a body is read only up to its limit and only for so long; whoever sends more is refused without reading on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec
import structlog

from service.api.problems import problem_of
from service.domain.errors import InputError, TooLargeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_TIMEOUT_S: Final = 30.0


class ClientGoneError(Exception):
    """The client went away; nobody waits for an answer."""


def headers_of(scope: Scope) -> Mapping[bytes, bytes]:
    """Return the headers by lower-case name. A header that comes twice is empty: which one counts cannot be told."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found[name] = b"" if name in found else value
    return found


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the whole body. Raises TooLargeError over `limit` bytes, InputError when it does not arrive in time."""
    told = headers_of(scope).get(b"content-length", b"")
    if told.isdigit() and int(told[:20]) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read(receive, limit)
    except TimeoutError as error:
        raise InputError(f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s", field="body") from error


async def _read(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(parts) + part if parts else part
        parts.append(part)


async def answer(send: Send, body: bytes, content_type: bytes = b"application/json") -> None:
    """Send a 200 with a body."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, document: object) -> None:
    """Send a 200 with JSON."""
    await answer(send, msgspec.json.encode(document))


async def answer_problem(send: Send, error: Exception) -> None:
    """Send the problem for an error."""
    problem = problem_of(error)
    headers = [*problem.headers, (b"content-length", str(len(problem.body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": problem.body})


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the body is over {limit} bytes", field="body")


def trace_id() -> str | None:
    """Return the trace id that was bound to this request, if any."""
    found = structlog.contextvars.get_contextvars().get("trace_id")
    return found if isinstance(found, str) else None
