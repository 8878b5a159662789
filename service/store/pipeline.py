"""Statements that go to the server together, by the libpq of the driver (pipeline mode, PostgreSQL manual 32.5).

Rules: PostgreSQL does what one connection sends in the order it was sent, and after a failure nothing more until the next
synchronisation point; there is one at the end of each wait. So what failed first is what is raised, once, by whatever waits,
and nothing that was sent after it was done, a COMMIT neither. A COMMIT that the server answers with ROLLBACK is a failure
like others. Where the answers can no longer be told apart (the server is gone, something interrupts the wait) the
connection is finished: nobody goes on with it.

It is the driver's libpq (`psycopg.pq`) with the driver's adaptation of values, and not its cursors, because these take ten
times the processor time for a short statement, and its pipeline wakes the server for each one (ADR 0061). A statement is
made known to the server at its first use, under a name of ours that is never used again. The driver takes all such names
from the server, ours as well as its own, after a ROLLBACK, also one to a savepoint, a DROP and an ALTER that it sends
itself. The last two are not for connections of a service; roll-backs are done here instead (`roll_back`), so that what is
known stays known. Where a name is unknown all the same, everything is made known anew and the transaction fails as our own
fault (`ForgottenError`): it can be tried again. For one thread at a time, as the connection.
"""

import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

_FOUND: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})
_OPEN: Final = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})
_COMMIT: Final = "COMMIT"
Shape = Callable[[tuple[str, ...]], Callable[[Sequence[Any]], Any]]
"""Makes of the columns' names what makes a row of its values."""
_Known = tuple[str, tuple[int, ...]]
"""A statement and its parameters' types."""


class RolledBackError(psycopg.OperationalError):
    """Nothing of a transaction is stored: a statement of it had failed, and whoever sent that went on to the commit."""

    def __init__(self) -> None:
        super().__init__("a statement had failed before the commit, so the server rolled the transaction back")


class ForgottenError(psycopg.OperationalError):
    """Nothing of a transaction is stored: the server was made to forget a statement that it had been told."""

    def __init__(self) -> None:
        super().__init__("the server no longer knew a statement, so it rolled the transaction back")


class Answer:
    """What a statement found."""

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline
        self.result: PGresult | None = None
        """There once its pipeline has settled."""

    def rows(self, shape: Shape) -> list[Any]:
        """Wait for everything that was sent, and return the rows. Raises psycopg.Error."""
        self._pipeline.settle()
        if self.result is None or self.result.status not in _FOUND:
            raise psycopg.OperationalError("this was not done, because something before it had failed")
        return self._pipeline.read(self.result, shape)


