"""Opening units of work on PostgreSQL with synchronous SQLAlchemy Core.

One `begin()` block is one transaction. After its commit its transitions are logged; the relay publishes what it left in
the outbox (ADR 0014). A database that cannot be reached is UnavailableError.

A transaction's own BEGIN says as well whether its commit waits for the disk, and goes to the server with the first
statement that is waited for (`behind.py`). Whether a connection of the pool still lives is seen from its socket, because a
living server says nothing unasked. Where it did, it is asked, and a dead connection is replaced: nothing was done yet. The
driver's own BEGIN, a check and a setting were three waits for the server each (ADR 0048).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, RootTransaction, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from service.domain.errors import PortcullisError, UnavailableError, UnknownOutcomeError
from service.domain.events import Event
from service.domain.secrets import Secret
from service.ports.clock import Clock
from service.store import behind
from service.store.pipeline import ForgottenError, RolledBackError
from service.store.quick import commit, forget, send, settle
from service.store.recording import announce
from service.store.unit_of_work import SqlUnitOfWork

_BEGIN: Final = (text("BEGIN"),)
_BEGIN_OFF_DISK: Final = (*_BEGIN, text("SET LOCAL synchronous_commit TO off"))
_ANYTHING: Final = "SELECT 1"
PATIENCE_S: Final = 5
"""Seconds that are waited for the server, for a connection of the pool, and for a lock."""


def driver_url(url: str) -> str:
    """Return a `postgresql://` URL with the synchronous driver named."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def create(url: Secret, *, pool_size: int = 5) -> Engine:
    """Return an engine whose connections give up on a lock after `PATIENCE_S`; `begun` checks them before use."""
    engine = create_engine(
        driver_url(url.reveal()),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_use_lifo=True,  # the one whose statements the server knows already
        pool_timeout=PATIENCE_S,
        hide_parameters=True,
        connect_args={
            "connect_timeout": PATIENCE_S,
            "options": f"-c lock_timeout={PATIENCE_S}s -c statement_timeout=30s -c timezone=UTC",
        },
    )
    behind.allow(engine)
    return engine


class SqlDatabase:
    """Implements `ports.store.unit.Database`. `committed` is told what each transaction left in the outbox."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        committed: Callable[[Sequence[tuple[int, Event]]], None] | None = None,
    ) -> None:
        self.engine = engine
        self._own_begin = engine.execution_options(isolation_level="AUTOCOMMIT")
        """The same connections without the driver's own BEGIN."""
        self._clock = clock
        self._committed = committed

    @contextmanager
    def begin(self, *, on_disk: bool = True) -> Iterator[SqlUnitOfWork]:
        """Begin a transaction; see the port."""
        with self.in_a_row() as row, row.begin(on_disk=on_disk) as uow:
            yield uow

    @contextmanager
    def in_a_row(self) -> Iterator["InARow"]:
        """Do several transactions on one connection; the answers to their commits are there when this ends.

        What fails of one, at the latest its commit, keeps those after it from being done, and is raised by whatever is
        waited for next. Raises UnavailableError, and UnknownOutcomeError when the connection is lost after a commit.
        """
        row = InARow(self._clock)
        try:
            with begun(self._own_begin) as (connection, transaction):
                row.connection = connection
                yield row
                settle(connection)
                transaction.commit()  # the driver finds it done
                left = [one for uow in row.done for one in uow.left]  # while the connection is ours
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise _fault(error, committing=row.committing) from error
        for uow in row.done:
            announce(uow.transitions)
        if self._committed is not None and left:
            self._committed(left)


class InARow:
    """Transactions of one connection, one after another; each begins before the answer to the last commit is there."""

    connection: Connection

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.done: list[SqlUnitOfWork] = []
        self.committing = False
        """Whether any commit was sent."""

    @contextmanager
    def begin(self, *, on_disk: bool = True) -> Iterator[SqlUnitOfWork]:
        """Begin the next one; at its end its commit is under way."""
        for one in _BEGIN if on_disk else _BEGIN_OFF_DISK:
            send(self.connection, one, {})
        uow = SqlUnitOfWork(self.connection, self._clock.now())
        yield uow
        forget(self.connection)
        self.committing = True
        commit(self.connection)
        self.done.append(uow)


def _fault(error: OperationalError | InterfaceError | PoolTimeoutError, *, committing: bool) -> PortcullisError:
    """Return what it means: a lost answer to a commit is an unknown outcome, the server may have committed before."""
    if committing and isinstance(error, DBAPIError) and error.connection_invalidated:
        return UnknownOutcomeError(
            "the database's answer to the commit was lost: look whether it was stored before trying again"
        )
    if isinstance(error, DBAPIError) and isinstance(error.orig, (RolledBackError, ForgottenError)):
        return UnavailableError(f"{error.orig}: nothing of it was stored, try again", retry_after_s=2)
    return UnavailableError(
        f"the database did not answer ({type(error).__name__}): nothing was stored, try again", retry_after_s=2
    )


@contextmanager
def begun(engine: Engine, first: str | None = None) -> Iterator[tuple[Connection, RootTransaction]]:
    """Connect; a connection that the server dropped meanwhile is replaced, once. Raises what the driver raises.

    A connection was dropped when it fails to take `first`, which must be harmless when it is said twice; without `first`,
    when the server said something unasked and then fails to answer.
    """
    with ExitStack() as opened:
        try:
            found = _said(opened, engine, first)
        except (OperationalError, InterfaceError) as error:
            if not error.connection_invalidated:
                raise
            opened.close()
            found = _said(opened, engine, first)
        yield found


def _said(opened: ExitStack, engine: Engine, first: str | None) -> tuple[Connection, RootTransaction]:
    connection = opened.enter_context(engine.connect())
    transaction = connection.begin()
    if first is not None or not behind.is_silent(connection):
        connection.exec_driver_sql(first or _ANYTHING)
    return connection, transaction
