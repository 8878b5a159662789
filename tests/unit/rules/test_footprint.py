"""What the compiler's library keeps in memory can be given back, and used again."""

from pathlib import Path

import llvmlite.binding as llvm  # type: ignore[import-untyped]  # ships no types
import pytest

from rules import footprint
from rules.footprint import COMPILER, give_back, mappings
from rules.warm import exercise

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="memory is given back on Linux alone")


def resident() -> int:
    return sum(part.resident for part in mappings() if not part.writable and not part.changed)


def test_what_is_given_back_is_no_longer_resident() -> None:
    exercise()
    before = resident()
    assert before > 2**20, f"{COMPILER} is mapped under another name: nothing would be given back"
    assert give_back() == before
    assert resident() < before / 2  # other threads of this process may have called it meanwhile


def test_what_was_given_back_comes_again_when_it_is_called() -> None:
    give_back()
    parsed = llvm.parse_assembly("define i32 @answer() { ret i32 42 }")
    parsed.verify()
    assert "ret i32 42" in str(parsed)
    assert resident() > 0


def test_what_was_changed_stays() -> None:
    changed = [part for part in mappings() if part.writable or part.changed]
    assert changed, "every library has data of its own"
    give_back()
    assert [part.changed for part in mappings() if part.writable or part.changed] == [part.changed for part in changed]


def test_a_library_that_is_not_there_gives_nothing() -> None:
    assert give_back("libnothing.so") == 0


def test_where_it_cannot_be_told_nothing_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(footprint, "_SMAPS", tmp_path / "smaps")
    assert give_back() == 0
