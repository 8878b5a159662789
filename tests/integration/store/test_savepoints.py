"""A roll-back to a savepoint undoes what came after it, and takes from the server nothing that it knew (`behind.py`)."""

from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from service.domain.bitcoin.wallet import BitcoinWallet, WalletUse
from service.domain.errors import ConflictError, UnavailableError
from service.domain.ids import AccountId, ActivityId
from service.domain.vault import SweepState, SweepTransaction
from service.store import findings
from service.store.database import SqlDatabase
from service.store.quick import rows, send
from service.store.unit_of_work import SqlUnitOfWork
from tests.integration.api.rows import add_activity
from tests.integration.store.test_behind import AT, DIVIDE, NOTE, NOTES, busy, known, lose, noted, noted_at
from tests.support.incidents import CONNECTION, add_connection
from tests.unit.service.domain.bitcoin.wallets import wallet

pytestmark = pytest.mark.servers
NOBODY = AccountId("acc_none")


def fails_at_once(uow: SqlUnitOfWork) -> None:
    with uow.connection.begin_nested():
        uow.connection.execute(DIVIDE, {"zero": 0})


def is_given_up_while_answers_are_due(uow: SqlUnitOfWork) -> None:
    with uow.connection.begin_nested():
        for _ in range(2):
            send(uow.connection, NOTE, {"key": "within", "at": AT})
        raise ZeroDivisionError


def adds_a_sweep_of_nobody(uow: SqlUnitOfWork) -> None:
    uow.keys.add_sweep(
        SweepTransaction("swp", "key", NOBODY, "eip155:1", "0x1", "0x2", "coin", 1, 0, b"\2", "0x3", SweepState.SIGNED)
    )


def adds_a_wallet_of_nobody(uow: SqlUnitOfWork) -> None:
    uow.bitcoin.add(BitcoinWallet(NOBODY, 1, wallet(), {}, WalletUse.CURRENT, ""))


def goes_on_after(db: SqlDatabase, fails: Callable[[SqlUnitOfWork], object], error: type[Exception]) -> None:
    """Let something fail amid transactions: each is stored, and the server knows what it knew before."""
    with db.begin() as uow:
        busy(uow)  # only now the driver has names that it would take
        assert noted_at(uow, "a") == []
        before = known(uow)
    for key in ("a", "b", "c"):
        with db.begin() as uow:
            send(uow.connection, NOTE, {"key": key, "at": AT})
            with pytest.raises(error):
                fails(uow)
            assert noted_at(uow, key) == [AT]
            send(uow.connection, NOTE, {"key": key * 2, "at": AT})
            busy(uow)
            assert before <= known(uow)
    assert noted(db) == ["a", "aa", "b", "bb", "c", "cc"]


@pytest.mark.parametrize(
    ("fails", "error"),
    [
        (fails_at_once, DataError),
        (is_given_up_while_answers_are_due, ZeroDivisionError),
        (adds_a_sweep_of_nobody, ConflictError),
        (adds_a_wallet_of_nobody, ConflictError),
    ],
)
def test_what_fails_in_a_savepoint_costs_its_transaction_no_more(
    db: SqlDatabase, fails: Callable[[SqlUnitOfWork], object], error: type[Exception]
) -> None:
    goes_on_after(db, fails, error)


def test_a_picture_that_takes_too_long_costs_its_review_no_more(
    db: SqlDatabase, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_AT_MOST_MS", 50)
    with db.begin() as uow:
        add_connection(uow.connection)
        drawn = uow.findings.assessed(ActivityId(add_activity(uow.connection, connection_id=CONNECTION)))
    with psycopg.connect(fresh_postgres_url) as other:
        other.execute("LOCK TABLE activities")
        goes_on_after(db, lambda uow: uow.findings.past(drawn), OperationalError)


def test_what_is_done_in_a_savepoint_is_stored_with_the_rest(db: SqlDatabase) -> None:
    with db.begin() as uow:
        with uow.connection.begin_nested():
            send(uow.connection, NOTE, {"key": "a", "at": AT})
            with suppress(ZeroDivisionError), uow.connection.begin_nested():
                send(uow.connection, NOTE, {"key": "b", "at": AT})
                raise ZeroDivisionError
        assert [row.key for row in rows(uow.connection, NOTES, {})] == ["a"]
    assert noted(db) == ["a"]


def test_what_failed_in_a_savepoint_that_is_released_fails_the_transaction(db: SqlDatabase) -> None:
    def work() -> None:
        with db.begin() as uow, suppress(IntegrityError), uow.connection.begin_nested():
            for _ in range(2):
                send(uow.connection, NOTE, {"key": "a", "at": AT})

    with pytest.raises(UnavailableError, match="nothing of it was stored"):
        work()
    assert noted(db) == []


def test_a_connection_that_is_lost_in_a_savepoint_is_our_own_fault(db: SqlDatabase, fresh_postgres_url: str) -> None:
    def work() -> None:
        with db.begin() as uow, uow.connection.begin_nested():
            lose(fresh_postgres_url, uow)
            uow.noted("a")

    with pytest.raises(UnavailableError):
        work()
    assert noted(db) == []
