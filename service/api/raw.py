"""The little HTTP that the hot path needs on bare ASGI: bounded bodies, JSON answers, problems.

Rule: a body is read only up to its limit and only for so long; whoever sends more is refused without reading on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec

from service.api.problems import problem_of
from service.domain.errors import InputError, TooLargeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_TIMEOUT_S: Final = 30.0
_SWEEP_S: Final = 1.0
TRACE_ID: Final = "portcullis.trace_id"
"""Where the front leaves the trace id in a request's scope."""


class ClientGoneError(Exception):
    """The client went away; nobody waits for an answer."""


def headers_of(scope: Scope) -> Mapping[bytes, bytes]:
    """Return the headers by lower-case name. A header that comes twice is empty: which one counts cannot be told."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found[name] = b"" if name in found else value
    return found


async def read_body(
    scope: Scope, receive: Receive, limit: int, *, headers: Mapping[bytes, bytes] | None = None
) -> bytes:
    """Return the whole body. `headers`: of the scope, where the caller has them.

    Raises TooLargeError over `limit` bytes, InputError when it does not arrive in time, ClientGoneError.
    """
    told = (headers_of(scope) if headers is None else headers).get(b"content-length", b"")
    if told.isdigit() and int(told[:20]) > limit:
        raise _too_large(limit)
    task = asyncio.current_task()
    _patience.begin(task)
    try:
        return await _read(receive, limit)
    except asyncio.CancelledError:
        if _patience.ended(task):
            raise InputError(f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s", field="body") from None
        raise
    finally:
        _patience.end(task)


class _Patience:
    """Ends the reading of bodies that do not arrive in time, with one timer for all of them.

    A timer of its own, as `asyncio.timeout` makes it, would cost every request more than its signature does.
    """

    def __init__(self) -> None:
        self._until: dict[asyncio.Task[Any] | None, float] = {}
        self._over: set[asyncio.Task[Any] | None] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where the timer runs, while it runs."""

    def begin(self, task: "asyncio.Task[Any] | None") -> None:
        self._until[task] = time.monotonic() + BODY_TIMEOUT_S
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now = time.monotonic()
        for task, until in list(self._until.items()):
            if until <= now and task is not None and task not in self._over:
                self._over.add(task)
                task.cancel()
        self._loop = asyncio.get_running_loop() if self._until else None
        if self._loop is not None:
            self._loop.call_later(_SWEEP_S, self._sweep)

    def ended(self, task: "asyncio.Task[Any] | None") -> bool:
        """Say whether it was this that cancelled the task, and nobody else did too."""
        return task in self._over and task is not None and task.uncancel() == 0

    def end(self, task: "asyncio.Task[Any] | None") -> None:
        self._until.pop(task, None)
        self._over.discard(task)


_patience: Final = _Patience()


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


async def answer(send: Send, body: bytes, content_type: bytes = b"application/json", *, status: int = 200) -> None:
    """Send a body."""
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
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


def trace_id(scope: Scope) -> str | None:
    """Return the trace id that the front gave this request, if it came through it."""
    return scope.get(TRACE_ID)
