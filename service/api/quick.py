"""The server's HTTP protocol with a short cut for webhooks: no ASGI message, no task, one write for an answer.

Rules: the short cut takes only what `plain.py` reads, between messages, on a connection with nothing else under way, and
only when intake can take it at once. All else is uvicorn's own protocol and the ASGI application behind it, unchanged: so
limits on heads and bodies, slow senders, pipelining, chunks and upgrades are handled in one place. Both ways give the same
answers. While one is due what arrives is kept and reading stops, so that answers keep their order; a server that stops
answers first and then closes. A connection on which nothing comes is closed in time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import structlog
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api.front import HEADERS, trace_id_of
from service.api.plain import PlainRequest, plain_request
from service.api.problems import problem_of
from service.domain.errors import PortcullisError
from service.domain.intake import Outcome
from service.flow.intake.waiting import Settle


class Taker(Protocol):
    """Who takes webhooks."""

    def take_plain(self, request: PlainRequest, client: str, trace_id: str, settle: Settle) -> bool:
        """Verify and hand on; `settle` is told later what to answer. `client`: its address, or nothing.

        False, and nothing was done, when this cannot be done at once. Raises what the delivery is refused for.
        """
        ...

    @staticmethod
    def answer_to(outcome: Outcome) -> bytes:
        """Return the JSON that tells an outcome."""
        ...


_OK: Final = 200
_GRAIN_S: Final = 0.01
"""Timers may come so much too early."""


class QuickProtocol(HttpToolsProtocol):
    """One connection; `quick` says who takes its webhooks."""

    taker: ClassVar[Taker]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._allowed = self.limit_concurrency is None and not self.access_log and not self.root_path
        self._within = False
        """The parser has the beginning of a message whose end has not come."""
        self._due = False
        """An answer is to come."""
        self._kept = b""
        self._trace_id = ""
        self._last = False
        self._idle_since = 0.0

    def data_received(self, data: bytes) -> None:
        """Take a webhook at once, or leave it to the parser."""
        if self._due:
            self._kept += data
            self.flow.pause_reading()
            return
        if self._allowed and not self._under_way() and not self.flow.write_paused:
            request = plain_request(data)
            if request is not None and self._taken(request):
                return
        super().data_received(data)

    def _under_way(self) -> bool:
        """Say whether the parser has a message that is not whole, or the application one that is not answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return self._within or not (cycle is None or cycle.response_complete)

    def on_message_begin(self) -> None:
        """See uvicorn."""
        self._within = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """See uvicorn."""
        self._within = False
        super().on_message_complete()

    def _taken(self, request: PlainRequest) -> bool:
        trace_id = self._trace_id = trace_id_of(request.headers.get(b"traceparent"))
        try:
            self._due = self.taker.take_plain(request, self._client_of(request.headers), trace_id, self._settled)
        except Exception as error:  # noqa: BLE001  every error becomes a problem, as in the ASGI application
            self._refuse(error)
            return True
        return self._due

    def _client_of(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the client's address as uvicorn's own middleware tells it to the application."""
        host = self.client[0] if self.client else None
        forwarded = headers.get(b"x-forwarded-for")
        if forwarded is not None and isinstance(self.app, ProxyHeadersMiddleware) and host in self.app.trusted_hosts:
            return self.app.trusted_hosts.get_trusted_client_address(forwarded.decode("ascii"))[0] or host or ""
        return host or ""

    def _settled(self, told: Outcome | PortcullisError) -> None:
        self._due = False
        if self.transport.is_closing():
            return
        if isinstance(told, PortcullisError):
            self._refuse(told)
        else:
            self._answer(_OK, _PLAIN, self.taker.answer_to(told))
        if self._kept and not self.transport.is_closing():
            kept, self._kept = self._kept, b""
            self.flow.resume_reading()
            self.data_received(kept)

    def _refuse(self, error: Exception) -> None:
        with structlog.contextvars.bound_contextvars(trace_id=self._trace_id):
            problem = problem_of(error)
        self._answer(problem.status, _lines((*problem.headers, *HEADERS)), problem.body)

    def _answer(self, status: int, headers: bytes, body: bytes) -> None:
        self.server_state.total_requests += 1
        closing = b"connection: close\r\n" if self._last else b""
        self.transport.write(
            b"%b%b%bx-trace-id: %b\r\n%bcontent-length: %d\r\n\r\n%b"
            % (
                STATUS_LINE[status],
                _heads.lines(self.server_state.default_headers),
                headers,
                self._trace_id.encode(),
                closing,
                len(body),
                body,
            )
        )
        if self._last:
            self.transport.close()
        else:
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        """Have one timer look at the connection from time to time, instead of one timer for each answer."""
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_in(self.timeout_keep_alive)

    def _look_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """See uvicorn."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close what has been idle for long enough."""
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self._due:
            self._look_in(self.timeout_keep_alive)
        elif left > _GRAIN_S:
            self._look_in(left)
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Close, or answer what is due and then close."""
        if self._due:
            self._last = True
        else:
            super().shutdown()


class _Heads:
    """The server's own headers as they are written; they change once a second, when the date does."""

    def __init__(self) -> None:
        self._of: object = None
        self._lines = b""

    def lines(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        if self._of is not headers:
            self._of, self._lines = headers, _lines(headers)
        return self._lines


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def quick(taker: Taker) -> type[QuickProtocol]:
    """Return the protocol class of a server whose webhooks go to `taker`."""
    return type("QuickProtocol", (QuickProtocol,), {"taker": taker})


_heads: Final = _Heads()
_PLAIN: Final = _lines(((b"content-type", b"application/json"), *HEADERS, (b"cache-control", b"no-store")))
