"""Structured logs: one JSON object a line on standard output, with trace, incident and activity ids, never a secret.

Ids come from structlog's context variables, bound at the webhook and carried by the outbox row and the job message to
the step. The redaction is a last line behind `Secret`: keys whose names say secret are emptied, and values that look like
a credential are cut out of every string, so that a careless message cannot leak one.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from service.domain.secrets import REDACTED

_SECRET_NAMES: Final = re.compile(
    r"pass(word|phrase)?$|secret|(?<!public_)(?<!idempotency_)key$|pin$|token$|seed|code$|authorization|signature|cookie",
    re.IGNORECASE,
)
_SECRET_VALUES: Final = re.compile(
    r"whsec_[A-Za-z0-9+/=]+|whsk_[A-Za-z0-9+/=]+|pcl_[A-Za-z0-9_]{20,}|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----|[xyz]prv[1-9A-HJ-NP-Za-km-z]{20,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)|otpauth://\S+|(?<=pin-value=)[^&;\s]+",
    re.DOTALL,
)
_PLAIN_NAMES: Final = frozenset({"problem_code", "error_code", "exit_code", "status_code", "check_code_shown"})


def _clean(value: object) -> object:
    if isinstance(value, str):
        return _SECRET_VALUES.sub(REDACTED, value)
    if isinstance(value, dict):
        return {k: REDACTED if _is_secret_name(str(k)) else _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value


def _is_secret_name(name: str) -> bool:
    return name not in _PLAIN_NAMES and _SECRET_NAMES.search(name) is not None


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Empty secret fields and cut credentials out of strings; a structlog processor."""
    for name, value in list(event.items()):
        event[name] = REDACTED if _is_secret_name(name) else _clean(value)
    return event


def configure(process: str, *, level: int = logging.INFO) -> None:
    """Send this process's logs, and those of its libraries, as JSON lines to standard output."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), redact],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for quiet in ("httpx", "httpcore", "uvicorn.access", "alembic"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)
