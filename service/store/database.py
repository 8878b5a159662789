"""Opening units of work on PostgreSQL with synchronous SQLAlchemy Core.

One `begin()` block is one transaction. After its commit its transitions are logged; the relay publishes what it left in
the outbox (ADR 0014). A database that cannot be reached is UnavailableError.

A transaction begins with a statement of its own that also says whether its commit waits for the disk, and that stands for
the check whether a connection of the pool still lives: nothing was done yet, so a dead one is replaced. A hold waits for
eight transactions, and the driver's own BEGIN, a check and a setting were three waits for the server each (ADR 0048).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, RootTransaction, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from service.domain.errors import UnavailableError, UnknownOutcomeError
from service.domain.events import Event
from service.domain.secrets import Secret
from service.ports.clock import Clock
from service.store import behind
from service.store.recording import announce
from service.store.unit_of_work import SqlUnitOfWork

_BEGIN: Final = "BEGIN"
_BEGIN_OFF_DISK: Final = "BEGIN; SET LOCAL synchronous_commit TO off"
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
        try:
            with begun(self._own_begin, _BEGIN if on_disk else _BEGIN_OFF_DISK) as (connection, transaction):
                uow = SqlUnitOfWork(connection, self._clock.now())
                yield uow
                _commit(connection, transaction)
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise UnavailableError(
                f"the database did not answer ({type(error).__name__}): nothing was stored, try again", retry_after_s=2
            ) from error
        announce(uow.transitions)
        if self._committed is not None and uow.left:
            self._committed(uow.left)


@contextmanager
def begun(engine: Engine, first: str) -> Iterator[tuple[Connection, RootTransaction]]:
    """Connect and say `first`; a connection that the server dropped meanwhile is replaced, once.

    `first` must be harmless when it is said twice. Raises what the driver raises.
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


def _said(opened: ExitStack, engine: Engine, first: str) -> tuple[Connection, RootTransaction]:
    connection = opened.enter_context(engine.connect())
    opened.callback(behind.give_up, connection)
    transaction = connection.begin()
    connection.exec_driver_sql(first)
    return connection, transaction


def _commit(connection: Connection, transaction: RootTransaction) -> None:
    """Commit. A lost answer is an unknown outcome: the server may have committed before the connection broke."""
    try:
        if behind.waits(connection):
            connection.exec_driver_sql("COMMIT")  # in one go with what was sent behind; the driver then finds it done
        transaction.commit()
    except (OperationalError, InterfaceError) as error:
        if not error.connection_invalidated:
            raise  # the server said no, to this or to what was sent behind: nothing is stored
        raise UnknownOutcomeError(
            "the database's answer to the commit was lost: look whether it was stored before trying again"
        ) from error
