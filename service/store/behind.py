"""Statements whose answer nobody needs go to the server together with the next one that is waited for.

Rules: PostgreSQL does what one connection sends in the order it was sent (libpq pipeline mode, PostgreSQL manual 32.5), so
a statement marked `BEHIND` is done, or has failed, before the next one of its transaction begins, and nothing but the wait
for its answer is saved. What it did is never looked at: no rows, no count. When it fails, that is raised by the statement
that is waited for, at the latest by the commit, and nothing of the transaction is stored. A hold waits for the server at
each statement, and on an idle machine waking each other takes the two of them longer than the statement does.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Connection, Engine, event

_MARK: Final = "portcullis_behind"
BEHIND: Final[dict[str, Any]] = {_MARK: True}
"""Execution options of such a statement; an INSERT is `inline()` besides, because its new keys are not told."""
_SENT: Final[WeakKeyDictionary[psycopg.Connection[Any], ExitStack]] = WeakKeyDictionary()
"""What ends the pipeline of each connection that sent something behind and has not waited yet."""


def allow(engine: Engine) -> None:
    """Let this engine's connections send statements behind."""
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
    """Execute a statement of the driver's own without waiting for it."""
    _open(cursor.connection)
    cursor.execute(statement, values, prepare=True)


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


def _execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    return _send(cursor, cursor.execute, (statement, parameters), context.execution_options)


def _execute_many(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    return _send(cursor, cursor.executemany, (statement, parameters), context.execution_options)


def _send(cursor: Any, send: Callable[..., object], what: tuple[str, Any], options: Any) -> bool:
    """Send it behind, or with all that was; False leaves an ordinary one to SQLAlchemy."""
    if _MARK in options:
        _open(cursor.connection)
        send(*what)
        return True
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
