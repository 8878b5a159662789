"""Every kind of change between two sets of detectors goes the way it should, and the digest binds it."""

from pathlib import Path

import pytest

from rules.comparison import Comparison, Direction, compare
from rules.loader import DetectorSet, load_directory
from tests.unit.rules.sample import SAMPLE

NAME = "drain-fan-in"
TIGHTENS, LOOSENS, NEUTRAL = Direction.TIGHTENING, Direction.LOOSENING, Direction.NEUTRAL


def exception(entity: str = "account:main/hot-1", until: str = "2027-01-31T00:00:00Z", owner: str = "ada") -> str:
    return f"  - {{entity: '{entity}', owner: {owner}, reason: payout, expires: '{until}'}}\n"


def excepted(*entries: str) -> tuple[str, str]:
    return "cases:", "exceptions:\n" + "".join(entries) + "cases:"


class Sets:
    """Makes sets of detectors in a folder of its own each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def __call__(self, *changes: tuple[str, str], **others: str) -> DetectorSet:
        self._made += 1
        folder = self._folder / str(self._made)
        folder.mkdir()
        text = SAMPLE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        for name, content in ({NAME: text} | others).items():
            (folder / f"{name.replace('_', '-')}.yaml").write_text(content)
        return load_directory(folder)


@pytest.fixture
def sets(tmp_path: Path) -> Sets:
    return Sets(tmp_path)


def directions(found: Comparison) -> list[tuple[str, Direction]]:
    return [(change.field, change.direction) for change in found.changes]


LIVE = "status: live"
SHADOW = (LIVE, "status: shadow")
DRAFT = (LIVE, "status: draft")
RETIRED = (LIVE, "status: retired")
CANARY = (LIVE, "status: canary\ncanary: 20")
WIDER = (LIVE, "status: canary\ncanary: 40")
ALERT = ("decision: hold", "decision: alert")
HIGH = ("severity: critical", "severity: high")
NARROW = ('"withdrawal.*", ', "")
SPELT_OUT = (
    '"withdrawal.*"',
    ", ".join(
        f'"withdrawal.{state}"'
        for state in ("requested", "approved", "signed", "broadcast", "confirmed", "failed", "cancelled", "other")
    ),
)
GUARD = ("number: 2.0", "number: 1.0")
EXPR = ("destination_value_1h >=\n  100000.0", "destination_value_1h >=\n  90000.0")
ONE, LONGER, SHORTER = (excepted(exception(until=f"2027-0{month}-01T00:00:00Z")) for month in (2, 3, 1))
OTHER_OWNER = excepted(exception(until="2027-02-01T00:00:00Z", owner="bob"))
SAME_MOMENT = excepted(exception(until="2027-02-01T01:00:00+01:00"))


@pytest.mark.parametrize(
    ("old", "new", "field", "direction"),
    [
        ([], [SHADOW], "status", LOOSENS),
        ([], [DRAFT], "status", LOOSENS),
        ([], [RETIRED], "status", LOOSENS),
        ([], [CANARY], "status", LOOSENS),
        ([CANARY], [WIDER], "status", TIGHTENS),
        ([WIDER], [CANARY], "status", LOOSENS),
        ([WIDER], [], "status", TIGHTENS),
        ([SHADOW], [DRAFT], "status", LOOSENS),
        ([SHADOW], [CANARY], "status", TIGHTENS),
        ([DRAFT], [RETIRED], "status", NEUTRAL),
        ([RETIRED], [], "status", TIGHTENS),
        ([], [ALERT], "decision", LOOSENS),
        ([ALERT], [], "decision", TIGHTENS),
        ([], [HIGH], "severity", LOOSENS),
        ([HIGH], [], "severity", TIGHTENS),
        ([], [NARROW], "kinds", LOOSENS),
        ([NARROW], [], "kinds", TIGHTENS),
        ([], [GUARD], "guard", LOOSENS),
        ([], [EXPR], "expr", LOOSENS),
        ([EXPR], [], "expr", LOOSENS),
        ([], [("playbook: drain", "playbook: account_takeover")], "playbook", LOOSENS),
        ([], [ONE], "exceptions", LOOSENS),
        ([ONE], [], "exceptions", TIGHTENS),
        ([ONE], [LONGER], "exceptions", LOOSENS),
        ([ONE], [SHORTER], "exceptions", TIGHTENS),
        ([ONE], [OTHER_OWNER], "exceptions", NEUTRAL),
        ([], [("title: ", "title: Now ")], "title", NEUTRAL),
        ([], [("version: 1", "version: 2")], "version", NEUTRAL),
        ([], [("tags: [", "tags: [more, ")], "tags", NEUTRAL),
        ([], [("three hot wallets", "four hot wallets")], "cases", NEUTRAL),
        ([SHADOW], [SHADOW, EXPR], "expr", NEUTRAL),
        ([DRAFT], [DRAFT, ALERT], "decision", NEUTRAL),
        ([CANARY], [CANARY, EXPR], "expr", LOOSENS),
    ],
)
def test_one_change_goes_its_way(
    sets: Sets, old: list[tuple[str, str]], new: list[tuple[str, str]], field: str, direction: Direction
) -> None:
    found = compare(sets(*old), sets(*new))
    assert directions(found) == [(field, direction)]
    assert found.loosens is (direction is LOOSENS)
    assert found.changes[0].old != found.changes[0].new


def test_nothing_changed(sets: Sets) -> None:
    found = compare(sets(), sets())
    assert (found.changes, found.loosens) == ((), False)


def test_the_same_written_differently_loosens_nothing(sets: Sets) -> None:
    assert compare(sets(), sets(SPELT_OUT)).changes == ()
    found = compare(sets(ONE), sets(SAME_MOMENT))
    assert not found.loosens


@pytest.mark.parametrize(
    ("status", "added", "removed"),
    [
        (LIVE, TIGHTENS, LOOSENS),
        ("status: shadow", TIGHTENS, LOOSENS),
        ("status: draft", NEUTRAL, NEUTRAL),
    ],
)
def test_detectors_come_and_go(sets: Sets, status: str, added: Direction, removed: Direction) -> None:
    other = SAMPLE.replace(f"id: {NAME}", "id: another").replace(LIVE, status)
    without, within = sets(), sets(another=other)
    assert directions(compare(without, within)) == [("detector", added)]
    assert directions(compare(within, without)) == [("detector", removed)]


def test_a_renamed_detector_loosens_because_the_old_one_is_gone(sets: Sets, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    (renamed / "another.yaml").write_text(SAMPLE.replace(f"id: {NAME}", "id: another"))
    found = compare(sets(), load_directory(renamed))
    assert found.loosens
    assert {change.detector for change in found.changes} == {NAME, "another"}


def test_a_loosening_hides_behind_no_tightening(sets: Sets) -> None:
    found = compare(sets(HIGH), sets(EXPR))
    assert dict(directions(found)) == {"severity": TIGHTENS, "expr": LOOSENS}
    assert found.loosens


def test_kinds_exchanged_are_told_both_ways(sets: Sets) -> None:
    found = compare(sets(), sets(NARROW, ('["signing.requested"]', '["signing.requested", "deposit.confirmed"]')))
    assert sorted(directions(found)) == [("kinds", LOOSENS), ("kinds", TIGHTENS)]
    assert found.loosens


def test_one_exception_for_another_is_told_both_ways(sets: Sets) -> None:
    found = compare(sets(excepted(exception())), sets(excepted(exception("account:main/hot-2"))))
    assert sorted(directions(found)) == [("exceptions", LOOSENS), ("exceptions", TIGHTENS)]


def test_what_was_a_shadow_may_go_live_in_another_form_without_a_quorum(sets: Sets) -> None:
    found = compare(sets(SHADOW), sets(EXPR, ALERT))
    assert not found.loosens
    assert ("status", TIGHTENS) in directions(found)


def test_the_digest_binds_the_changes_and_both_sets(sets: Sets) -> None:
    plain, shadow = sets(), sets(SHADOW)
    found = compare(plain, shadow)
    assert found.digest == compare(sets(), sets(SHADOW)).digest
    others = [
        compare(shadow, plain),
        compare(plain, sets(DRAFT)),
        compare(plain, sets(SHADOW, ("title: ", "title:  "))),
        compare(plain, sets(SHADOW, HIGH)),
    ]
    assert len({found.digest, *(other.digest for other in others)}) == len(others) + 1


def test_changes_are_sorted_whatever_the_order_of_files(sets: Sets) -> None:
    other = SAMPLE.replace(f"id: {NAME}", "id: another")
    found = compare(sets(HIGH, another=other), sets(ALERT, another=other.replace(LIVE, "status: draft")))
    assert list(found.changes) == sorted(found.changes)
    assert str(found.changes[0]).startswith("loosening: another: status: live -> draft")
