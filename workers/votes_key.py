"""The authority's public key, against which votes are verified: a file, read each time that it is needed."""

from typing import Final

import structlog

from service.config import Settings
from service.domain.errors import ConfigurationError, UnavailableError

_RETRY_S: Final = 5.0
_log = structlog.get_logger(__name__)


def pinned(settings: Settings) -> bytes:
    """Return it, PEM. Raises ConfigurationError when it cannot be read."""
    path = settings.public / "authority-votes.pem"
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: without it no approval can be verified") from error


def now(settings: Settings) -> bytes:
    """Return it where votes count. Raises UnavailableError: what keeps it from being read may be over in a moment."""
    try:
        return pinned(settings)
    except ConfigurationError as error:
        raise UnavailableError(str(error), retry_after_s=_RETRY_S) from error


def for_plans(settings: Settings) -> bytes:
    """Return it, or nothing: what tightens needs no votes and must not wait for a file."""
    try:
        return pinned(settings)
    except ConfigurationError as error:
        _log.error("votes_key.not_read", message=str(error))
        return b""
