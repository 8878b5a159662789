"""What is sent behind is done in its order, and its failure is never lost (`store/behind.py`, `store/quick.py`)."""

import gc
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import bindparam, insert, select, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from service.domain.errors import UnavailableError, UnknownOutcomeError
from service.domain.events import IncidentOpened
from service.domain.ids import IncidentId
from service.domain.timeline import Entry
from service.store import behind
from service.store.database import SqlDatabase
from service.store.quick import mappings, rows, send, settle
from service.store.tables.attention import timers
from service.store.tables.proof import handled
from service.store.unit_of_work import SqlUnitOfWork

pytestmark = pytest.mark.servers
NOTE = insert(handled).inline()
NOTES = select(handled.c.key).order_by(handled.c.key)
DIVIDE = text("SELECT 1 / (:zero - 0)")
ONE = select(handled.c.key, handled.c.at).where(handled.c.key == bindparam("key"))
INCIDENT = IncidentId("inc_1")
AT = datetime(2026, 1, 2, tzinfo=UTC)


def noted(db: SqlDatabase) -> list[str]:
    with db.begin() as uow:
        return [row.key for row in rows(uow.connection, NOTES, {})]


def test_the_next_statement_sees_what_was_sent_behind(db: SqlDatabase) -> None:
    with db.begin() as uow:
        send(uow.connection, NOTE, {"key": "a", "at": AT})
        send(uow.connection, NOTE, {"key": "b", "at": AT})
        uow.connection.execute(NOTE, [{"key": "c", "at": AT}, {"key": "cc", "at": AT}])
        send(uow.connection, NOTE, {"key": "ccc", "at": AT})
        assert behind.waits(uow.connection)
        assert [row.key for row in rows(uow.connection, NOTES, {})] == ["a", "b", "c", "cc", "ccc"]
        assert not behind.waits(uow.connection)
        assert mappings(uow.connection, ONE, {"key": "b"}) == [{"key": "b", "at": AT}]
        send(uow.connection, NOTE, {"key": "d", "at": AT})
        assert uow.connection.execute(NOTES).scalars().all() == ["a", "b", "c", "cc", "ccc", "d"]
        send(uow.connection, NOTE, {"key": "e", "at": AT})
    assert noted(db) == ["a", "b", "c", "cc", "ccc", "d", "e"]


def note_twice(db: SqlDatabase, *, and_wait: bool) -> None:
    with db.begin() as uow:
        send(uow.connection, NOTE, {"key": "a", "at": AT})
        send(uow.connection, NOTE, {"key": "a", "at": AT})
        if and_wait:
            rows(uow.connection, NOTES, {})
            pytest.fail("the second note is one too many")


def test_a_failure_behind_is_raised_by_what_waits_and_nothing_is_stored(db: SqlDatabase) -> None:
    with pytest.raises(IntegrityError):
        note_twice(db, and_wait=True)
    assert noted(db) == []


def test_a_failure_behind_is_raised_by_the_commit_at_the_latest(db: SqlDatabase) -> None:
    with pytest.raises(IntegrityError):
        note_twice(db, and_wait=False)
    assert noted(db) == []


def test_what_was_sent_behind_is_rolled_back_with_its_transaction(db: SqlDatabase) -> None:
    with suppress(ZeroDivisionError), db.begin() as uow:
        send(uow.connection, NOTE, {"key": "a", "at": AT})
        raise ZeroDivisionError
    with db.begin() as uow:
        assert rows(uow.connection, NOTES, {}) == [], "the one connection of the pool is as new"
    assert noted(db) == []


def test_a_lock_taken_behind_is_held_before_the_next_statement(db: SqlDatabase, fresh_postgres_url: str) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    with psycopg.connect(fresh_postgres_url) as other, db.begin() as uow:
        uow.lock("x", at_once=False)
        uow.noted("anything")
        row = other.execute(held).fetchone()
        assert row == (1,)


def lose(url: str, uow: SqlUnitOfWork) -> None:
    process = uow.connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(url, autocommit=True) as judge:
        judge.execute("SELECT pg_terminate_backend(%s, 30000)", (process,))


@pytest.mark.parametrize("sent", [True, False])
def test_a_connection_that_is_lost_before_the_commit_is_our_own_fault(
    db: SqlDatabase, fresh_postgres_url: str, *, sent: bool
) -> None:
    def work() -> None:
        with db.begin() as uow:
            lose(fresh_postgres_url, uow)
            if sent:
                send(uow.connection, NOTE, {"key": "a", "at": AT})
            rows(uow.connection, NOTES, {})

    with pytest.raises(UnavailableError):
        work()
    assert noted(db) == []


