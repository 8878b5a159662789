"""The audit log on PostgreSQL: what any change does to it, who may change what, and two sequencers at once."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from typer.testing import CliRunner

from service.commands.audit import AuditFaultError, app
from service.domain.merkle import leaf_hash, verify_inclusion
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.store import audit
from service.store.audit import AuditReport, sequence
from service.store.database import SqlDatabase, create
from service.store.grants import ROLES
from service.store.unit_of_work import SqlUnitOfWork
from tests.support.authority import MovedClock
from tests.support.servers import url_of_role


@pytest.fixture
def db(fresh_postgres_url: str) -> Iterator[SqlDatabase]:
    found = SqlDatabase(create(Secret(fresh_postgres_url), pool_size=5), MovedClock())
    yield found
    found.engine.dispose()


def write(db: SqlDatabase, count: int) -> None:
    for number in range(count):
        with db.begin() as uow:
            personal = {"ip": f"192.0.2.{number % 250}"} if number % 3 == 0 else {}
            uow.record(Entry("tested", uow.now, f"sub_{number}", f"Line {number}", personal=personal))


def place(db: SqlDatabase) -> int:
    with db.begin() as uow:
        return sequence(uow.connection, uow.now)


def check(db: SqlDatabase, now: datetime | None = None) -> AuditReport:
    with db.engine.connect() as connection:
        return audit.verify(connection, now or datetime.now(UTC))


def tamper(db: SqlDatabase, *statements: str) -> None:
    with db.begin() as uow:
        for statement in statements:
            uow.connection.execute(text(statement))


def log_of(db: SqlDatabase, *batches: int) -> None:
    for count in batches:
        write(db, count)
        assert place(db) == count


def test_an_untouched_log_holds(db: SqlDatabase) -> None:
    assert check(db).faults == ()
    log_of(db, 1, 6, 13)
    report = check(db)
    assert (report.size, report.heads, report.personal, report.waiting, report.faults) == (20, 3, 8, 0, ())


@pytest.mark.parametrize("batch", [1, 3, 2000])
def test_the_size_of_a_batch_changes_nothing(db: SqlDatabase, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    write(db, 11)
    monkeypatch.setattr(audit, "BATCH", batch)
    while place(db):
        pass
    report = check(db)
    assert (report.size, report.faults) == (11, ())
    monkeypatch.undo()
    assert check(db).root == report.root


def test_a_rolled_back_entry_leaves_no_gap(db: SqlDatabase) -> None:
    write(db, 2)
    with db.engine.connect() as connection:
        SqlUnitOfWork(connection, datetime.now(UTC)).record(Entry("tested", datetime.now(UTC), "sub_x", "Never"))
        connection.rollback()
    write(db, 2)
    assert place(db) == 4
    assert check(db).faults == ()


CUT = "DELETE FROM audit_personal WHERE entry_id > 17; DELETE FROM audit_entries WHERE leaf_index >= 17"


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE audit_entries SET body = replace(body, 'Line', 'Lime') WHERE leaf_index = 5"], "was changed"),
        (
            [
                (
                    "UPDATE audit_entries SET body = replace(body, 'Line', 'Lime'), leaf_hash = "
                    "sha256(convert_to(chr(1) || 'x', 'UTF8')) WHERE leaf_index = 5"
                )
            ],
            "was changed",
        ),
        (
            ["DELETE FROM audit_personal WHERE entry_id = 6", "DELETE FROM audit_entries WHERE leaf_index = 5"],
            "leaf 5 is missing",
        ),
        (
            [
                "UPDATE audit_entries SET leaf_index = -1 WHERE leaf_index = 5",
                "UPDATE audit_entries SET leaf_index = 5 WHERE leaf_index = 7",
                "UPDATE audit_entries SET leaf_index = 7 WHERE leaf_index = -1",
            ],
            "subtree (level 0, position 5)",
        ),
        (CUT.split("; "), "entries were cut off"),
        ([*CUT.split("; "), "DELETE FROM audit_tree WHERE size > 17"], "entries have a place, but"),
        (["UPDATE audit_nodes SET hash = decode(repeat('ab', 32), 'hex') WHERE level = 2 AND position = 1"], "level 2"),
        (["DELETE FROM audit_nodes WHERE level = 1 AND position = 0"], "level 1, position 0"),
        (["INSERT INTO audit_nodes VALUES (9, 9, decode(repeat('ab', 32), 'hex'))"], "subtrees are kept"),
        (["UPDATE audit_tree SET root = decode(repeat('ab', 32), 'hex') WHERE size = 7"], "root at size 7"),
        (
            [
                (
                    "INSERT INTO audit_entries (body, at, leaf_index, leaf_hash) SELECT body, at, 20, leaf_hash "
                    "FROM audit_entries WHERE leaf_index = 1"
                )
            ],
            "entries have a place, but",
        ),
        (["UPDATE audit_personal SET value = '198.51.100.7' WHERE entry_id = 1"], "personal field ip of entry 1"),
        (["DELETE FROM audit_personal WHERE entry_id = 1"], "other personal fields"),
    ],
)
def test_whatever_is_changed_is_seen(db: SqlDatabase, statements: list[str], words: str) -> None:
    log_of(db, 1, 6, 13)
    tamper(db, *statements)
    faults = check(db).faults
    assert any(words in fault for fault in faults), faults


def test_a_forgotten_person_breaks_no_proof(db: SqlDatabase) -> None:
    log_of(db, 20)
    tamper(db, "UPDATE audit_personal SET salt = NULL, value = NULL WHERE entry_id = 1")
    report = check(db)
    assert (report.faults, report.personal) == ((), 6)


def test_entries_that_nobody_gives_a_place_are_a_fault_after_a_while(db: SqlDatabase) -> None:
    write(db, 2)
    assert check(db).faults == ()
    assert "2 entries wait" in check(db, datetime.now(UTC) + timedelta(minutes=6)).faults[0]


def test_an_entry_is_proven_to_be_in_the_tree(db: SqlDatabase) -> None:
    log_of(db, 4, 9)
    with db.begin() as uow:
        index, size, proof, root = audit.proof_of(uow.connection, 6)
        body = uow.connection.execute(text("SELECT body FROM audit_entries WHERE id = 6")).scalar_one()
        with pytest.raises(LookupError):
            audit.proof_of(uow.connection, 99)
    verify_inclusion(leaf_hash(body.encode()), index, size, proof, root)
    assert root.hex() == check(db).root


def test_two_sequencers_give_each_entry_one_place(db: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "BATCH", 5)
    write(db, 60)
    placed: list[int] = []

    def work() -> None:
        while count := place(db):
            placed.append(count)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    write(db, 20)
    for thread in threads:
        thread.join()
    while place(db):
        pass
    report = check(db)
    assert (report.size, report.faults) == (80, ())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET body = ''",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries CASCADE",
        "UPDATE audit_nodes SET hash = ''",
        "DELETE FROM audit_nodes",
        "UPDATE audit_tree SET root = ''",
        "DELETE FROM audit_tree",
        "UPDATE audit_personal SET value = ''",
        "UPDATE timeline SET sentence = ''",
        "DELETE FROM timeline",
    ],
)
def test_no_role_may_rewrite_history(postgres_url: str, role: str, statement: str) -> None:
    engine = create(Secret(url_of_role(postgres_url, role)), pool_size=1)
    try:
        with pytest.raises(ProgrammingError, match="permission denied"), engine.begin() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def test_the_command_says_so(db: SqlDatabase, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTCULLIS_DATABASE_URL", url_of_role(fresh_postgres_url, "portcullis_schedule"))
    log_of(db, 12)
    good = CliRunner().invoke(app, ["verify"])
    assert good.exit_code == 0, good.output
    assert "12 entries" in good.stdout
    assert "The log is what was written." in good.stdout
    assert '"holds": true' in CliRunner().invoke(app, ["verify", "--json"]).stdout
    tamper(db, "UPDATE audit_entries SET body = replace(body, 'Line', 'Lime') WHERE leaf_index = 5")
    bad = CliRunner().invoke(app, ["verify"])
    assert isinstance(bad.exception, AuditFaultError)
    assert "entry 6 (leaf 5) was changed" in bad.stdout
    assert bad.exit_code == 1
