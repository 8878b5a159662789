"""A transaction with a failure that somebody swallowed is never told as done (ADR 0061)."""

from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError

from service.clock import SystemClock
from service.domain.errors import UnavailableError
from service.domain.events import IncidentOpened
from service.domain.timeline import Entry
from service.store.database import SqlDatabase
from service.store.quick import rows, send
from service.store.unit_of_work import SqlUnitOfWork
from tests.integration.store.test_behind import AT, DIVIDE, INCIDENT, NOTE, noted

pytestmark = pytest.mark.servers


def swallow(uow: SqlUnitOfWork) -> None:
    """Do what cannot be done, and go on as if nothing had happened."""
    with suppress(DataError):
        rows(uow.connection, DIVIDE, {"zero": 0})


def test_a_failure_that_was_swallowed_is_not_told_as_done(db: SqlDatabase) -> None:
    def work() -> None:
        with db.begin() as uow:
            send(uow.connection, NOTE, {"key": "a", "at": AT})
            swallow(uow)

    with pytest.raises(UnavailableError, match="rolled"):
        work()
    assert noted(db) == []


def test_after_a_failure_that_was_swallowed_in_a_row_nothing_more_is_done(db: SqlDatabase) -> None:
    told: list[int] = []
    listening = SqlDatabase(db.engine, SystemClock(), lambda left: told.append(len(left)))

    def work() -> None:
        with listening.in_a_row() as row:
            with row.begin() as first:
                first.record(Entry(kind="tested", at=first.now, subject="x", sentence="x"), IncidentOpened(INCIDENT))
                swallow(first)
            with row.begin() as second:
                send(second.connection, NOTE, {"key": "b", "at": AT})

    with pytest.raises(UnavailableError, match="rolled"):
        work()
    assert noted(db) == []
    assert told == []


def test_a_commit_that_the_server_answers_with_a_roll_back_is_not_told_as_done(db: SqlDatabase) -> None:
    """Even where nobody saw before that the transaction had failed."""

    def work() -> None:
        with db.begin() as uow:
            send(uow.connection, NOTE, {"key": "a", "at": AT})
            swallow(uow)
            send(uow.connection, text("COMMIT"), {})

    with pytest.raises(UnavailableError, match="rolled"):
        work()
    assert noted(db) == []
