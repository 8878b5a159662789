"""What is sent behind is done in its order, and its failure is never lost (`store/behind.py`, `store/quick.py`)."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import bindparam, insert, select, text
from sqlalchemy.exc import DataError, IntegrityError

from service.clock import SystemClock
from service.domain.errors import UnavailableError, UnknownOutcomeError
from service.domain.secrets import Secret
from service.store import behind
from service.store.behind import BEHIND
from service.store.database import SqlDatabase, create
from service.store.quick import mappings, rows, send
from service.store.tables.attention import timers
from service.store.tables.proof import handled
from service.store.unit_of_work import SqlUnitOfWork

pytestmark = pytest.mark.servers
NOTE = insert(handled).inline()
NOTES = select(handled.c.key).order_by(handled.c.key)
ONE = select(handled.c.key, handled.c.at).where(handled.c.key == bindparam("key"))
AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def db(fresh_postgres_url: str) -> Iterator[SqlDatabase]:
    database = SqlDatabase(create(Secret(fresh_postgres_url), pool_size=1), SystemClock())
    yield database
    database.engine.dispose()


def noted(db: SqlDatabase) -> list[str]:
    with db.begin() as uow:
        return [row.key for row in rows(uow.connection, NOTES, {})]


def test_the_next_statement_sees_what_was_sent_behind(db: SqlDatabase) -> None:
    with db.begin() as uow:
        send(uow.connection, NOTE, {"key": "a", "at": AT})
        uow.connection.execute(NOTE.execution_options(**BEHIND), [{"key": "b", "at": AT}, {"key": "c", "at": AT}])
        assert behind.waits(uow.connection)
        assert [row.key for row in rows(uow.connection, NOTES, {})] == ["a", "b", "c"]
        assert not behind.waits(uow.connection)
        assert mappings(uow.connection, ONE, {"key": "b"}) == [{"key": "b", "at": AT}]
        send(uow.connection, NOTE, {"key": "d", "at": AT})
        assert uow.connection.execute(NOTES).scalars().all() == ["a", "b", "c", "d"]
        send(uow.connection, NOTE, {"key": "e", "at": AT})
    assert noted(db) == ["a", "b", "c", "d", "e"]


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
        assert not behind.waits(uow.connection), "the one connection of the pool is as new"
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
                uow.connection.execute(NOTE.execution_options(**BEHIND), {"key": "b", "at": AT})

    with suppress(UnavailableError):
        work()
    gc.collect()
    assert [one() for one in lost] == [None]
    assert noted(db) == []


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
