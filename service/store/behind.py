"""Statements whose answer nobody needs go to the server together with the next one that is waited for.

Rules: each connection has one pipeline (`pipeline.py`). What is sent on it behind is done, or has failed, before the next
statement of its transaction begins, whoever sends that: SQLAlchemy's own come after all that was sent. What it found is
there once something else was waited for (`quick.py`). When it fails, that is raised by what is waited for, at the latest
by the commit, and nothing of the transaction is stored, nor of any transaction that was begun behind it; what was
committed before it stays. What is sent behind in a savepoint, and fails there, is given up with the savepoint where that
is rolled back; where it is released, the whole transaction has failed. A hold waits for the server at each statement, and
on an idle machine waking each other takes the two of them longer than the statement does.
"""

import select
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Connection, Engine, event

from service.store.pipeline import Pipeline

_TO_SAVEPOINT: Final = "ROLLBACK TO SAVEPOINT"
_PIPELINES: Final[WeakKeyDictionary[psycopg.Connection[Any], Pipeline]] = WeakKeyDictionary()


def allow(engine: Engine) -> None:
    """Let this engine's connections send statements behind, and SQLAlchemy's own statements come after them."""
    event.listen(engine, "do_execute", _before)
    event.listen(engine, "do_executemany", _before)
    event.listen(engine, "rollback", _roll_back)
    event.listen(engine, "invalidate", _lost)


def driven(connection: Connection) -> Any:
    """Return the driver's own connection."""
    return connection.connection.driver_connection


def pipeline(connection: psycopg.Connection[Any]) -> Pipeline:
    """Return the pipeline of a connection of the driver's."""
    found = _PIPELINES.get(connection)
    if found is None:
        found = _PIPELINES[connection] = Pipeline(connection.pgconn)
    return found


def is_silent(connection: Connection) -> bool:
    """Say whether the server sent nothing since it was last asked something: not even that it hung up."""
    wanted = select.poll()
    wanted.register(driven(connection).pgconn.socket, select.POLLIN)
    return not wanted.poll(0)


def waits(connection: Connection) -> bool:
    """Say whether anything that was sent is not answered yet."""
    return pipeline(driven(connection)).waits


def _before(cursor: Any, statement: str, *_: object) -> bool:
    """Wait for what was sent before SQLAlchemy executes something; False leaves that to it.

    Rolling back to a savepoint is done here (True): after the driver's own the server would know no statement any more.
    """
    if statement.startswith(_TO_SAVEPOINT):
        pipeline(cursor.connection).roll_back(statement)
        return True
    pipeline(cursor.connection).settle()
    return False


def _roll_back(connection: Connection) -> None:
    """Roll back in the driver's place, which then finds nothing to do."""
    if not connection.invalidated:
        with suppress(psycopg.Error):  # the driver's own attempt will tell
            pipeline(driven(connection)).roll_back()


def _lost(connection: Any, _record: object, _error: object) -> None:
    """Keep nothing of a connection that nobody is given again."""
    _PIPELINES.pop(connection, None)
