"""Structured logs: one JSON object a line on standard output, with trace, incident and activity ids, never a secret.

Ids come from structlog's context variables, bound at the webhook and carried by the outbox row and the job message to
the step. The redaction is a last line behind `Secret`: keys whose names say secret are emptied, and values that look like
a credential are cut out of every string, in nested values, exception texts and whatever else is only seen as its repr.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from service.domain.secrets import REDACTED

_SECRET_NAMES: Final = re.compile(
    r"passw|passphrase|secret|(?<!public_)(?<!idempotency_)(?<!dedup_)key$|key_private|private_key|pin$|token$|tokens$"
    r"|seed|mnemonic|xprv|(?<!error_)code$|authorization|signature|cookie|credential$",
    re.IGNORECASE,
)
_SECRET_VALUES: Final = re.compile(
    r"whsec_[A-Za-z0-9+/=]+|whsk_[A-Za-z0-9+/=]+|pcl_[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|[xyztuv]prv[1-9A-HJ-NP-Za-km-z]{20,}|otpauth://\S+"
    r"|(?<=://)[^/\s:@]*:[^\s@]+(?=@)|(?<=hooks\.slack\.com/services/)[\w/-]+"
    r"|(?i:(?<=bearer )|(?<=basic ))[A-Za-z0-9._~+/=-]{8,}"
    r"|(?i:(?<=[?&;\s])(?:pin-value|password|passwd|pwd|secret|token|api_?key|access_key|sig)=)[^&;\s'\"]+",
    re.DOTALL,
)
_PLAIN_NAMES: Final = frozenset({"problem_code", "exit_code", "status_code"})
_OF_THE_FORMATTER: Final = frozenset({"_record", "_from_structlog", "exc_info", "stack_info"})
"""What structlog passes along to itself; turned into text and cleaned before it is written."""
_QUIET: Final = (
    "httpx", "httpcore", "uvicorn.access", "alembic", "celery.worker.strategy", "celery.app.trace", "celery.beat",
)  # fmt: skip
"""Libraries that would write a line for each request or job, without our ids; their warnings stay."""
_DEEPEST: Final = 12


def _clean(value: object, depth: int = 0) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict) and depth < _DEEPEST:
        return {
            str(_clean(str(k))): REDACTED if _is_secret_name(str(k)) else _clean(v, depth + 1) for k, v in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_clean(item, depth + 1) for item in value]
    # What is no JSON value is logged as its text, and so must be searched as such.
    return _SECRET_VALUES.sub(REDACTED, value if isinstance(value, str) else repr(value))


def _is_secret_name(name: str) -> bool:
    return name not in _PLAIN_NAMES and _SECRET_NAMES.search(name) is not None


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Empty secret fields and cut credentials out of strings; a structlog processor."""
    for name, value in list(event.items()):
        if name not in _OF_THE_FORMATTER:
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
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for quiet in _QUIET:
        logging.getLogger(quiet).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)
