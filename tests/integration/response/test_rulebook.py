"""Detectors change while the service runs: what tightens is in force at once, what loosens after a quorum."""

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import update

from rules.comparison import compare
from rules.loader import DEFAULT_DIRECTORY, DetectorSet, load_directory
from service.domain.approval import sentences
from service.domain.blinding import rules_items
from service.domain.ids import ApprovalId
from service.flow import blinding
from service.flow.intake.keeper import EngineKeeper
from service.flow.rulebook import RuleState
from service.ports.store.baselines import BaselineStore
from service.serve import watched
from service.store.tables.approval import approvals
from service.store.tables.blinding import rule_sets
from service.store.tables.proof import timeline
from tests.support.authority import House
from tests.support.response import CONTAINMENT, rows, superuser_do
from tests.support.rulebook import Desk, book_of, desk_in, names

pytestmark = pytest.mark.servers


@pytest.fixture
def desk(ready: House, tmp_path: Path) -> Desk:
    return desk_in(ready, tmp_path / "detectors")


def more(desk: Desk) -> Path:
    file = next(f for f in sorted(DEFAULT_DIRECTORY.glob("*.yaml")) if not (desk.folder / f.name).exists())
    return Path(shutil.copy(file, desk.folder))


def test_nothing_changed_is_nothing_new(desk: Desk) -> None:
    assert desk.book.look() is None
    assert (desk.book.state.in_force, desk.book.state.finding) == (load_directory(desk.folder).digest(), None)


def test_what_tightens_is_in_force_at_once(desk: Desk) -> None:
    more(desk)
    found = desk.book.look()
    assert found is not None
    assert len(found) == 4
    assert desk.book.in_force is found
    assert desk.book.look() is None
    assert rows(desk.house, approvals) == []
    assert {row.digest for row in rows(desk.house, rule_sets)} >= {found.digest()}


def _broken_yaml(desk: Desk) -> None:
    (desk.folder / f"{names(desk)[0]}.yaml").write_text("id: [")


def _unknown_field(desk: Desk) -> None:
    desk.change(names(desk)[0], unheard_of=1)


def _no_text(desk: Desk) -> None:
    (desk.folder / f"{names(desk)[0]}.yaml").write_bytes(b"\xff\xfe\x00")


def _huge(desk: Desk) -> None:
    (desk.folder / f"{names(desk)[0]}.yaml").write_bytes(b"#" * 100_000)


def _yml(desk: Desk) -> None:
    (desk.folder / f"{names(desk)[0]}.yaml").rename(desk.folder / "other.yml")


def _empty(desk: Desk) -> None:
    for file in desk.folder.iterdir():
        file.unlink()


def _gone(desk: Desk) -> None:
    shutil.rmtree(desk.folder)


@pytest.mark.parametrize("break_it", [_broken_yaml, _unknown_field, _no_text, _huge, _yml, _empty, _gone])
def test_a_broken_set_is_refused_and_the_old_one_stays(desk: Desk, break_it: Callable[[Desk], None]) -> None:
    before = desk.book.in_force
    kept = {file: file.read_bytes() for file in desk.folder.iterdir()}
    break_it(desk)
    assert desk.book.look() is None
    assert desk.book.in_force is before
    assert (desk.book.state.finding or "").startswith("the detectors' directory is refused")
    assert rows(desk.house, approvals) == []
    shutil.rmtree(desk.folder, ignore_errors=True)
    desk.folder.mkdir()
    for file, content in kept.items():
        file.write_bytes(content)
    assert desk.book.look() is None
    assert desk.book.state.finding is None, "mended"


def test_what_loosens_waits_for_a_quorum_that_reads_every_change(desk: Desk) -> None:
    before, (one, other, _) = desk.book.in_force, names(desk)
    desk.change(one, status="shadow")
    (desk.folder / f"{other}.yaml").unlink()
    assert desk.book.look() is None
    assert desk.book.look() is None
    assert desk.book.in_force is before
    (row,) = rows(desk.house, approvals)
    document = desk.waiting()
    told = " ".join(sentences(document))
    comparison = compare(before, load_directory(desk.folder))
    for part in (comparison.digest, comparison.new_digest, one, other, "live to shadow", "to absent"):
        assert part in told, part
    assert desk.book.state.waiting == comparison.new_digest
    superuser_do(desk.house, update(approvals).values(state="approved"))
    assert desk.book.look() is None, "a row alone is never authority"
    superuser_do(desk.house, update(approvals).values(state="waiting"))
    desk.approve()
    found = desk.book.look()
    assert found is not None
    assert found.digest() == comparison.new_digest
    assert desk.book.state == RuleState(comparison.new_digest)
    assert len(rows(desk.house, timeline, kind="rules.adopted")) == 1
    blinding.released(desk.house.database(CONTAINMENT), desk.house.office.public_key_pem, ApprovalId(row.id))
    assert rows(desk.house, approvals)[0].state == "executed"


def test_other_files_than_those_that_were_approved_wait_again(desk: Desk) -> None:
    one, other, _ = names(desk)
    desk.change(one, status="shadow")
    desk.book.look()
    desk.approve()
    desk.change(other, status="retired")
    before = desk.book.in_force
    assert desk.book.look() is None
    assert desk.book.in_force is before
    assert len(rows(desk.house, approvals)) == 2


