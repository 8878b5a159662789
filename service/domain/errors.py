"""Errors of the service: what went wrong (a stable code) and who acts next (a retry kind).

Every class ends in `Error`. `UnknownOutcomeError` is not a failure: the other side's answer was lost, and only asking it
(`verify`), a receipt or a person settles what happened (design D5). HTTP status exists only in `api/problems.py`, exit
codes only in the command line, Celery retries only in `workers/retry.py`.
"""

from enum import Enum
from typing import ClassVar


class RetryKind(Enum):
    """Who acts next: nobody may simply try again, later is safe, or the other side must be asked first."""

    NEVER = "never"
    LATER = "later"
    VERIFY_FIRST = "verify_first"


class PortcullisError(Exception):
    """Base of all errors of the service. `field` names the offending input where there is one."""

    code: ClassVar[str] = "internal"
    retry: ClassVar[RetryKind] = RetryKind.NEVER

    def __init__(self, message: str, *, field: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.retry_after_s = retry_after_s


class ConfigurationError(PortcullisError):
    """A setting, playbook, detector or platform declaration is wrong; start-up stops with a message that names it."""

    code = "configuration"


class InputError(PortcullisError):
    """The caller's input is malformed: the message names the field and what it must be."""

    code = "invalid_input"


class UnauthenticatedError(PortcullisError):
    """The caller did not prove who he is. The message never says which part of the proof failed."""

    code = "unauthenticated"


class ForbiddenError(PortcullisError):
    """The caller is known and may not do this."""

    code = "forbidden"


class NotFoundError(PortcullisError):
    """No such object, or none that this caller may know of."""

    code = "not_found"


class ConflictError(PortcullisError):
    """The request contradicts what is stored: same event id with another body, a stale version, a used code."""

    code = "conflict"


class TooLargeError(PortcullisError):
    """The input is over a documented limit."""

    code = "too_large"


class RateLimitedError(PortcullisError):
    """Too many tries; `retry_after_s` says when the next is looked at."""

    code = "rate_limited"
    retry = RetryKind.LATER


class CallDeferredError(RateLimitedError):
    """A platform was not called, because that would be too often just now; `retry_after_s` says when."""

    code = "call_deferred"


class HourSpentError(CallDeferredError):
    """The guardian's limit for an hour is used up: what it is wanted for waits, and people were paged."""

    code = "hour_spent"


class UnavailableError(PortcullisError):
    """Our own fault or a dependency's: nothing was stored, the caller should send the same again later."""

    code = "unavailable"
    retry = RetryKind.LATER


class IncompleteListError(UnavailableError):
    """The other side lists more than is read; what was not read is nobody's to call absent."""

    code = "incomplete_list"


class UnknownOutcomeError(PortcullisError):
    """A call to the other side was made and its answer was lost: it may or may not have happened."""

    code = "unknown_outcome"
    retry = RetryKind.VERIFY_FIRST


class RefusedByOtherSideError(PortcullisError):
    """The platform, chain or device answered no. Trying the same again will not help."""

    code = "refused_by_other_side"


class MissingCapabilityError(PortcullisError):
    """The platform has no call for this; the message names the capability and what to do by hand."""

    code = "missing_capability"


class ApprovalError(PortcullisError):
    """The votes do not authorise this step: wrong digest, too few, wrong role, expired or a bad signature."""

    code = "not_authorised_by_quorum"


class StaleFenceError(PortcullisError):
    """Another worker took the step over; whatever this one still does must not be recorded."""

    code = "stale_fence"


def from_code(code: str, message: str, *, field: str | None, retry_after_s: float | None) -> PortcullisError:
    """Return the error of a stable code, as another of our processes told it; an unknown code is UnavailableError."""
    kinds = [PortcullisError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    found = next((kind for kind in kinds if kind.code == code), UnavailableError)
    return found(message, field=field, retry_after_s=retry_after_s)
