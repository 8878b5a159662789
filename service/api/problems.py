"""Errors as RFC 9457 problem details: the only place where an error becomes an HTTP status.

Rules: the type is `urn:portcullis:problem:<code>` and stays stable; `detail` is our own sentence, never an exception's
from below; an unforeseen error tells nothing but that it happened. A fault of ours is a 503 with Retry-After, because
custody platforms never send again after a 4xx. The web framework's own errors, values that the database cannot take and a
pool without a free connection go the same way.
"""

import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DataError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from service.domain.errors import InputError, NotFoundError, PortcullisError, UnavailableError

MEDIA_TYPE: Final = b"application/problem+json"
TYPE_PREFIX: Final = "urn:portcullis:problem:"

_log = structlog.get_logger(__name__)

STATUS: Final[Mapping[str, int]] = {
    "invalid_input": 422,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "call_deferred": 503,
    "unavailable": 503,
    "unknown_outcome": 502,
    "refused_by_other_side": 502,
    "missing_capability": 409,
    "not_authorised_by_quorum": 403,
    "stale_fence": 409,
    "configuration": 500,
    "internal": 500,
}
"""Status by error code; a code without a row is our own fault."""

_TITLES: Final[Mapping[int, str]] = {
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "Invalid input",
    429: "Too many requests",
    500: "Internal error",
    502: "The other side did not answer as needed",
    503: "Try again later",
}
_RETRIED: Final = frozenset({429, 503})
_DEFAULT_RETRY_S: Final = 5.0
_BAD_REQUEST: Final = 400
_MAX_FIELD: Final = 200

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


class ProblemShown(BaseModel):
    """An error (RFC 9457). `code` is stable; `field` names the offending input where there is one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:portcullis:problem:not_found",
                    "title": "Not found",
                    "status": 404,
                    "code": "not_found",
                    "detail": "there is no alert alr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, ready to be sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def details(error: Exception) -> dict[str, object]:
    """Return the members of the problem document for any exception."""
    if not isinstance(error, PortcullisError):
        return {
            "type": TYPE_PREFIX + "internal",
            "title": _TITLES[500],
            "status": 500,
            "code": "internal",
            "detail": "an unforeseen error; the log has the particulars",
        }
    status = STATUS.get(error.code, 500)
    found: dict[str, object] = {
        "type": TYPE_PREFIX + error.code,
        "title": _TITLES[status],
        "status": status,
        "code": error.code,
        "detail": str(error),
    }
    if error.field is not None:
        found["field"] = error.field
    return found


def problem_of(error: Exception) -> Problem:
    """Return the problem for any exception; logs one that nobody foresaw."""
    found = details(error)
    status = STATUS.get(str(found["code"]), 500)
    if not isinstance(error, PortcullisError):
        _log.error("request.failed", error=type(error).__name__, exc_info=error)
    headers = [(b"content-type", MEDIA_TYPE), (b"cache-control", b"no-store")]
    if status in _RETRIED:
        after = error.retry_after_s if isinstance(error, PortcullisError) else None
        headers.append((b"retry-after", str(max(1, math.ceil(after or _DEFAULT_RETRY_S))).encode()))
    if status == STATUS["unauthenticated"]:
        headers.append((b"www-authenticate", b"Bearer"))
    return Problem(status, tuple(headers), msgspec.json.encode(found))


def problem_of_status(status: int) -> Problem:
    """Return the problem for an error of the web framework's own: no such route, not this method, an unreadable body."""
    if status == STATUS["method_not_allowed"]:
        return problem_of(_MethodNotAllowedError("this path takes another method: see /v1/openapi.json"))
    if status == _BAD_REQUEST:
        return problem_of(InputError("the body is no JSON document that we can read", field="body"))
    return problem_of(NotFoundError("there is no such path: see /v1/openapi.json"))


class _MethodNotAllowedError(PortcullisError):
    """The path is known, the method is not for it."""

    code = "method_not_allowed"


def _answer(problem: Problem, allow: str | None = None) -> Response:
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    if allow is not None:
        headers["allow"] = allow
    return Response(problem.body, status_code=problem.status, headers=headers)


async def _any(_request: Request, error: Exception) -> Response:
    return _answer(problem_of(error))


async def _invalid(_request: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    parts = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    field = ".".join(parts)[:_MAX_FIELD]
    return _answer(problem_of(InputError(f"{field or 'the body'}: {first['msg']}", field=field or None)))


async def _framework(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _answer(problem_of(error))
    return _answer(problem_of_status(error.status_code), (error.headers or {}).get("Allow"))


async def _unstorable(_request: Request, _error: Exception) -> Response:
    return _answer(problem_of(InputError("a value cannot be stored: look for a NUL character or a number too large")))


async def _busy(_request: Request, _error: Exception) -> Response:
    return _answer(problem_of(UnavailableError("every connection to the database is in use; try again")))


HANDLERS: Final[Mapping[int | type[Exception], Handler]] = {
    RequestValidationError: _invalid,
    HTTPException: _framework,
    PortcullisError: _any,
    DataError: _unstorable,
    PoolTimeoutError: _busy,
    Exception: _any,
}
"""What the web framework does with each kind of exception."""
