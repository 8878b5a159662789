"""A back-test is causal, whole or absent, and the same however it is shared out."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rules.backtest import blocks
from rules.backtest.errors import BacktestError, EventsFileError
from rules.backtest.parallel import Part, Pending, Processes, hands, in_order
from rules.backtest.runner import Backtest, Request
from rules.settings import EngineSettings
from tests.unit.rules.backtest.recorded import NO_RULES, Simple, payments, run, scores_of, verdicts_on, write


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks of few rows, as a large file has many of many."""
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 64)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(1, 300), seed=st.integers(0, 5), after_s=st.sampled_from([None, 0.0, 7200.0, 90_000.0]))
def test_a_prefix_has_the_scores_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, small_blocks: None, cut: int, seed: int, after_s: float | None
) -> None:
    rows = payments(300, seed)
    bad = [f"e{number}" for number in range(0, 300, 9)]
    known = verdicts_on(rows, after_s, bad) if after_s is not None else None
    whole = scores_of(run(tmp_path_factory.mktemp("whole"), rows, verdicts=known)[0])
    prefix = scores_of(run(tmp_path_factory.mktemp("prefix"), rows[:cut], verdicts=known)[0])
    assert prefix == whole[:cut]


def test_verdicts_change_scores_after_they_are_known_and_none_before(tmp_path: Path) -> None:
    rows = payments(400)
    known = verdicts_on(rows[:1], 100 * 600.0, bad=["e0"])
    (tmp_path / "without").mkdir()
    told = scores_of(run(tmp_path, rows, verdicts=known)[0])
    untold = scores_of(run(tmp_path / "without", rows)[0])
    changed = [place for place, (one, other) in enumerate(zip(told, untold, strict=True)) if one != other]
    same_destination = [place for place, row in enumerate(rows) if row["destination"] == rows[0]["destination"]]
    assert changed == [place for place in same_destination if place >= 100]


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    rows, found = payments(60), []
    for suffix in (".parquet", ".ndjson", ".csv"):
        (tmp_path / suffix).mkdir()
        found.append(run(tmp_path / suffix, rows, suffixes=(suffix, suffix))[0])
    expected = pq.read_table(found[0]).to_pylist()
    lines = [json.loads(line) for line in found[1].read_text(encoding="utf-8").splitlines()]
    assert [
        {**line, "reasons": json.dumps(line["reasons"], separators=(",", ":"), ensure_ascii=False)} for line in lines
    ] == expected
    assert pa_csv.read_csv(found[2]).to_pylist() == expected
    reasons = [json.loads(row["reasons"]) for row in expected]
    assert any(reasons)
    assert all(set(one) == {"feature", "observed", "usual", "share"} for told in reasons for one in told)


class Interrupted:
    """Hands in which Ctrl-C arrives at the third part."""

    width = 1

    def __init__(self) -> None:
        self.parts = 0

    def submit(self, part: Part) -> Pending:
        self.parts += 1
        if self.parts == 3:
            raise KeyboardInterrupt
        with hands(1) as here:
            return here.submit(part)


def test_an_interrupted_run_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, small_blocks: None) -> None:
    before = tmp_path / "scores.parquet"
    before.write_bytes(b"an older result")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, payments(300), workers=Interrupted())
    assert before.read_bytes() == b"an older result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.parquet", "scores.parquet"]


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    events = write(tmp_path / "events.parquet", payments(5))
    for scores, says in (
        (events, "is also an input"),
        (tmp_path / "nowhere" / "scores.csv", "there is no folder"),
        (tmp_path / "scores.xlsx", "its suffix must be one of"),
        (tmp_path, "its suffix must be one of"),
    ):
        with pytest.raises(EventsFileError, match=says):
            Backtest(Request(events, scores, EngineSettings(), NO_RULES), Simple, _never(), lambda _: None)


def test_order_is_checked_across_blocks(tmp_path: Path, small_blocks: None) -> None:
    rows = payments(130)
    rows[128] = {**rows[128], "occurred_at": rows[0]["occurred_at"]}
    with pytest.raises(EventsFileError, match=r"row 129: is before the row above it"):
        run(tmp_path, rows)
    rows = payments(130)
    rows[128] = {**rows[128], "event_id": "e3"}
    with pytest.raises(EventsFileError, match=r"row 129: 'e3' stands in the file before"):
        run(tmp_path, rows)


def test_a_bounded_number_of_parts_is_under_way() -> None:
    under_way: list[int] = []
    most = 0

    class Slow:
        width = 3

        def submit(self, part: Part) -> Pending:
            nonlocal most
            under_way.append(part.number)
            most = max(most, len(under_way))
            return _Later(part.number, under_way)

    parts: Iterator[Part] = (Part("decode", number, b"", b"") for number in range(20))
    assert list(in_order(Slow(), parts)) == [str(number).encode() for number in range(20)]
    assert most == 4


class _Later:
    def __init__(self, number: int, under_way: list[int]) -> None:
        self._number = number
        self._under_way = under_way

    def result(self) -> bytes:
        self._under_way.remove(self._number)
        return str(self._number).encode()


def test_a_killed_process_is_an_error_that_says_so() -> None:
    part = Part("nothing", 0, b"", b"")
    with hands(2) as workers:
        assert isinstance(workers, Processes)
        with pytest.raises(BacktestError, match="there is no part 'nothing'"):
            workers.submit(part).result()
        for process in workers.pool._processes.values():
            process.kill()
        for _ in range(2):
            with pytest.raises(BacktestError, match="was killed, most likely for want of memory"):
                workers.submit(part).result()


def _never() -> "_Never":
    return _Never()


class _Never:
    width = 1

    def submit(self, part: Part) -> Pending:
        raise AssertionError(f"{part.kind} was started")
