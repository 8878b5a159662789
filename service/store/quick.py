"""Running the statements that a hold waits for without SQLAlchemy's own work at each execution.

Rules: the statement is built and typed with SQLAlchemy like every other, made into text once, and given to the driver of
the very connection and transaction; so it sees what the transaction wrote, and what was sent behind goes before it. It is
for statements that are made once, with bound parameters that the driver adapts by itself (no JSON, no lists to expand),
and for answers that are read whole. Looking up the text, the parameters' types and the columns again each time takes three
quarters of a short statement's processor time, which a hold pays some thirty times. Errors are SQLAlchemy's, as everywhere.

What does not depend on each other is asked together (`ask`): each statement goes behind, and whoever reads with the same
values later in the transaction finds the answer, as it was when it was asked.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import ClauseElement, Connection, Dialect, Insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from service.store import behind
from service.store.pipeline import Answer, Shape

DIALECT: Final[Dialect] = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # it is not typed


@dataclass(slots=True)
class _Asked:
    answers: list[tuple[ClauseElement, Mapping[str, object], Answer]] = field(default_factory=list)
    """What was asked, with which values, and where its answer will be."""
    only_sends: bool = False

    def take(self, statement: ClauseElement, values: Mapping[str, object]) -> Answer | None:
        for place, (asked, its_values, answer) in enumerate(self.answers):
            if asked is statement and its_values == values:
                del self.answers[place]
                return answer
        return None


_ASKED: Final[WeakKeyDictionary[Connection, _Asked]] = WeakKeyDictionary()
"""By SQLAlchemy's connections, which are given back with the last transaction."""


class _SentError(Exception):
    """Ends a reading whose statement was sent and whose answer is for later."""


@cache
def _text(
    statement: ClauseElement, columns: tuple[str, ...] | None = None
) -> tuple[str, Sequence[str], Mapping[str, object]]:
    """Return a statement's text, what its parameters are called, and the values that stand in it already."""
    made = cast("SQLCompiler", statement.compile(dialect=DIALECT, column_keys=columns))
    return str(made), made.positiontup or (), {n: bound.value for n, bound in made.binds.items() if not bound.required}


def rows(connection: Connection, statement: ClauseElement, values: Mapping[str, object]) -> Sequence[Any]:
    """Return a statement's rows with their columns as attributes. Raises DBAPIError."""
    return _run(connection, statement, values, _namedtuples)


def mappings(
    connection: Connection, statement: ClauseElement, values: Mapping[str, object]
) -> Sequence[Mapping[str, Any]]:
    """Return a statement's rows by column name. Raises DBAPIError."""
    return _run(connection, statement, values, _dicts)


def send(connection: Connection, statement: ClauseElement, values: Mapping[str, object]) -> None:
    """Send a statement behind (`behind.py`). Of an INSERT without values, these are the columns."""
    _sent(connection, statement, values, tuple(values) if isinstance(statement, Insert) else None)


def later(
    connection: Connection, statement: ClauseElement, values: Mapping[str, object]
) -> Callable[[], Sequence[Any]]:
    """Send a statement behind; return what waits for its rows, with their columns as attributes. Raises DBAPIError."""
    return partial(_read, connection, _sent(connection, statement, values), _namedtuples)


def settle(connection: Connection) -> None:
    """Wait for all that was sent behind. Raises DBAPIError."""
    with _wrapped(connection) as driver:
        behind.pipeline(driver).settle()


def commit(connection: Connection) -> None:
    """Send a COMMIT behind; the server begins with it. Raises DBAPIError, of a transaction that has failed already."""
    with _wrapped(connection) as driver:
        behind.pipeline(driver).commit()


def forget(connection: Connection) -> None:
    """Keep no answer that was not read: its transaction is over."""
    _ASKED.pop(connection, None)


def ask(connection: Connection, read: Callable[[], object]) -> None:
    """Let `read` send its first statement of this file behind, and end there; the same reading finds its answer later.

    What changes something may be asked so where its answer is read in every case. Raises DBAPIError.
    """
    asked = _ASKED.setdefault(connection, _Asked())
    asked.only_sends = True
    try:
        with suppress(_SentError):
            read()
    finally:
        asked.only_sends = False


def _run(connection: Connection, statement: ClauseElement, values: Mapping[str, object], shape: Shape) -> Sequence[Any]:
    asked, answer = _ASKED.get(connection), None
    if asked is not None:
        if asked.only_sends:
            asked.answers.append((statement, values, _sent(connection, statement, values)))
            raise _SentError
        answer = asked.take(statement, values)
    return _read(connection, answer or _sent(connection, statement, values), shape)


def _sent(
    connection: Connection,
    statement: ClauseElement,
    values: Mapping[str, object],
    columns: tuple[str, ...] | None = None,
) -> Answer:
    sql, names, own = _text(statement, columns)
    with _wrapped(connection, sql) as driver:
        return behind.pipeline(driver).send(sql, [values[name] if name in values else own[name] for name in names])


def _read(connection: Connection, answer: Answer, shape: Shape) -> Sequence[Any]:
    with _wrapped(connection):
        return answer.rows(shape)


@contextmanager
def _wrapped(connection: Connection, sql: str = "") -> Iterator[psycopg.Connection[Any]]:
    """Raise errors as SQLAlchemy would; a connection that is gone is not given to anybody again."""
    driver: psycopg.Connection[Any] = behind.driven(connection)
    try:
        yield driver
    except psycopg.Error as error:
        lost = driver.closed
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            sql, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=lost
        ) from error


@cache
def _namedtuples(names: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    """Make rows with their columns as attributes."""
    made = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # noqa: PYI024  its fields are known now only
    return made._make


def _dicts(names: tuple[str, ...]) -> Callable[[Sequence[Any]], Mapping[str, Any]]:
    """Make rows by column name."""
    return lambda values: dict(zip(names, values, strict=True))
