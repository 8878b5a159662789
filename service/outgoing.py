"""Every HTTP exchange with somebody outside ends by one moment, whatever the other side does.

Rules: httpx's timeouts are of each step, a connection, a write, a read; who sends one byte at a time keeps each within its
time, in the status line and the fields (RFC 9112 4, 5) as in the content (6). So each request carries the moment by which
all of it has to be over: the wait for a connection, the handshake of TLS, what is sent and what comes back. Past it the
step that is under way times out as if nothing had come, with httpx's own error: what was not sent yet is told from an
answer that was lost. A request may ask for less time than its client has, by the extension `WITHIN`. Redirects are not
followed.
"""

import time
from collections.abc import Iterable
from functools import cache
from ssl import SSLContext
from typing import Final, Self

import httpcore
import httpx

WITHIN_S: Final = 30.0
"""How long one exchange may take in all, unless told: half of a job's time limit."""
WITHIN: Final = "portcullis_within_s"
"""The extension of a request, in seconds, that makes its exchange shorter than `within_s` of its client."""
_AT_ONCE: Final = 1024
"""Bytes that are written before the time is looked at again. httpcore sends what it is given in as many waits as it takes;
so few bytes need one, because Linux calls a socket writable only with a third of its buffer free."""
_RECORD: Final = 16 * 1024
"""The same over TLS: one record (RFC 8446 5.1), which is one wait."""


def new_client(timeout: httpx.Timeout, within_s: float = WITHIN_S) -> httpx.Client:
    """Return a client whose every exchange is over within `within_s`; the environment's proxies are used."""
    client = httpx.Client(timeout=timeout, follow_redirects=False, verify=trusted())
    # httpx makes a transport for each proxy by itself; there is no other way to them.
    client._transport = bounded(client._transport, within_s)  # noqa: SLF001  see above
    mounted = client._mounts  # noqa: SLF001  see above
    mounted.update({where: bounded(one, within_s) for where, one in mounted.items() if one is not None})
    return client


def bounded(inner: httpx.BaseTransport, within_s: float = WITHIN_S) -> httpx.BaseTransport:
    """Return a transport that ends each exchange of `inner` within `within_s`; one that opens no lines stays as it is."""
    return _Bounded(inner, within_s) if isinstance(inner, httpx.HTTPTransport) else inner


@cache
def trusted() -> SSLContext:
    """The authorities that are trusted, read once a process: reading them takes longer than a call."""
    return httpx.create_ssl_context()


class _Bounded(httpx.BaseTransport):
    def __init__(self, inner: httpx.HTTPTransport, within_s: float) -> None:
        self._inner = inner
        self._within_s = within_s
        pool = inner._pool  # noqa: SLF001  httpcore takes a backend when a pool is made, and httpx makes it without
        pool._network_backend = _Backend(pool._network_backend)  # noqa: SLF001  see above

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises what httpx raises."""
        within_s = min(self._within_s, request.extensions.get(WITHIN, self._within_s))
        at = time.monotonic() + within_s
        told = request.extensions.get("timeout", {})
        steps = {step: _Left(told.get(step), within_s, at) for step in ("connect", "read", "write", "pool")}
        request.extensions = {**request.extensions, "timeout": steps}
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the lines."""
        self._inner.close()


class _Left(float):
    """The longest that one step may take, in seconds, which knows when its whole exchange has to be over.

    httpcore hands each step's timeout as it is to whoever reads and writes: so a line that serves one request after the
    other has each one's own.
    """

    at: float

    def __new__(cls, step_s: float | None, within_s: float, at: float) -> Self:
        """Return a step's timeout; None is one that has no limit of its own."""
        made = super().__new__(cls, within_s if step_s is None else min(step_s, within_s))
        made.at = at
        return made


def _left(timeout: float | None, over: type[httpcore.TimeoutException]) -> float | None:
    """Return how long the next step may take. Raises `over` when the exchange's time is up."""
    if not isinstance(timeout, _Left):
        return timeout
    left = timeout.at - time.monotonic()
    if left <= 0:
        raise over("the exchange took too long in all")
    return min(float(timeout), left)


class _Backend(httpcore.NetworkBackend):
    """Opens lines that keep to their requests' time."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Open a line to a host."""
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Line(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.NetworkStream:
        """Open a line to a process of this machine."""
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Line(self._inner.connect_unix_socket(path, left, socket_options))


class _Line(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, at_once: int = _AT_ONCE) -> None:
        self._inner = inner
        self._at_once = at_once

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), self._at_once):
            self._inner.write(buffer[start : start + self._at_once], _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Line(self._inner.start_tls(ssl_context, server_hostname, left), _RECORD)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)
