"""Huge pages are asked for where memory is large, and nowhere else."""

import mmap

import pytest

from rules import state
from rules.settings import EngineSettings


def advised(accounts: int, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """From which byte on each array of a state for so many accounts may use huge pages: shared, arena, integers."""
    asked: list[int | None] = []
    given = state._memory

    def memory(words: int, huge_from: int | None = None) -> mmap.mmap:
        asked.append(huge_from)
        return given(words, huge_from)

    monkeypatch.setattr(state, "_memory", memory)
    state.State(EngineSettings(max_accounts=accounts))
    return asked


@pytest.mark.parametrize(("accounts", "index_from"), [(100_000, None), (131_072, None), (131_073, 0), (1_000_000, 0)])
def test_an_index_is_padded_with_huge_pages_only_when_it_is_large(
    accounts: int, index_from: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert advised(accounts, monkeypatch) == [None, 1 << 23, index_from]
