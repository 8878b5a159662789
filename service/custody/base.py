"""What every platform's outbound calls share: sending one request and saying what its answer means.

Rules (design D5): a request that never left (no connection) did nothing; a request whose answer was lost, and every 5xx,
may have had its effect, so it is UnknownOutcomeError and the caller asks the other side; 429 did nothing and says when to
come back; any other 4xx is a clear no. Answers are bounded. Redirects are not followed: they would carry our signature
to a place nobody approved.
"""

from collections.abc import Callable
from functools import cache
from ssl import SSLContext
from typing import Final

import httpx

from service.domain.errors import (
    InputError,
    RateLimitedError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.ports.custody import ConnectionConfig

MAX_ANSWER: Final = 4 * 1024 * 1024
TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)
"""Below the job's time limit, so that a lost answer is ours to notice."""
_NOBODY_THERE: Final = frozenset({502, 503, 504})
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def new_client(config: ConnectionConfig) -> httpx.Client:
    """Return a client of one connection's platform that tells `config.heard` of each exchange; nothing is sent yet.

    An idle line is given up before the other side would (uvicorn: 5 s): a request into a closing line is an answer lost.
    """
    inner = httpx.HTTPTransport(verify=_trusted(), limits=httpx.Limits(keepalive_expiry=4.0))
    return httpx.Client(timeout=TIMEOUT, transport=_Listening(inner, config.heard))


class _Listening(httpx.BaseTransport):
    """Tells whether anything came back: a platform that says no is there, a gateway that finds nobody behind it is not."""

    def __init__(self, inner: httpx.BaseTransport, heard: Callable[[bool], None]) -> None:
        self._inner = inner
        self._heard = heard

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises what httpx raises."""
        try:
            answer = self._inner.handle_request(request)
        except httpx.TransportError:
            self._heard(False)  # noqa: FBT003  its only word
            raise
        self._heard(answer.status_code not in _NOBODY_THERE)
        return answer

    def close(self) -> None:
        """Close the lines."""
        self._inner.close()


@cache
def _trusted() -> SSLContext:
    """The authorities that are trusted, read once a process: reading them takes longer than a call."""
    return httpx.create_ssl_context()


def send(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Send one request and return its successful answer, read whole.

    Raises UnavailableError (nothing was sent), RateLimitedError, RefusedByOtherSideError, UnknownOutcomeError.
    """
    where = f"{request.method} {request.url.host}{request.url.path}"
    try:
        answer = client.send(request, stream=True)
        try:
            _read(answer)
        finally:
            answer.close()
    except _NOT_SENT as error:
        raise UnavailableError(f"{where} could not be reached: {type(error).__name__}", retry_after_s=2) from error
    except httpx.HTTPError as error:
        raise UnknownOutcomeError(f"{where}: the answer was lost ({type(error).__name__})") from error
    _judge(where, answer)
    return answer


def _read(answer: httpx.Response) -> None:
    size = 0
    parts: list[bytes] = []
    for part in answer.iter_bytes():
        size += len(part)
        if size > MAX_ANSWER:
            raise httpx.DecodingError(f"the answer is over {MAX_ANSWER} bytes")
        parts.append(part)
    answer._content = b"".join(parts)  # noqa: SLF001  as httpx.Response.read does, with a bound


def _judge(where: str, answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimitedError(f"{where} asks us to slow down", retry_after_s=_retry_after(answer))
    if answer.is_client_error and status != httpx.codes.REQUEST_TIMEOUT:
        raise RefusedByOtherSideError(f"{where} refused: {status} {_reason(answer)}")
    raise UnknownOutcomeError(f"{where} answered {status}: it may or may not have happened")


def _retry_after(answer: httpx.Response) -> float:
    told = answer.headers.get("Retry-After", "")
    return min(float(told), 60.0) if told.isdigit() else 5.0


def _reason(answer: httpx.Response) -> str:
    text = answer.text[:200]
    return "".join(c if c.isprintable() else " " for c in text)


def require_url(settings_name: str, url: str) -> None:
    """Raise InputError unless `url` is https, or http to this very machine."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(f"{settings_name} is not a URL", field=settings_name) from error
    local = parsed.host in {"127.0.0.1", "::1", "localhost"}
    if parsed.scheme != "https" and not (parsed.scheme == "http" and local):
        raise InputError(f"{settings_name} must be an https URL (http only to this machine)", field=settings_name)
