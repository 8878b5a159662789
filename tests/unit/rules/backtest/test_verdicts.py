"""Verdicts are joined to their events and heard when they are known: never earlier, never later than the next event."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.backtest.errors import EventsFileError
from rules.backtest.identity import Seen
from rules.backtest.ordered import Judged, OrderedPass
from rules.backtest.verdicts import Waiting, read_verdicts, segments
from rules.event import E_AT_US, EVENT_WIDTH
from rules.settings import EngineSettings
from tests.unit.rules.backtest.recorded import NO_RULES, Row, Simple, payments, run, verdicts_on, write

TIMES = st.lists(st.integers(0, 60), min_size=1, max_size=25).map(sorted)
DELAYS = st.lists(st.integers(0, 40), min_size=25, max_size=25)


@settings(deadline=None)
@given(TIMES, DELAYS, st.integers(1, 7))
def test_each_verdict_is_heard_before_the_first_event_that_comes_when_it_is_known(
    times: list[int], delays: list[int], block: int
) -> None:
    rows = np.zeros((len(times), EVENT_WIDTH))
    rows[:, E_AT_US] = times
    known = np.array([at + delay for at, delay in zip(times, delays, strict=False)])
    kernel = Simple(EngineSettings(), NO_RULES)
    ordered = OrderedPass(kernel)
    for start in range(0, len(times), block):
        part = slice(start, start + block)
        event = np.arange(len(times[part]))
        ordered.score(rows[part], Judged(event, np.zeros(len(event)), known[part]))
    expected = []
    for index, when in enumerate(known.tolist()):
        later = [at for place, at in enumerate(times) if place > index and at >= when]
        expected += [(float(when), float(later[0]))] if later else []
    assert sorted(kernel.heard) == sorted(expected)
    assert [when for when, _ in kernel.heard] == sorted(when for when, _ in kernel.heard) or delays != sorted(delays)
    assert ordered.used == len(expected)


@given(TIMES, DELAYS)
def test_spans_cover_all_rows_and_cut_where_a_verdict_of_their_own_is_due(times: list[int], delays: list[int]) -> None:
    at_us = np.array(times)
    known = at_us + np.array(delays[: len(times)])
    spans = list(segments(at_us, np.arange(len(times)), known))
    assert [row for start, end in spans for row in range(start, end)] == list(range(len(times)))
    for start, end in spans:
        for judged in range(start, end):
            assert not any(known[judged] <= at_us[later] for later in range(judged + 1, end))


def test_verdicts_in_any_order_match_their_events_and_strangers_are_counted(tmp_path: Path) -> None:
    rows = payments(50)
    known = [*verdicts_on(rows[:30], 3600.0, bad=["e3"]), *verdicts_on([{**rows[0], "event_id": "nobody"}], 60.0)]
    _, findings = run(tmp_path, rows, verdicts=reversed(known))
    assert (findings.verdicts, findings.verdicts_used, findings.verdicts_unmatched) == (31, 30, 1)
    matrix = findings.written.tally.confusion
    judged = (matrix.true_positives + matrix.false_negatives, matrix.false_positives + matrix.true_negatives)
    assert judged == (1, 29)


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson", ".csv"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verdict": "fraud"}, "column verdict, row 2: 'fraud' must be true_positive or false_positive"),
        ({"known_at": None}, "column known_at, row 2"),
        ({"event_id": None}, "column event_id, row 2: is missing"),
    ],
)
def test_a_verdict_that_cannot_be_used_is_named(tmp_path: Path, suffix: str, changes: Row, says: str) -> None:
    known = verdicts_on(payments(3), 60.0)
    known[1] = {**known[1], **changes}
    with pytest.raises(EventsFileError) as caught:
        read_verdicts(write(tmp_path / f"verdicts{suffix}", known))
    assert says in str(caught.value)


def test_rows_wait_in_bounded_memory() -> None:
    waiting = Waiting(2)
    for number in range(100_000):
        waiting.put(np.array([number + 50]), np.full((1, 2), float(number)))
        taken = waiting.take(number)
        assert taken.tolist() == ([[number - 50.0] * 2] if number >= 50 else [])
    assert len(waiting) == 50
    assert len(waiting._rows) == 1024


@given(st.lists(st.lists(st.integers(0, 200), max_size=8), max_size=30))
def test_an_id_that_was_seen_is_found_wherever_it_was(found: list[list[int]]) -> None:
    seen, before = Seen(), set[int]()
    for block in found:
        expected = next((at for at, one in enumerate(block) if one in before or one in block[:at]), None)
        assert seen.again(np.array(block, np.uint64)) == expected
        if expected is not None:
            return
        before |= set(block)