def test_a_connection_that_is_lost_at_the_commit_is_an_unknown_outcome(
    db: SqlDatabase, fresh_postgres_url: str
) -> None:
    def work() -> None:
        with db.begin() as uow:
            lose(fresh_postgres_url, uow)

    with pytest.raises(UnknownOutcomeError):
        work()
    assert noted(db) == []


@pytest.mark.parametrize("own", [True, False])
def test_nothing_is_kept_of_a_connection_that_is_lost_by_what_is_sent_behind(db: SqlDatabase, *, own: bool) -> None:
    lost: list[weakref.ref[Any]] = []

    def work() -> None:
        with db.begin() as uow:
            send(uow.connection, NOTE, {"key": "a", "at": AT})
            driver = behind.driven(uow.connection)
            lost.append(weakref.ref(driver))
            driver.close()
            if own:
                send(uow.connection, NOTE, {"key": "b", "at": AT})
            else:
                uow.connection.execute(NOTE, {"key": "b", "at": AT})

    with suppress(UnavailableError):
        work()
    gc.collect()
    assert [one() for one in lost] == [None]
    assert noted(db) == []


def test_what_is_asked_together_is_answered_by_one_wait(db: SqlDatabase) -> None:
    with db.begin() as uow:
        send(uow.connection, NOTE, {"key": "a", "at": AT})
        for _ in range(2):
            uow.ask(noted_at, uow, "a")
        uow.ask(noted_at, uow, "b")
        uow.ask(uow.noted, "a")  # not of this kind: it waits, and is made again later
        assert not behind.waits(uow.connection)
        uow.ask(uow.once, "b")
        uow.ask(noted_at, uow, "c")
        assert behind.waits(uow.connection)
        assert noted_at(uow, "a") == [AT]
        assert not behind.waits(uow.connection), "all is there"
        assert uow.once("b")
        assert not uow.once("b")
        assert noted_at(uow, "b") == [], "as it was when it was asked"
        assert noted_at(uow, "b") == [uow.now]
        assert noted_at(uow, "c") == []
        uow.ask(noted_at, uow, "d")
    assert noted(db) == ["a", "b"]


def noted_at(uow: SqlUnitOfWork, key: str) -> list[datetime]:
    return [row.at for row in rows(uow.connection, ONE, {"key": key})]


def test_what_fails_of_what_was_asked_is_raised_by_what_waits(db: SqlDatabase) -> None:
    def work() -> None:
        with db.begin() as uow:
            send(uow.connection, NOTE, {"key": "a", "at": AT})
            uow.ask(rows, uow.connection, DIVIDE, {"zero": 0})
            noted_at(uow, "a")
            pytest.fail("one cannot be divided")

    with pytest.raises(DataError):
        work()
    assert noted(db) == []


def test_what_was_asked_behind_a_failure_is_not_an_empty_answer(db: SqlDatabase) -> None:
    with suppress(OperationalError, UnavailableError), db.begin() as uow:
        uow.ask(rows, uow.connection, DIVIDE, {"zero": 0})
        uow.ask(noted_at, uow, "a")
        with pytest.raises(DataError):
            settle(uow.connection)
        with pytest.raises(OperationalError):
            noted_at(uow, "a")
        raise OperationalError("", None, ZeroDivisionError())


KNOWN = text("SELECT name FROM pg_prepared_statements WHERE name LIKE 'portcullis%'")


def known(uow: SqlUnitOfWork) -> set[str]:
    return set(uow.connection.execute(KNOWN).scalars())


def busy(uow: SqlUnitOfWork) -> None:
    """Execute so much by SQLAlchemy that the driver prepares it."""
    for number in range(10):
        assert not uow.noted(str(number))


def test_what_the_server_was_made_to_know_it_still_knows_after_a_roll_back(db: SqlDatabase) -> None:
    with suppress(ZeroDivisionError), db.begin() as uow:
        busy(uow)
        assert noted_at(uow, "a") == []
        before = known(uow)
        raise ZeroDivisionError
    with suppress(IntegrityError):
        note_twice(db, and_wait=False)
    with suppress(DataError), db.engine.begin() as connection:
        connection.execute(DIVIDE, {"zero": 0})
    with db.begin() as uow:
        assert noted_at(uow, "a") == []
        assert before <= known(uow)


def test_whoever_takes_what_the_server_knows_spoils_one_transaction_and_no_more(db: SqlDatabase) -> None:
    with db.begin() as uow:
        assert noted_at(uow, "a") == []
        uow.connection.execute(text("DEALLOCATE ALL"))
    with pytest.raises(UnavailableError, match="nothing of it was stored"):
        noted(db)
    assert noted(db) == []
    with db.begin() as uow:
        assert noted_at(uow, "a") == []


