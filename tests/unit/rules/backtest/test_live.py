"""Live and back-test are one kernel: the log of a live run gives its scores again, and files give what `process` says."""

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rules.backtest import blocks
from rules.backtest.from_log import rescored
from rules.backtest.parallel import Here, hands
from rules.backtest.runner import Backtest, Request
from rules.engine import ENGINE_VERSION, Engine
from rules.learning import Entities, LearningRecord, Operation, RecordKind
from rules.observation import Observation, encode
from rules.signal import Reason
from tests.unit.rules.backtest.real import DETECTORS, SETTINGS, assert_all_is_there, backtest, eventful, mixed, verdicts
from tests.unit.rules.backtest.recorded import Row, moment, scores_of, verdicts_on, write

Said = tuple[int, float, float, list[tuple[str, str, float]]]


def _shares(reasons: Iterable[Reason]) -> list[tuple[str, str, float]]:
    return [(reason.feature, reason.usual, reason.share) for reason in reasons]


def observations(rows: list[Row]) -> list[Observation]:
    """The same activities as the live path gets them."""
    found = []
    for row in rows:
        at = int(np.datetime64(str(row["occurred_at"]).removesuffix("Z"), "us").astype(np.int64))
        told = {name: value for name, value in row.items() if name not in {"occurred_at", "type"} and value is not None}
        kind = row.get("type", "withdrawal.requested")
        found.append(
            msgspec.convert(
                {**told, "kind": kind, "occurred_at_us": at, "received_at_us": at}, Observation, strict=False
            )
        )
    return found


def test_the_log_of_a_live_run_gives_its_scores_again_bit_for_bit() -> None:
    engine = Engine(SETTINGS, DETECTORS)
    said: list[Said] = []
    log: list[LearningRecord] = []

    def note(kind: RecordKind, operation: Operation | None, payload: bytes) -> LearningRecord:
        log.append(LearningRecord(len(log) + 1, kind, operation, payload, ENGINE_VERSION, SETTINGS.digest()))
        return log[-1]

    skipped = 0
    for number, observation in enumerate(observations(mixed(1500))):
        if number in {600, 900}:
            kind = RecordKind.INCIDENT_OPENED if number == 600 else RecordKind.INCIDENT_CLOSED
            engine.apply(note(kind, None, msgspec.json.encode(Entities(("account:a3", "actor:p1")))))
        assessment, operation = engine.process(observation, history=number < 100, frozen=number == 777)
        note(RecordKind.ACTIVITY, operation, encode(observation))
        engine.sequence = len(log)
        said.append((len(log), assessment.score, assessment.p_value, _shares(assessment.reasons)))
        skipped += operation is Operation.SKIP
    again = list(rescored(log, SETTINGS, DETECTORS))
    assert [tuple(one[:3]) for one in again] == [one[:3] for one in said]
    told = [(_shares(one.reasons), kept) for one, (*_, kept) in zip(again, said, strict=True) if kept]
    assert [one for one, _ in told] == [kept for _, kept in told]
    assert len(told) > 100
    assert skipped > 20
    assert len({score for _, score, *_ in said}) > 700


def test_a_file_gives_what_the_live_engine_says(tmp_path: Path) -> None:
    rows = mixed(1500)
    engine = Engine(SETTINGS, DETECTORS)
    live = [engine.process(observation)[0] for observation in observations(rows)]
    table = pq.read_table(backtest(tmp_path, rows)).to_pylist()
    assert [row["score"] for row in table] == [one.score for one in live]
    assert [row["p_value"] for row in table] == [one.p_value for one in live]
    assert [row["decision"] for row in table] == [one.decision for one in live]
    assert [row["history"] for row in table] == [one.history for one in live]
    told = [[(one["feature"], one["usual"]) for one in json.loads(row["reasons"])] for row in table]
    assert told == [[(reason.feature, reason.usual) for reason in one.reasons] for one in live]
    assert {row["decision"] for row in table} >= {"allow", "alert"}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 150)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(1, 1000), after_s=st.sampled_from([None, 0.0, 3600.0, 86_400.0]))
def test_the_engine_is_causal(
    tmp_path_factory: pytest.TempPathFactory, small_blocks: None, cut: int, after_s: float | None
) -> None:
    rows = mixed(1000)
    bad = [str(row["event_id"]) for row in rows[50::97]]
    known = verdicts_on(rows, after_s, bad) if after_s is not None else None
    whole = scores_of(backtest(tmp_path_factory.mktemp("whole"), rows, known))
    assert scores_of(backtest(tmp_path_factory.mktemp("prefix"), rows[:cut], known)) == whole[:cut]


def test_one_two_and_eight_processes_write_the_same_bytes(tmp_path: Path, small_blocks: None) -> None:
    rows = eventful(600)
    written = []
    for processes in (1, 2, 8):
        folder = tmp_path / str(processes)
        folder.mkdir()
        with hands(processes) as workers:
            written.append(backtest(folder, rows, verdicts(rows), workers))
    assert_all_is_there(written[0])
    assert written[0].read_bytes() == written[1].read_bytes() == written[2].read_bytes()


def test_a_candidate_beside_it_changes_no_score(tmp_path: Path, small_blocks: None) -> None:
    rows = mixed(600)
    written = []
    for name, candidate in (("alone", None), ("beside", DETECTORS)):
        (tmp_path / name).mkdir()
        events = write(tmp_path / name / "e.parquet", rows)
        request = Request(events, tmp_path / name / "s.parquet", SETTINGS, DETECTORS, candidate)
        found = Backtest(request, Engine, Here(), lambda _: None).run()
        written.append(request.scores.read_bytes())
        assert (found.in_force is not None) == (candidate is not None)
    assert written[0] == written[1]


def test_a_day_of_silence_and_a_late_clock_are_no_error(tmp_path: Path) -> None:
    rows = mixed(50)
    rows[-1]["occurred_at"] = moment(400 * 86_400)
    assert len(scores_of(backtest(tmp_path, rows))) == 50
