"""What rows say was in force counts at a start only as far as votes, the directory or the shipped set vouch for it."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from sqlalchemy import delete, insert, update

from rules.engine import ENGINE_VERSION
from rules.loader import DEFAULT_DIRECTORY, load_directory
from service.flow import blinding
from service.flow.rulebook import RuleState
from service.store.tables.activity import learning
from service.store.tables.approval import approvals
from service.store.tables.blinding import rule_sets
from tests.support.authority import House
from tests.support.response import CONTAINMENT, rows, superuser_do
from tests.support.rulebook import Desk, book_of, desk_in, names

pytestmark = pytest.mark.servers


@pytest.fixture
def desk(ready: House, tmp_path: Path) -> Desk:
    return desk_in(ready, tmp_path / "detectors")


def stored(desk: Desk, digest: str, files: dict[str, str] | None) -> None:
    """Make rows say that a set was in force: of a role that may insert, and nothing more."""
    seq = 1 + max((row.seq for row in rows(desk.house, learning)), default=0)
    row = {"seq": seq, "kind": "rules", "payload": f'{{"digest": "{digest}"}}'.encode(), "at": desk.house.clock.now()}
    superuser_do(desk.house, insert(learning).values(**row, engine_version=ENGINE_VERSION, settings_digest=""))
    if files is not None:
        superuser_do(desk.house, insert(rule_sets).values(digest=digest, files=files, created_at=row["at"]))


def forged(desk: Desk) -> dict[str, dict[str, str] | None]:
    """What a forger may say of a set, by what it is."""
    file = desk.folder / f"{names(desk)[0]}.yaml"
    return {
        "nothing is kept": None,
        "files of another set": {file.name: file.read_text()},
        "a path": {f"../{desk.folder.name}-stolen.yaml": "x", file.name: file.read_text()},
        "an absolute path": {str(desk.folder.parent / "stolen.yaml"): "x"},
        "no file": {},
    }


@pytest.mark.parametrize("told", ["nothing is kept", "files of another set", "a path", "an absolute path", "no file"])
def test_a_set_that_rows_name_and_do_not_hold_never_makes_a_looser_directory_count(desk: Desk, told: str) -> None:
    before = {path for path in desk.folder.parent.rglob("*") if path.is_file()}
    stored(desk, "f" * 64, forged(desk)[told])
    again = book_of(desk.house, desk.folder)
    again.open()
    assert again.in_force.digest() == load_directory(DEFAULT_DIRECTORY).digest(), (
        "what ships, not the directory's three"
    )
    assert again.state.waiting == load_directory(desk.folder).digest()
    assert again.state.approval is not None
    assert {path for path in desk.folder.parent.rglob("*") if path.is_file()} == before, "no row writes a file"


def test_a_directory_that_is_what_rows_name_needs_nothing_kept(desk: Desk) -> None:
    digest = desk.book.in_force.digest()
    superuser_do(desk.house, delete(rule_sets))
    stored(desk, digest, None)
    again = book_of(desk.house, desk.folder)
    again.open()
    assert (again.in_force.digest(), again.state) == (digest, RuleState(digest))
    assert [row.digest for row in rows(desk.house, rule_sets)] == [digest]


def blind(desk: Desk) -> tuple[str, dict[str, str]]:
    """A set of one detector that finds nothing of what the others find, with its digest."""
    folder = desk.folder.parent / "blind"
    folder.mkdir()
    told = yaml.safe_load(next(desk.folder.glob("*.yaml")).read_text())
    (folder / "zz-nothing.yaml").write_text(yaml.safe_dump(told | {"id": "zz-nothing"}))
    return load_directory(folder).digest(), {"zz-nothing.yaml": (folder / "zz-nothing.yaml").read_text()}


def test_rows_alone_put_no_blind_set_in_force(desk: Desk) -> None:
    shipped = load_directory(DEFAULT_DIRECTORY).digest()
    stored(desk, *blind(desk))
    again = book_of(desk.house, DEFAULT_DIRECTORY)
    again.open()
    assert again.state == RuleState(shipped), "the directory that ships counts at once, without a quorum"
    assert rows(desk.house, approvals) == []
    stored(desk, load_directory(desk.folder.parent / "blind").digest(), None)
    again = book_of(desk.house, desk.folder)
    again.open()
    assert again.in_force.digest() == shipped, "a looser directory gains nothing by it"
    assert again.state.waiting == load_directory(desk.folder).digest()


def test_a_row_that_calls_a_request_approved_vouches_for_no_set(desk: Desk) -> None:
    file = desk.folder / f"{names(desk)[0]}.yaml"
    strict = file.read_bytes()
    desk.change(file.stem, status="retired")
    desk.book.look()
    wanted = desk.book.state.waiting
    assert wanted is not None
    files = {one.name: one.read_text() for one in desk.folder.glob("*.yaml")}
    superuser_do(desk.house, update(approvals).values(state="approved"))
    stored(desk, wanted, files)
    file.write_bytes(strict)
    again = book_of(desk.house, desk.folder)
    again.open()
    assert again.in_force.digest() == load_directory(DEFAULT_DIRECTORY).digest()


def test_a_set_that_votes_let_count_outlives_a_restart_over_another_directory(desk: Desk) -> None:
    one, other, _ = names(desk)
    desk.change(one, status="retired")
    desk.book.look()
    desk.approve()
    blinding.released(desk.house.database(CONTAINMENT), desk.house.office.public_key_pem, desk.waiting().id)
    approved = desk.book.look()
    assert approved is not None
    desk.house.clock.pass_by(timedelta(days=60))
    desk.change(other, status="retired")
    again = desk.again()
    assert again.in_force.digest() == approved.digest()
    assert again.state.waiting == load_directory(desk.folder).digest()
