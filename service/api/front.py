"""What every request passes before any route: one trace id, bounded bodies, plain headers, problems for whatever escapes.

Rules: every answer carries the trace id and headers that forbid a browser to guess, frame, keep or refer; a body is read
whole and bounded before the framework sees it; HEAD is GET without the body (RFC 9110, 9.3.2); an exception that nobody
foresaw becomes a problem that tells nothing, once, with the particulars in the log. CORS is off: no answer to OPTIONS
lets another origin in.
"""

import re
from typing import Any, Final

import structlog

from service.api.problems import problem_of
from service.api.raw import TRACE_ID, ClientGoneError, Receive, Scope, Send, answer_problem, read_body
from service.domain.errors import PortcullisError
from service.domain.randomness import Pieces

MAX_BODY: Final = 1024 * 1024
"""Bytes of a body, set-up's included."""
EVENTS_PATH: Final = "/v1/events"

_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_RANDOM: Final = Pieces(16)
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)
"""Headers of every answer."""


def trace_id_of(told: bytes | None) -> str:
    """Return the caller's trace id, as a `traceparent` tells it (W3C Trace Context), or a new one."""
    found = None if told is None else _TRACEPARENT.fullmatch(told)
    return _RANDOM.take().hex() if found is None else found[1].decode()


def _told(scope: Scope) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == b"traceparent"), None)


class Outgoing:
    """An answer on its way: marks its headers, notes how far it got."""

    def __init__(self, send: Send, trace_id: str, *, head: bool) -> None:
        self._send = send
        self._trace_id = trace_id
        self._head = head
        self.started = False
        self.finished = False

    async def __call__(self, message: Any) -> None:
        """Send one ASGI message."""
        if message["type"] == "http.response.start":
            self.started = True
            given = message["headers"]
            headers = [*given, *HEADERS, (b"x-trace-id", self._trace_id.encode())]
            for name, _ in given:
                if name == b"cache-control" or name.lower() == b"cache-control":
                    break
            else:
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.finished = not message.get("more_body", False)
            if self._head:
                message = {**message, "body": b""}
        await self._send(message)


class Front:
    """Serves one application behind the rules above. `bounded`: read bodies here, at most `MAX_BODY`."""

    def __init__(self, app: Any, *, bounded: bool) -> None:
        self._app = app
        self._bounded = bounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        trace_id = scope[TRACE_ID] = trace_id_of(_told(scope))
        structlog.contextvars.bind_contextvars(trace_id=trace_id)
        head = scope["method"] == "HEAD" and scope["path"] != EVENTS_PATH
        out = Outgoing(send, trace_id, head=scope["method"] == "HEAD")
        if head:
            scope = {**scope, "method": "GET"}
        try:
            if self._bounded and scope["method"] in _WITH_BODY:
                receive = _replayed(await read_body(scope, receive, MAX_BODY), receive)
            await self._app(scope, receive, out)
        except ClientGoneError:
            return
        except PortcullisError as error:
            await answer_problem(out, error)
        except Exception as error:
            if out.finished:
                return  # the framework logged and answered it, and only passes it on
            if out.started:
                problem_of(error)
                raise
            await answer_problem(out, error)


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Any:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
