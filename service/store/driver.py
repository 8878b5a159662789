"""Asyncpg as intake uses it: opening connections, and telling the database's faults from everything else.

Rule: a database that is gone, full, read-only or too slow is UnavailableError: nothing was stored, and the sender will
send again.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg

from service.domain.errors import UnavailableError
from service.domain.secrets import Secret

TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 20.0
_RETRY_S: Final = 2.0
_SETTINGS: Final = {"timezone": "UTC", "lock_timeout": "10000", "application_name": "portcullis intake"}
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
            server_settings=_SETTINGS,
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
            server_settings=_SETTINGS | _LOOKS_UP,
        )
