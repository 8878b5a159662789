"""Whether a failed job message is tried again: the only place where Celery retries.

Rules: `LATER` errors are tried again within a minute and a bounded number of times; `NEVER` and `VERIFY_FIRST` are not,
because repeating cannot help or must not happen blindly. Giving up loses nothing: the state is in PostgreSQL, and the
sweeper finds what is late.
"""

from typing import Any, Final, NoReturn

import structlog

from service.domain.errors import ConfigurationError, PortcullisError, RetryKind
from workers.app import LONGEST_WAIT_S

MOST_RETRIES: Final = 5

log = structlog.get_logger(__name__)


def pause_before_retry(error: Exception, retries: int) -> float | None:
    """Return how many seconds to wait before trying again, or None to leave it to the sweeper."""
    if not isinstance(error, PortcullisError) or error.retry is not RetryKind.LATER or retries >= MOST_RETRIES:
        return None
    wanted = error.retry_after_s if error.retry_after_s is not None else 2.0**retries
    return min(max(wanted, 0.5), float(LONGEST_WAIT_S))


def try_again(task: Any, error: Exception, pause_s: float) -> NoReturn:
    """Send the running job's message once more, after a pause in seconds."""
    raise task.retry(countdown=pause_s, exc=error, max_retries=MOST_RETRIES) from error


def is_final(error: Exception) -> bool:
    """Say whether repeating the job cannot help: its own errors that say so.

    A surprise may be gone next time, and what this machine was told or lacks may be mended while it runs.
    """
    if isinstance(error, ConfigurationError):
        return False
    return isinstance(error, PortcullisError) and error.retry is RetryKind.NEVER


def log_failure(job: str, error: Exception, pause_s: float | None) -> None:
    """Write one line about a job that did not work."""
    expected = isinstance(error, PortcullisError)
    log.warning(
        "job.failed",
        job=job,
        error_code=error.code if isinstance(error, PortcullisError) else "internal",
        message=str(error) if expected else type(error).__name__,
        retry_in_s=pause_s,
        exc_info=None if expected else error,
    )