def test_a_change_that_is_taken_back_waits_no_more(desk: Desk) -> None:
    file = desk.folder / f"{names(desk)[0]}.yaml"
    kept = file.read_bytes()
    desk.change(file.stem, status="retired")
    desk.book.look()
    assert desk.book.state.waiting is not None
    file.write_bytes(kept)
    assert desk.book.look() is None
    assert desk.book.state == RuleState(desk.book.in_force.digest())


def test_what_was_refused_is_not_asked_for_again_and_again(desk: Desk) -> None:
    desk.change(names(desk)[0], status="retired")
    desk.book.look()
    desk.house.vote(desk.waiting(), list(desk.house.phones)[1], "deny")
    for _ in range(3):
        assert desk.book.look() is None
    assert len(rows(desk.house, approvals)) == 1
    assert "was refused" in (desk.book.state.finding or "")
    (desk.folder / f"{names(desk)[1]}.yaml").touch()
    desk.book.look()
    assert len(rows(desk.house, approvals)) == 2


def test_an_approval_that_ran_out_unused_is_asked_for_anew(desk: Desk) -> None:
    desk.change(names(desk)[0], status="retired")
    desk.book.look()
    desk.approve()
    blinding.released(desk.house.database(CONTAINMENT), desk.house.office.public_key_pem, desk.waiting().id)
    desk.house.clock.pass_by(timedelta(days=2))
    before = desk.book.in_force
    assert desk.book.look() is None
    assert desk.book.in_force is before
    assert "was executed" in (desk.book.state.finding or "")


def test_a_restart_does_not_put_a_looser_set_in_force(desk: Desk) -> None:
    before = desk.book.in_force.digest()
    desk.change(names(desk)[0], status="retired")
    again = desk.again()
    assert again.in_force.digest() == before
    assert again.state.waiting == load_directory(desk.folder).digest()
    desk.book = again
    desk.approve()
    blinding.released(desk.house.database(CONTAINMENT), desk.house.office.public_key_pem, desk.waiting().id)
    found = again.look()
    assert found is not None
    assert desk.again().in_force.digest() == found.digest(), "what was approved stays after a restart"


def test_a_second_process_waits_for_the_same_request_and_adopts_by_itself(desk: Desk) -> None:
    second = book_of(desk.house, desk.folder)
    second.open()
    desk.change(names(desk)[0], decision="alert", status="retired")
    assert (desk.book.look(), second.look()) == (None, None)
    assert second.state == desk.book.state
    assert len(rows(desk.house, approvals)) == 1
    desk.approve()
    one, other = desk.book.look(), second.look()
    assert one is not None
    assert other is not None
    assert one.digest() == other.digest()


def test_when_nobody_could_vote_the_old_set_stays_and_health_says_why(desk: Desk) -> None:
    from service.store.tables.registry import people  # noqa: PLC0415  beside what it is for

    superuser_do(desk.house, update(people).values(roles=["viewer"]))
    before = desk.book.in_force
    desk.change(names(desk)[0], status="retired")
    assert desk.book.look() is None
    assert desk.book.in_force is before
    assert "no quorum can be asked" in (desk.book.state.finding or "")


def test_the_service_puts_a_new_set_in_force_without_a_restart(desk: Desk) -> None:
    used: list[DetectorSet] = []
    came = asyncio.Event()

    class Keeper(EngineKeeper):
        def use(self, detectors: DetectorSet) -> None:
            used.append(detectors)
            came.set()

    async def play() -> None:
        task = asyncio.create_task(
            watched(desk.book, Keeper(cast("BaselineStore", None), desk.book.in_force), every_s=0.01)
        )
        more(desk)
        await came.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())
    assert [found.digest() for found in used] == [load_directory(desk.folder).digest()]


def test_too_many_loosening_changes_are_not_squeezed_into_one_document(desk: Desk) -> None:
    from dataclasses import dataclass as made  # noqa: PLC0415  beside what it is for

    from service.domain.errors import InputError  # noqa: PLC0415  as above

    comparison = compare(desk.book.in_force, DetectorSet((), "0" * 64))

    @made
    class Many:
        changes = comparison.changes * 100
        old_digest, new_digest, digest, loosens = "a", "b", "c", True

    with pytest.raises(InputError, match="change fewer at once"):
        rules_items(Many())


def test_an_approval_puts_its_set_in_force_once(desk: Desk) -> None:
    file = desk.folder / f"{names(desk)[0]}.yaml"
    strict = file.read_bytes()
    desk.change(file.stem, status="retired")
    desk.book.look()
    desk.approve()
    approval = desk.waiting().id
    blinding.released(desk.house.database(CONTAINMENT), desk.house.office.public_key_pem, approval)
    assert desk.book.look() is not None
    loose = file.read_bytes()
    file.write_bytes(strict)
    assert desk.book.look() is not None
    before = desk.book.in_force
    file.write_bytes(loose)
    assert desk.book.look() is None
    assert desk.book.in_force is before
    assert desk.book.state.waiting is not None
    assert desk.book.state.approval != approval, "it takes a quorum again"
