"""Running the statements that a hold waits for without SQLAlchemy's own work at each execution.

Rules: the statement is built and typed with SQLAlchemy like every other, made into text once, and given to the driver of
the very connection and transaction; so it sees what the transaction wrote, and what was sent behind goes before it. It is
for statements that are made once, with bound parameters that the driver adapts by itself (no JSON, no lists to expand),
and for answers that are read whole. Looking up the text, the parameters' types and the columns again each time takes three
quarters of a short statement's processor time, which a hold pays some thirty times. Errors are SQLAlchemy's, as everywhere.

What does not depend on each other is asked together (`ask`): each statement goes behind, and whoever reads with the same
values later in the transaction finds the answer, as it was when it was asked.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import dict_row, namedtuple_row
from sqlalchemy import ClauseElement, Connection, Dialect, Insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from service.store import behind

DIALECT: Final[Dialect] = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy does not type it
_Cursor = psycopg.Cursor[Any]


@dataclass(slots=True)
class _Asked:
    answers: list[tuple[ClauseElement, Mapping[str, object], _Cursor]] = field(default_factory=list)
    """What was asked, with which values, and where its answer will be."""
    only_sends: bool = False

    def take(self, statement: ClauseElement, values: Mapping[str, object]) -> _Cursor | None:
        for place, (asked, its_values, cursor) in enumerate(self.answers):
            if asked is statement and its_values == values:
                del self.answers[place]
                return cursor
        return None


_ASKED: Final[WeakKeyDictionary[Connection, _Asked]] = WeakKeyDictionary()
"""By SQLAlchemy's connections, which are given back with the last transaction."""


class _SentError(Exception):
    """Ends a reading whose statement was sent and whose answer is for later."""


@cache
def _text(statement: ClauseElement, columns: tuple[str, ...] | None = None) -> tuple[str, Mapping[str, object]]:
    """Return a statement's text, and the values that stand in it already."""
    made = cast("SQLCompiler", statement.compile(dialect=DIALECT, column_keys=columns))
    return str(made), {name: bound.value for name, bound in made.binds.items() if not bound.required}


def rows(connection: Connection, statement: ClauseElement, values: Mapping[str, object]) -> Sequence[Any]:
    """Return a statement's rows with their columns as attributes. Raises DBAPIError."""
    return _run(connection, statement, values, namedtuple_row)


def mappings(
    connection: Connection, statement: ClauseElement, values: Mapping[str, object]
) -> Sequence[Mapping[str, Any]]:
    """Return a statement's rows by column name. Raises DBAPIError."""
    return _run(connection, statement, values, dict_row)


def send(connection: Connection, statement: ClauseElement, values: Mapping[str, object]) -> None:
    """Send a statement behind (`behind.py`). Of an INSERT without values, these are the columns."""
    sql, own = _text(statement, tuple(values) if isinstance(statement, Insert) else None)
    _send(connection, behind.driven(connection).cursor(), sql, {**own, **values})


def later(
    connection: Connection, statement: ClauseElement, values: Mapping[str, object]
) -> Callable[[], Sequence[Any]]:
    """Send a statement behind; return what waits for its rows, with their columns as attributes. Raises DBAPIError."""
    return partial(_settled, connection, _started(connection, statement, values, namedtuple_row))


def settle(connection: Connection) -> None:
    """Wait for all that was sent behind. Raises DBAPIError."""
    driver: psycopg.Connection[Any] = behind.driven(connection)
    try:
        behind.settle(driver)
    except psycopg.Error as error:
        raise _wrapped(connection, driver, "", error) from error


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


def _run(connection: Connection, statement: ClauseElement, values: Mapping[str, object], shape: Any) -> Sequence[Any]:
    asked = _ASKED.get(connection)
    if asked is not None:
        if asked.only_sends:
            asked.answers.append((statement, values, _started(connection, statement, values, shape)))
            raise _SentError
        if (cursor := asked.take(statement, values)) is not None:
            return _settled(connection, cursor)
    sql, own = _text(statement)
    driver: psycopg.Connection[Any] = behind.driven(connection)
    try:
        with driver.cursor(row_factory=shape) as cursor:
            behind.send(cursor, sql, {**own, **values})
            return cursor.fetchall()
    except psycopg.Error as error:
        raise _wrapped(connection, driver, sql, error) from error


def _started(connection: Connection, statement: ClauseElement, values: Mapping[str, object], shape: Any) -> _Cursor:
    sql, own = _text(statement)
    cursor: _Cursor = behind.driven(connection).cursor(row_factory=shape)
    _send(connection, cursor, sql, {**own, **values})
    return cursor


def _settled(connection: Connection, cursor: _Cursor) -> Sequence[Any]:
    try:
        with cursor:
            behind.settle(cursor.connection)
            return cursor.fetchall()
    except psycopg.Error as error:
        raise _wrapped(connection, cursor.connection, "", error) from error


def _send(connection: Connection, cursor: _Cursor, sql: str, values: Mapping[str, object]) -> None:
    try:
        behind.send_behind(cursor, sql, values)
    except psycopg.Error as error:
        raise _wrapped(connection, cursor.connection, sql, error) from error


def _wrapped(connection: Connection, driver: psycopg.Connection[Any], sql: str, error: psycopg.Error) -> BaseException:
    """Return an error as SQLAlchemy would raise it; a connection that is gone is not given to anybody again."""
    lost = driver.closed
    if lost:
        connection.invalidate(error)
    return DBAPIError.instance(sql, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=lost)