class Pipeline:
    """What was sent on one connection and is not answered yet, and the statements that its server knows."""

    def __init__(self, connection: PGconn) -> None:
        self._connection = connection
        self._known: dict[_Known, bytes] = {}
        self._names = 0
        self._sent: list[tuple[Answer | None, _Known]] = []
        """None is for what makes a statement known."""
        self._adapt = Transformer()

    @property
    def waits(self) -> bool:
        """Whether anything is not answered yet."""
        return bool(self._sent)

    def send(self, statement: str, values: Sequence[object]) -> Answer:
        """Queue a statement with its values for `$1` and so on. Raises psycopg.Error."""
        given = self._adapt.dump_sequence(values, [_format(value) for value in values])
        known, answer = (statement, tuple(self._adapt.types or ())), Answer(self)
        try:
            if not self._sent:
                self._connection.enter_pipeline_mode()
            self._connection.send_query_prepared(self._name(known), given, self._adapt.formats)
        except psycopg.Error:
            self._connection.finish()  # what of it was queued is not known
            raise
        self._sent.append((answer, known))
        return answer

    def commit(self) -> None:
        """Queue a COMMIT and let the server begin: whoever waits for its locks has them now.

        Raises RolledBackError where the transaction has failed already, and psycopg.Error.
        """
        if not self._sent and self._connection.transaction_status == TransactionStatus.INERROR:
            raise RolledBackError  # sent, it would end the transaction, and what is sent after it would be done
        self.send(_COMMIT, ())
        self.push()

    def push(self) -> None:
        """Send what is queued as far as it goes without waiting. Raises psycopg.Error."""
        self._connection.flush()

    def roll_back(self, statement: str = "ROLLBACK") -> None:
        """Give up what was sent, and do this if a transaction is open. Raises psycopg.Error where the server is gone."""
        with suppress(psycopg.Error):  # why it is given up is known already, or nobody asks
            self.settle()
        if self._connection.transaction_status in _OPEN:
            self.send(statement, ())
            self.settle()

    def settle(self) -> None:
        """Send what is queued and wait for all answers. Raises the first failure, of psycopg.Error."""
        if not self._sent:
            return
        sent, self._sent = self._sent, []
        try:
            failed = self._answered(sent)
        except BaseException:
            self._connection.finish()  # nobody knows any more which answer belongs to what
            raise
        if failed is not None:
            raise failed

    def read(self, result: PGresult, shape: Shape) -> list[Any]:
        """Return a result's rows."""
        names = tuple((result.fname(column) or b"").decode() for column in range(result.nfields))
        self._adapt.set_pgresult(result)
        return self._adapt.load_rows(0, result.ntuples, shape(names))

    def _name(self, known: _Known) -> bytes:
        """Return what the server knows a statement by, which it is told now, if need be."""
        if (name := self._known.get(known)) is None:
            self._names += 1
            name = b"portcullis_%d" % self._names
            statement, types = known
            self._connection.send_prepare(name, statement.encode(), types)
            self._sent.append((None, known))
            self._known[known] = name
        return name

    def _answered(self, sent: Sequence[tuple[Answer | None, _Known]]) -> psycopg.Error | None:
        """Fill all answers; return the first failure."""
        failed: psycopg.Error | None = None
        self._connection.pipeline_sync()
        for answer, known in sent:
            result = self._next()
            if result is None or _is_from_libpq(result):
                raise psycopg.OperationalError("the server hung up before it answered") from failed
            failed = failed or _failure(result, known)
            if answer is not None:
                answer.result = result
            elif result.status != ExecStatus.COMMAND_OK:
                self._known.pop(known, None)
            self._end()
        last = self._next()
        if last is None or last.status != ExecStatus.PIPELINE_SYNC:
            raise psycopg.OperationalError("the server hung up before it answered all") from failed
        self._connection.exit_pipeline_mode()
        if isinstance(failed, InvalidSqlStatementName):
            self._known.clear()
            return ForgottenError()
        return failed

    def _end(self) -> None:
        """Take the end of a statement's results."""
        if self._next() is not None:
            raise psycopg.OperationalError("the server answered more than it was asked")

    def _next(self) -> PGresult | None:
        """Wait for the next result; None ends those of one statement."""
        ready = select.poll()
        while self._connection.flush():
            ready.register(self._connection.socket, select.POLLIN | select.POLLOUT)
            if any(seen & select.POLLIN for _, seen in ready.poll()):
                self._connection.consume_input()  # it may wait for us to read before it reads on
        while self._connection.is_busy():
            ready.register(self._connection.socket, select.POLLIN)
            ready.poll()
            self._connection.consume_input()
        return self._connection.get_result()


def _is_from_libpq(result: PGresult) -> bool:
    """Say whether a failure is none that the server told of: then the connection is lost."""
    return result.status == ExecStatus.FATAL_ERROR and result.error_field(DiagnosticField.SQLSTATE) is None


def _failure(result: PGresult, known: _Known) -> psycopg.Error | None:
    """Return what went wrong, of one result."""
    if result.status not in _FOUND:
        return error_from_result(result)
    return RolledBackError() if known[0] == _COMMIT and result.command_status == b"ROLLBACK" else None


def _format(value: object) -> PyFormat:
    """Return how to send a value: bytes in lists are not escaped as text, which needs the server's settings."""
    return PyFormat.BINARY if isinstance(value, list) and value and isinstance(value[0], bytes) else PyFormat.AUTO
