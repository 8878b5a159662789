"""Statements whose answer nobody needs go to the server together with the next one that is waited for.

Rules: PostgreSQL does what one connection sends in the order it was sent (libpq pipeline mode, PostgreSQL manual 32.5), so
a statement that is sent behind is done, or has failed, before the next one of its transaction begins, and nothing but the
wait for its answer is saved. What it found is there once something else was waited for (`quick.py`). When it fails, that is
raised by what is waited for, at the latest by the commit, and nothing of the transaction is stored, nor of any transaction
that was begun behind it; what was committed before it stays. A hold waits for the server at
each statement, and on an idle machine waking each other takes the two of them longer than the statement does.
"""

import select
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Connection, Engine, event

_SENT: Final[WeakKeyDictionary[psycopg.Connection[Any], ExitStack]] = WeakKeyDictionary()
"""What ends the pipeline of each connection that sent something behind and has not waited yet."""


def allow(engine: Engine) -> None:
    """Let this engine's connections send statements behind, and SQLAlchemy's own statements come after them."""
    event.listen(engine, "do_execute", _execute)
    event.listen(engine, "do_executemany", _execute_many)
    event.listen(engine, "invalidate", _lost)


def driven(connection: Connection) -> Any:
    """Return the driver's own connection."""
    return connection.connection.driver_connection


def send(cursor: psycopg.Cursor[Any], statement: str, values: Mapping[str, object]) -> None:
    """Execute a statement of the driver's own, with all that was sent behind, and wait for it."""
    sent = _SENT.pop(cursor.connection, None)
    with sent or nullcontext():  # its end waits for all answers
        cursor.execute(statement, values, prepare=True)


def send_behind(cursor: psycopg.Cursor[Any], statement: str, values: Mapping[str, object]) -> None:
    """Execute a statement of the driver's own without waiting for it; its answer is the cursor's after `settle`."""
    _open(cursor.connection)
    cursor.execute(statement, values, prepare=True)


def settle(connection: psycopg.Connection[Any]) -> None:
    """Wait for all that was sent behind. Raises what failed of it."""
    sent = _SENT.pop(connection, None)
    if sent is not None:
        sent.close()


def is_silent(connection: Connection) -> bool:
    """Say whether the server sent nothing since it was last asked something: not even that it hung up."""
    wanted = select.poll()
    wanted.register(driven(connection).pgconn.socket, select.POLLIN)
    return not wanted.poll(0)


def waits(connection: Connection) -> bool:
    """Say whether anything that was sent is not answered yet."""
    return driven(connection) in _SENT


def give_up(connection: Connection) -> None:
    """Forget what was not answered; for a transaction that is rolled back."""
    if not connection.invalidated:
        _forget(driven(connection))


def _lost(connection: Any, _record: object, _error: object) -> None:
    """Keep nothing of a connection that nobody is given again."""
    _forget(connection)


def _forget(connection: psycopg.Connection[Any]) -> None:
    sent = _SENT.pop(connection, None)
    if sent is not None:
        with suppress(psycopg.Error):  # why it is given up is known already, or nobody asks
            sent.close()


def _execute(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
    return _send(cursor, cursor.execute, statement, parameters)


def _execute_many(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
    return _send(cursor, cursor.executemany, statement, parameters)


def _send(cursor: Any, send: Callable[..., object], *what: object) -> bool:
    """Send it with all that was sent behind; False leaves it to SQLAlchemy, because there is nothing."""
    sent = _SENT.pop(cursor.connection, None)
    if sent is None:
        return False
    with sent:  # its end waits for all answers
        send(*what)
    return True


def _open(connection: psycopg.Connection[Any]) -> None:
    if connection not in _SENT:
        sent = _SENT[connection] = ExitStack()
        sent.enter_context(connection.pipeline())
