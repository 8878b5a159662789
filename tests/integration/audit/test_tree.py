"""The audit log on PostgreSQL: what any change does to it, who may change what, and two sequencers at once."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege, InvalidTextRepresentation, StatementTooComplex
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from typer.testing import CliRunner

from service.commands.audit import AuditFaultError, app
from service.domain.merkle import leaf_hash, verify_inclusion
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.store import audit
from service.store.audit import MOST_SHOWN, AuditReport, sequence
from service.store.database import SqlDatabase, create
from service.store.grants import API, CONTAINMENT, KEYS, ROLES
from service.store.unit_of_work import SqlUnitOfWork
from tests.support.authority import MovedClock
from tests.support.servers import url_of_role

INSERTS = "INSERT INTO audit_entries (body, at) VALUES (%s, now())"


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


def captured(url: str, role: str, statement: str, *values: object) -> None:
    """Run a statement as whoever holds that role."""
    with psycopg.connect(url_of_role(url, role)) as connection:
        connection.execute(statement.encode(), values)


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
                "UPDATE audit_entries SET leaf_index = 99 WHERE leaf_index = 5",
                "UPDATE audit_entries SET leaf_index = 5 WHERE leaf_index = 7",
                "UPDATE audit_entries SET leaf_index = 7 WHERE leaf_index = 99",
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


def test_what_follows_a_missing_leaf_is_looked_at_too(db: SqlDatabase) -> None:
    log_of(db, 20)
    tamper(
        db,
        "DELETE FROM audit_personal WHERE entry_id <= 6",
        "DELETE FROM audit_entries WHERE leaf_index = 5",
        "UPDATE audit_entries SET body = replace(body, 'Line', 'Lime') WHERE leaf_index = 9",
    )
    changed, missing, *_ = check(db).faults
    assert changed.startswith("entry 10 (leaf 9")
    assert missing.startswith("leaf 5 is missing")


@pytest.mark.parametrize("batch", [7, 2000])
def test_many_odd_entries_do_not_hide_a_changed_one(
    db: SqlDatabase, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    many = "INSERT INTO audit_entries (body, at) SELECT '{}', now() FROM generate_series(1, 150)"
    captured(fresh_postgres_url, API, many)
    assert place(db) == 150
    log_of(db, 6)
    tamper(db, "UPDATE audit_entries SET body = replace(body, 'Line', 'Lime') WHERE leaf_index = 153")
    monkeypatch.setattr(audit, "BATCH", batch)
    faults = check(db).faults
    assert faults[0].startswith("entry 154 (leaf 153, by postgres) was changed")
    odd = [fault for fault in faults if "is no entry" in fault]
    assert (len(odd), odd[0]) == (MOST_SHOWN, f"entry 1 (leaf 0, by {API}) is no entry")
    assert faults[-1] == f"{150 - MOST_SHOWN} more faults of the kind just named"


def test_large_entries_are_read_in_small_runs(db: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    write(db, 11)
    monkeypatch.setattr(audit, "MOST_BYTES", 1)
    assert [place(db) for _ in range(12)] == [1] * 11 + [0]
    report = check(db)
    assert (report.size, report.faults) == (11, ())


def test_a_moment_that_no_clock_shows_stops_no_verification(db: SqlDatabase, fresh_postgres_url: str) -> None:
    for moment in ("infinity", "-infinity"):
        captured(fresh_postgres_url, API, f"INSERT INTO audit_entries (body, at) VALUES ('{{}}', '{moment}')")  # noqa: S608  words of ours
    assert "1 entries wait" in check(db).faults[0]


AS_AUTHORITY = {
    "by it": {"kind": "step.done", "by": "authority"},
    "for a person": {"kind": "change.person.suspend.applied", "by": "per_1"},
    "a vote": {"kind": "vote.cast", "by": "per_1"},
}


@pytest.mark.parametrize("role", [API, CONTAINMENT, KEYS])
@pytest.mark.parametrize("body", AS_AUTHORITY.values(), ids=AS_AUTHORITY)
def test_nobody_else_writes_what_the_authority_does(fresh_postgres_url: str, role: str, body: dict[str, str]) -> None:
    with pytest.raises(InsufficientPrivilege):
        captured(fresh_postgres_url, role, INSERTS, json.dumps(body))


def test_an_entry_of_the_authoritys_that_another_role_wrote_is_a_fault(db: SqlDatabase) -> None:
    forged = json.dumps(AS_AUTHORITY["a vote"])
    tamper(db, f"INSERT INTO audit_entries (body, at) VALUES ('{forged}', now())")  # noqa: S608  as the administrator
    assert place(db) == 1
    (fault,) = check(db).faults
    assert fault.startswith("entry 1 (leaf 0, by postgres) tells what only the authority does")
    tamper(db, "UPDATE audit_entries SET written_by = NULL")
    assert check(db).faults == (), "of an entry from before it was kept nothing is known"


@pytest.mark.parametrize("body", ["", "nonsense", "[]", '"vote.cast"', f'{{"a": "{"x" * 2**20}"}}', "[" * 500_000])
def test_what_is_no_entry_is_refused(fresh_postgres_url: str, body: str) -> None:
    with pytest.raises((CheckViolation, InvalidTextRepresentation, StatementTooComplex)):
        captured(fresh_postgres_url, API, INSERTS, body)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET leaf_index = -id WHERE leaf_index IS NULL",
        "INSERT INTO audit_entries (body, at, written_by) VALUES ('{}', now(), 'portcullis_authority')",
        "INSERT INTO audit_personal (entry_id, field) VALUES (1, 'device')",
        "INSERT INTO audit_personal (entry_id, field) VALUES (7, 'ip')",
    ],
)
def test_an_entry_is_neither_hidden_nor_made_to_look_wrong(
    db: SqlDatabase, fresh_postgres_url: str, statement: str
) -> None:
    log_of(db, 6)
    write(db, 1)
    tamper(db, "DELETE FROM audit_personal WHERE entry_id = 7")
    with pytest.raises((CheckViolation, InsufficientPrivilege)):
        captured(fresh_postgres_url, CONTAINMENT, statement)


def test_where_an_entry_was_hidden_all_the_same_it_is_told(db: SqlDatabase, fresh_postgres_url: str) -> None:
    with psycopg.connect(fresh_postgres_url) as administrator:
        administrator.execute("ALTER TABLE audit_entries DROP CONSTRAINT ck_audit_entries_place")
    log_of(db, 6)
    write(db, 3)
    tamper(db, "UPDATE audit_entries SET leaf_index = -id WHERE leaf_index IS NULL")
    assert place(db) == 0
    assert check(db).faults == ("3 entries have a place outside of the tree: they were hidden from it",)


def test_a_place_is_given_once(db: SqlDatabase, fresh_postgres_url: str) -> None:
    log_of(db, 6)
    captured(fresh_postgres_url, CONTAINMENT, "UPDATE audit_entries SET leaf_index = 99, leaf_hash = ''")
    assert check(db).faults == ()


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
    assert "entry 6 (leaf 5, by postgres) was changed" in bad.stdout
    assert bad.exit_code == 1
