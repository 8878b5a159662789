"""Whatever a server answers, or leaves unanswered, the first failure is raised and no commit is told that was none."""

from dataclasses import dataclass, field

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus

from service.store.pipeline import ForgottenError, Pipeline, RolledBackError

DIVIDED = b"22012"


@dataclass
class Result:
    """What libpq makes of an answer."""

    status: ExecStatus
    command_status: bytes = b""
    state: bytes | None = None
    nfields: int = 0
    ntuples: int = 0

    def error_field(self, fieldcode: DiagnosticField) -> bytes | None:
        return self.state if fieldcode is DiagnosticField.SQLSTATE else None

    def get_error_message(self, _encoding: str = "") -> str:
        return "it was not done"


DONE = Result(ExecStatus.COMMAND_OK)
SYNC = Result(ExecStatus.PIPELINE_SYNC)
FAILED = Result(ExecStatus.FATAL_ERROR, state=DIVIDED)
GIVEN_UP = Result(ExecStatus.PIPELINE_ABORTED)
LOST = Result(ExecStatus.FATAL_ERROR)


@dataclass
class Connection:
    """Stands for libpq's connection: answers from a list, and notes what it was told."""

    answers: list[Result | None]
    socket: int = 0
    told: list[str] = field(default_factory=list)
    finished: bool = False
    transaction_status: TransactionStatus = TransactionStatus.INTRANS
    breaks: bool = False

    def enter_pipeline_mode(self) -> None:
        self.told.append("enter")

    def exit_pipeline_mode(self) -> None:
        self.told.append("exit")

    def send_prepare(self, name: bytes, command: bytes, _types: object) -> None:
        self.told.append(f"{name.decode()} = {command.decode()}")

    def send_query_prepared(self, name: bytes, _values: object, _formats: object) -> None:
        if self.breaks:
            raise psycopg.OperationalError("sending failed")
        self.told.append(name.decode())

    def pipeline_sync(self) -> None:
        self.told.append("sync")

    def flush(self) -> int:
        return 0

    def is_busy(self) -> int:
        return 0

    def consume_input(self) -> None:
        raise AssertionError("nothing is waited for")

    def get_result(self) -> Result | None:
        return self.answers.pop(0) if self.answers else None

    def finish(self) -> None:
        self.finished = True


def pipeline_on(connection: Connection) -> Pipeline:
    return Pipeline(connection)  # type: ignore[arg-type]  # as much of libpq as is used


def each(*results: Result) -> list[Result | None]:
    """Return the results of statements, each ended."""
    return [one for result in results for one in (result, None)]


def test_a_statement_is_made_known_once() -> None:
    connection = Connection([*each(DONE, DONE, DONE), SYNC, *each(DONE), SYNC])
    line = pipeline_on(connection)
    line.send("a", ())
    line.send("a", ())
    line.settle()
    line.send("a", ())
    line.settle()
    once = ["enter", "portcullis_1 = a", "portcullis_1", "portcullis_1", "sync", "exit"]
    assert connection.told == [*once, "enter", "portcullis_1", "sync", "exit"]
    line.settle()
    assert not connection.answers


def test_what_was_not_made_known_is_made_known_again_under_another_name() -> None:
    connection = Connection([*each(FAILED, GIVEN_UP), SYNC, *each(DONE, DONE), SYNC])
    line = pipeline_on(connection)
    line.send("a", ())
    with pytest.raises(psycopg.errors.DivisionByZero):
        line.settle()
    line.send("a", ())
    line.settle()
    assert [one for one in connection.told if "=" in one] == ["portcullis_1 = a", "portcullis_2 = a"]
    assert not connection.finished


def test_after_a_name_that_is_unknown_everything_is_made_known_anew() -> None:
    unknown = Result(ExecStatus.FATAL_ERROR, state=b"26000")
    connection = Connection([*each(DONE, DONE, unknown), SYNC, *each(DONE, DONE), SYNC])
    line = pipeline_on(connection)
    line.send("a", ())
    line.send("a", ())
    with pytest.raises(ForgottenError):
        line.settle()
    line.send("a", ())
    line.settle()
    assert [one for one in connection.told if "=" in one] == ["portcullis_1 = a", "portcullis_2 = a"]


@pytest.mark.parametrize("status", TransactionStatus)
def test_what_is_open_is_rolled_back_whatever_became_of_what_was_sent(status: TransactionStatus) -> None:
    connection = Connection([*each(FAILED, GIVEN_UP), SYNC, *each(DONE, DONE), SYNC], transaction_status=status)
    line = pipeline_on(connection)
    line.send("a", ())
    line.roll_back()
    assert not line.waits
    assert ("portcullis_2 = ROLLBACK" in connection.told) == (status.name in {"INTRANS", "INERROR"})


def test_a_commit_that_was_a_rollback_is_a_failure() -> None:
    connection = Connection([*each(DONE, Result(ExecStatus.COMMAND_OK, b"ROLLBACK")), SYNC])
    line = pipeline_on(connection)
    line.commit()
    with pytest.raises(RolledBackError):
        line.settle()
    assert not connection.finished


def test_what_has_failed_is_not_committed() -> None:
    connection = Connection([], transaction_status=TransactionStatus.INERROR)
    line = pipeline_on(connection)
    with pytest.raises(RolledBackError):
        line.commit()
    assert not line.waits
    assert not connection.told


def test_what_could_not_be_queued_ends_the_connection() -> None:
    connection = Connection([], breaks=True)
    line = pipeline_on(connection)
    with pytest.raises(psycopg.OperationalError):
        line.send("a", ())
    assert connection.finished


@pytest.mark.parametrize(
    "answers",
    [
        [],
        each(DONE),
        each(DONE, DONE),
        each(DONE, FAILED),
        each(DONE, LOST),
        each(LOST),
        [DONE, DONE],
        [*each(DONE, DONE), DONE],
        [SYNC],
    ],
)
def test_answers_that_cannot_be_told_apart_end_the_connection(answers: list[Result | None]) -> None:
    connection = Connection(answers)
    line = pipeline_on(connection)
    line.send("a", ())
    with pytest.raises(psycopg.OperationalError):
        line.settle()
    assert connection.finished
    assert not line.waits


def test_who_is_interrupted_leaves_no_connection_whose_answers_are_another_s() -> None:
    class Interrupted(Connection):
        def get_result(self) -> Result | None:
            raise KeyboardInterrupt

    connection = Interrupted([])
    line = pipeline_on(connection)
    line.send("a", ())
    with pytest.raises(KeyboardInterrupt):
        line.settle()
    assert connection.finished


@given(good=st.integers(0, 4), after=st.integers(0, 4), ended=st.booleans())
def test_the_first_failure_is_raised_and_what_follows_has_no_answer(good: int, after: int, *, ended: bool) -> None:
    made_known = [DONE, *([DONE] * good), FAILED, *([GIVEN_UP] * after)]
    connection = Connection([*each(*made_known), *([SYNC] if ended else [])])
    line = pipeline_on(connection)
    answers = [line.send("a", ()) for _ in range(good + 1 + after)]
    with pytest.raises(psycopg.errors.DivisionByZero if ended else psycopg.OperationalError):
        line.settle()
    assert connection.finished is not ended
    for answer in answers[:good]:
        assert answer.result is not None
        assert answer.result.status == ExecStatus.COMMAND_OK
    for answer in answers[good:]:
        with pytest.raises(psycopg.OperationalError):
            answer.rows(lambda _names: tuple)
