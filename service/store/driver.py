"""Asyncpg as intake uses it: opening connections, and telling the database's faults from everything else.

Rules: a database that is gone, full, read-only or too slow is UnavailableError: nothing was stored, and the sender will send
again. The server is told to find out within half a minute that our machine is gone, because until then it keeps our locks,
and with the turn everybody else's intake.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from service.domain.errors import UnavailableError
from service.domain.secrets import Secret

TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 20.0
_RETRY_S: Final = 2.0
_SETTINGS: Final = {"timezone": "UTC", "lock_timeout": "10000", "application_name": "portcullis intake"}
_OVER_TCP: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
"""Seconds, seconds, probes, milliseconds (PostgreSQL, 19.3.2 "TCP Settings"): a peer that is silent for 25 s is gone."""
_LOOKS_UP: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
}
"""For a connection that only ever looks up single keys: a plan that is right for a table of any size, planned once."""

_OURS: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server ended the session and its farewell is half read
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


def settings_for(url: str) -> dict[str, str]:
    """Return what the server is told about a session; of TCP only where the session is one, not on a Unix socket."""
    told = urlsplit(url)
    host = unquote(told.hostname or "") or parse_qs(told.query).get("host", [""])[-1]
    return _SETTINGS | (_OVER_TCP if host and not host.startswith("/") else {})


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn the driver's errors that are our own fault into UnavailableError."""
    try:
        yield
    except _OURS as error:
        raise UnavailableError(
            f"the database did not take it ({type(error).__name__}): nothing was stored, send it again",
            retry_after_s=_RETRY_S,
        ) from error


async def open_pool(url: Secret, *, size: int) -> Any:
    """Open a pool. Raises UnavailableError when the database is not there."""
    with unavailable():
        return await asyncpg.create_pool(
            url.reveal(),
            min_size=1,
            max_size=size,
            timeout=TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=settings_for(url.reveal()),
        )


@asynccontextmanager
async def borrowed(pool: Any) -> AsyncIterator[Any]:
    """Lend a connection of a pool; one on which anything went wrong never goes back."""
    connection = await pool.acquire(timeout=TIMEOUT_S)
    try:
        yield connection
    except BaseException:
        connection.terminate()
        raise
    finally:
        await pool.release(connection)


async def open_connection(url: Secret) -> Any:
    """Open a connection for looking up keys. Raises UnavailableError."""
    with unavailable():
        return await asyncpg.connect(
            url.reveal(),
            timeout=TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=settings_for(url.reveal()) | _LOOKS_UP,
        )