def test_a_server_that_goes_away_between_what_was_sent_and_its_answers_is_our_own_fault(
    db: SqlDatabase, fresh_postgres_url: str
) -> None:
    def work() -> None:
        with db.begin() as uow:
            process = uow.connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            for key in "abc":
                uow.ask(noted_at, uow, key)
            uow.ask(rows, uow.connection, text("SELECT pg_sleep(60)"), {})
            behind.pipeline(behind.driven(uow.connection)).push()
            with psycopg.connect(fresh_postgres_url, autocommit=True) as judge:
                judge.execute("SELECT pg_terminate_backend(%s, 30000)", (process,))
            noted_at(uow, "c")

    with pytest.raises(UnavailableError):
        work()
    assert noted(db) == []


def test_much_that_goes_both_ways_at_once_comes_to_no_standstill(db: SqlDatabase) -> None:
    back = text("SELECT CAST(:much AS text) AS much, CAST(:odd AS bytea[]) AS odd")
    odd = [b"\0\xff'\\\"{,}", b""]
    many = [{"much": f"{n}" * 1_000_000, "odd": odd} for n in range(10)]
    with db.begin() as uow:
        for one in many:
            uow.ask(rows, uow.connection, back, one)
        for one in many:
            (found,) = rows(uow.connection, back, one)
            assert (found.much, found.odd) == (one["much"], odd)


def test_transactions_in_a_row_are_each_stored_and_wait_together(db: SqlDatabase) -> None:
    with db.in_a_row() as row:
        with row.begin(on_disk=False) as first:
            first.record(Entry(kind="tested", at=first.now, subject="x", sentence="x"), IncidentOpened(INCIDENT))
            assert first.once("a")
            first.ask(noted_at, first, "nobody")
        assert behind.waits(first.connection), "its commit is under way"
        with row.begin() as second:
            assert noted_at(second, "a") == [first.now]
            second.record(Entry(kind="tested", at=second.now, subject="x", sentence="x"), IncidentOpened(INCIDENT))
    ((one, event),), ((other, _),) = first.left, second.left
    assert (one < other, event) == (True, IncidentOpened(INCIDENT))
    assert row.done == [first, second]


def test_what_fails_in_a_row_takes_nothing_back_that_was_before_it(db: SqlDatabase) -> None:
    with suppress(ZeroDivisionError), db.in_a_row() as row:
        with row.begin() as first:
            send(first.connection, NOTE, {"key": "a", "at": AT})
        with row.begin() as second:
            send(second.connection, NOTE, {"key": "b", "at": AT})
            raise ZeroDivisionError
    assert noted(db) == ["a"]
    assert row.done == [first]


def test_after_a_commit_that_fails_in_a_row_nothing_more_is_done(db: SqlDatabase) -> None:
    judged_late = "CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    with db.begin() as uow:
        uow.connection.execute(text(judged_late))

    def work() -> None:
        with db.in_a_row() as row:
            with row.begin() as first:
                send(first.connection, text("INSERT INTO late VALUES (1), (1)"), {})
            with row.begin() as second:
                send(second.connection, NOTE, {"key": "b", "at": AT})

    with pytest.raises(IntegrityError):
        work()
    assert noted(db) == []


def test_a_connection_that_is_lost_in_a_row_leaves_unknown_what_was_committed(
    db: SqlDatabase, fresh_postgres_url: str
) -> None:
    def work() -> None:
        with db.in_a_row() as row:
            with row.begin() as first:
                send(first.connection, NOTE, {"key": "a", "at": AT})
            with row.begin() as second:
                lose(fresh_postgres_url, second)
                noted_at(second, "a")

    with pytest.raises(UnknownOutcomeError):
        work()
    assert noted(db) == ["a"]


def test_a_timer_is_set_once(db: SqlDatabase) -> None:
    with db.begin() as uow:
        uow.attention.set_timer("k", "s", AT, {"a": "b"})
        uow.attention.set_timer("k", "s", AT, {"a": "c"})
        assert uow.connection.execute(select(timers.c.payload)).scalars().all() == [{"a": "b"}]


def test_what_the_driver_cannot_take_is_the_same_error_as_ever(db: SqlDatabase) -> None:
    def work(wait: bool) -> None:  # noqa: FBT001  its only word
        with db.begin() as uow:
            (rows if wait else send)(uow.connection, ONE, {"key": "a\0b"})

    for wait in (True, False):
        with pytest.raises(DataError):
            work(wait)
    assert noted(db) == []
