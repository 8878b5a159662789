"""Running the statements that a hold waits for without SQLAlchemy's own work at each execution.

Rules: the statement is built and typed with SQLAlchemy like every other, made into text once, and given to the driver of
the very connection and transaction; so it sees what the transaction wrote, and what was sent behind goes before it. It is
for statements that are made once, with bound parameters that the driver adapts by itself (no JSON, no lists to expand),
and for answers that are read whole. Looking up the text, the parameters' types and the columns again each time takes three
quarters of a short statement's processor time, which a hold pays some thirty times. Errors are SQLAlchemy's, as everywhere.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, cast

import psycopg
from psycopg.rows import dict_row, namedtuple_row
from sqlalchemy import ClauseElement, Connection, Dialect, Insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from service.store import behind

_DIALECT: Final[Dialect] = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy does not type it


@cache
def _text(statement: ClauseElement, columns: tuple[str, ...] | None = None) -> tuple[str, Mapping[str, object]]:
    """Return a statement's text, and the values that stand in it already."""
    made = cast("SQLCompiler", statement.compile(dialect=_DIALECT, column_keys=columns))
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
    driver: psycopg.Connection[Any] = behind.driven(connection)
    try:
        behind.send_behind(driver.cursor(), sql, {**own, **values})
    except psycopg.Error as error:
        raise _wrapped(connection, driver, sql, error) from error


def _run(connection: Connection, statement: ClauseElement, values: Mapping[str, object], shape: Any) -> Sequence[Any]:
    sql, own = _text(statement)
    driver: psycopg.Connection[Any] = behind.driven(connection)
    try:
        with driver.cursor(row_factory=shape) as cursor:
            behind.send(cursor, sql, {**own, **values})
            return cursor.fetchall()
    except psycopg.Error as error:
        raise _wrapped(connection, driver, sql, error) from error


def _wrapped(connection: Connection, driver: psycopg.Connection[Any], sql: str, error: psycopg.Error) -> BaseException:
    """Return an error as SQLAlchemy would raise it; a connection that is gone is not given to anybody again."""
    lost = driver.closed
    if lost:
        connection.invalidate(error)
    return DBAPIError.instance(sql, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=lost)
