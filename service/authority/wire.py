"""How the authority answers over its Unix socket: JSON in, an envelope out, errors by their stable code.

Rules: an answer is `{"result": …}` or `{"error": {code, message, field, retry_after_s}}`; what went wrong is said by the
code, never by a status number; a body is at most 2 MiB and is read into the declared form of its path, in which an
unknown field is an error; an unexpected failure says nothing about itself to the caller.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import structlog

from hsm.errors import HsmError
from service.domain.errors import InputError, PortcullisError, UnavailableError, UnknownOutcomeError

MAX_BODY: Final = 2 * 1024 * 1024
_log = structlog.get_logger(__name__)

Body = TypeVar("Body", bound=msgspec.Struct)
Handler = Callable[[bytes], Mapping[str, object]]


def handler(kind: type[Body], act: Callable[[Body], Mapping[str, object]]) -> Handler:
    """Return a function from a raw body to the result of `act`. It raises PortcullisError."""

    def handle(raw: bytes) -> Mapping[str, object]:
        try:
            body = msgspec.json.decode(raw, type=kind)
        except msgspec.DecodeError as error:
            raise InputError(f"the body is malformed: {error}", field="body") from error
        return act(body)

    return handle


def answered(handle: Handler, raw: bytes) -> bytes:
    """Run a handler and return the envelope."""
    try:
        return msgspec.json.encode({"result": handle(raw)})
    except PortcullisError as error:
        return _refused(error)
    except HsmError as error:
        _log.exception("the token failed", error_code=error.code)
        return _refused(UnavailableError(f"the authority's token failed ({error.code}): nothing was decided"))
    except Exception:  # noqa: BLE001  the border: a failure must reach the caller as an answer
        _log.exception("a request failed")
        return _refused(
            UnknownOutcomeError("the authority failed in the middle: look at the request before trying again")
        )


def _refused(error: PortcullisError) -> bytes:
    body: dict[str, Any] = {
        "code": error.code,
        "message": str(error),
        "field": error.field,
        "retry_after_s": error.retry_after_s,
    }
    return msgspec.json.encode({"error": body})
