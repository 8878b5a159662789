"""One kernel: compiled or interpreted, row by row or in bulk, it gives the same bits."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

import rules.warm
from rules import compiled
from rules.engine import Engine, Processed
from rules.errors import CapacityError
from rules.event import E_AT_US, E_HISTORY, EVENT_WIDTH, write_row
from rules.learning import LearningRecord, Operation
from rules.loader import DetectorSet
from rules.observation import Observation
from rules.outcome import (
    MAX_REASONS,
    O_DECISION,
    O_FREE,
    O_JUDGED,
    O_NOW_US,
    O_OPERATION,
    O_P_VALUE,
    O_REASONS,
    O_SCORE,
    OUT_WIDTH,
    REASON_WIDTH,
    VERDICT_WIDTH,
    verdict_rows,
)
from rules.settings import EngineSettings
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, Desk, observation

SETTINGS = EngineSettings(salt="kernel", max_accounts=1000)
NONE = np.zeros((0, VERDICT_WIDTH))

MIXED = """
import hashlib, msgspec, struct
from rules.engine import Engine, EngineSettings
from rules.learning import LearningRecord
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, NOW, Desk, observation

engine = Engine(EngineSettings(salt="x", min_scores=200, alerts_per_day=20.0, max_accounts=64), shipped())
desk, told, judged = Desk(5), hashlib.sha256(), 0
events = desk.between(NOW - 2 * DAY, NOW - DAY)[:COUNT]
events += [desk.pay("hot-eth-1", NOW - DAY // 2 + n, amount_usd=float(10**n), peer_group="g") for n in range(7)]
events += [observation(kind, NOW + n, account="main/hot-eth-1", amount_usd=5.0, balance_usd=9.0)
           for n, kind in enumerate(["deposit.confirmed", "withdrawal.failed", "withdrawal.cancelled", "x.y"])]
for n, one in enumerate(events):
    found, operation = engine.process(one, history=n % 3 == 0)
    told.update(struct.pack("<dd", found.score, found.p_value) + operation.value.encode() + msgspec.json.encode(found))
    if n % 5 == 0 and found.judged:
        row = {"verdict": "true_positive" if n % 2 else "false_positive", "account": one.account, "actor": one.actor,
               "destination": one.destination, "occurred_at_us": one.occurred_at_us, "judged": found.judged}
        engine.apply(LearningRecord(engine.sequence + 1, "verdict", None, msgspec.json.encode(row), "", ""))
        judged += 1
for change in engine.snapshot():
    told.update(change.state)
assert judged > 20
print(told.hexdigest())
"""


def result_of(script: str, **environment: str) -> str:
    given = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=given | {"PYTHONPATH": "."} | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_compiled_and_interpreted_give_the_same_bytes() -> None:
    script = MIXED.replace("COUNT", "1200")
    assert result_of(script) == result_of(script, NUMBA_DISABLE_JIT="1")


def test_the_kept_code_is_keyed_by_everything_that_it_is_made_from() -> None:
    loaded = {
        Path(str(module.__file__)).resolve()
        for name, module in sys.modules.items()
        if name.startswith("rules.") and getattr(module, "__file__", None)
    }
    holding = {file for file in loaded if "from rules.compiled import" in file.read_text()}
    assert Path(rules.kernel.__file__).resolve() in holding
    assert holding <= set(compiled.sources())


class TestKeptCode:
    def test_a_folder_that_cannot_be_written_is_used_when_complete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = tmp_path / compiled.digest()
        kept.mkdir()
        (kept / compiled.COMPLETE).touch()
        monkeypatch.setattr(compiled, "_INSTALLED", tmp_path)
        monkeypatch.setattr(compiled, "_writable", lambda _: False)
        assert compiled.folder.__wrapped__() == kept

    def test_else_the_users_own_folder_and_else_memory_each_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(compiled, "_INSTALLED", tmp_path / "installed")
        monkeypatch.setattr(compiled, "_own_cache", lambda: tmp_path / "own")
        monkeypatch.setattr(compiled, "_writable", lambda folder: (tmp_path / "own") in folder.parents)
        own = compiled.folder.__wrapped__()
        assert own is not None
        assert own.is_relative_to(tmp_path / "own")
        monkeypatch.setattr(compiled, "_writable", lambda _: False)
        assert compiled.folder.__wrapped__() is None
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]

    def test_warming_marks_the_folder_and_removes_older_ones(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        here, older = tmp_path / "here", tmp_path / "older"
        here.mkdir()
        older.mkdir()
        monkeypatch.setattr(compiled, "folder", lambda: here)
        assert rules.warm.main() == 0
        assert (here / compiled.COMPLETE).exists()
        assert not older.exists()
        assert "compiled in" in capsys.readouterr().err


def rows_of(events: list[Observation]) -> np.ndarray:
    rows = np.zeros((len(events), EVENT_WIDTH))
    for row, one in zip(rows, events, strict=True):
        write_row(row, one, SETTINGS.salt)
    return rows


def engine(detectors: DetectorSet | None = None, **changes: object) -> Engine:
    settings = msgspec.structs.replace(SETTINGS, **changes)
    return Engine(settings, shipped() if detectors is None else detectors)


@pytest.fixture(scope="module")
def traffic() -> list[Observation]:
    """A day of everything, with a theft in it."""
    desk = Desk(8)
    events = desk.between(NOW - DAY, NOW)[:4000]
    at = events[2500].occurred_at_us
    theft = [desk.pay("hot-eth-1", at + n, amount_usd=9e6, balance_usd=41e6) for n in range(3)]
    return sorted([*events, *theft], key=lambda one: (one.occurred_at_us, one.event_id))


class TestRows:
    def test_in_bulk_is_row_by_row(self, traffic: list[Observation]) -> None:
        one, many = engine(alerts_per_day=30.0), engine(alerts_per_day=30.0)
        found = [one.process(each) for each in traffic]
        out = np.zeros((len(traffic), OUT_WIDTH))
        fired = many.process_rows(rows_of(traffic), out, NONE)
        assert out[:, O_SCORE].tolist() == [assessment.score for assessment, _ in found]
        assert out[:, O_P_VALUE].tolist() == [assessment.p_value for assessment, _ in found]
        assert out[:, O_DECISION].tolist() == [assessment.decision.strength for assessment, _ in found]
        assert out[:, O_OPERATION].tolist() == [float(operation is Operation.SKIP) for _, operation in found]
        assert [each.row for each in fired] == [n for n, (told, _) in enumerate(found) for _ in told.signals]
        running = shipped().running
        assert [running[each.detector].id for each in fired] == [
            signal.detector for told, _ in found for signal in told.signals
        ]
        assert list(many.snapshot()) == list(one.snapshot())
        assert out[:, O_DECISION].max() == 2.0

    @pytest.mark.parametrize("at_once", [1, 7, 256])
    def test_many_at_once_are_one_by_one(self, traffic: list[Observation], at_once: int) -> None:
        one, many = engine(alerts_per_day=30.0), engine(alerts_per_day=30.0)
        payload = msgspec.json.encode({"entities": ["account:hot-btc-1"]})
        history = [n % 11 == 0 for n in range(len(traffic))]
        found: list[Processed] = []
        for subject in (one, many):
            subject.apply(LearningRecord(1, "incident_opened", None, payload, "", ""))
        for start in range(0, len(traffic), at_once):
            found += many.process_all(traffic[start : start + at_once], history[start : start + at_once])
        assert found == [one.process(each, history=old) for each, old in zip(traffic, history, strict=True)]
        assert list(many.snapshot()) == list(one.snapshot())
        assert many.sequence == one.sequence == len(traffic) + 1
        told = [one for one in found if isinstance(one, tuple)]
        assert len({assessment.decision for assessment, _ in told}) == 3
        assert {operation for _, operation in told} == {Operation.LEARN, Operation.SKIP}

    def test_what_has_no_room_is_an_error_in_its_place(self) -> None:
        events = [observation("withdrawal.requested", NOW, account=name, amount_usd=1.0) for name in "abcad"]
        subject = engine(max_accounts=2)
        found = subject.process_all(events, [False] * 5)
        assert [isinstance(one, CapacityError) for one in found] == [False, False, True, False, True]
        assert subject.sequence == 3
        alone = engine(max_accounts=2)
        for at in (0, 1, 3):
            assert alone.process(events[at]) == found[at]
        assert list(alone.snapshot()) == list(subject.snapshot())
        assert subject.process_all([], []) == []

    def test_reasons_are_those_of_the_assessment(self, traffic: list[Observation]) -> None:
        one, many = engine(), engine()
        out = np.zeros((600, OUT_WIDTH))
        many.process_rows(rows_of(traffic[:600]), out, NONE)
        for each, row in zip(traffic[:600], out, strict=True):
            told = one.process(each)[0]
            shares = row[O_REASONS + REASON_WIDTH - 1 : OUT_WIDTH : REASON_WIDTH]
            features = row[O_REASONS:OUT_WIDTH:REASON_WIDTH]
            known = [share for share, feature in zip(shares, features, strict=True) if feature >= 0.0]
            if told.reasons:
                assert [reason.share for reason in told.reasons] == known[: len(told.reasons)]

    def test_of_a_row_only_what_is_told_is_written(self, traffic: list[Observation]) -> None:
        untouched = -7.0
        out = np.full((600, OUT_WIDTH), untouched)
        engine().process_rows(rows_of(traffic[:600]), out, NONE)
        assert not (out[:, :O_REASONS] == untouched).any()
        told = set()
        for row in out[:, O_REASONS:].reshape((-1, MAX_REASONS, REASON_WIDTH)):
            features = row[:, 0].tolist()
            count = features.index(-1.0) if -1.0 in features else MAX_REASONS
            assert not (row[:count] == untouched).any()
            assert (row[count + 1 :] == untouched).all()
            told.add(count)
        assert len(told) > 2

    def test_a_prefix_gives_the_same_scores_with_verdicts(self, traffic: list[Observation]) -> None:
        rows = rows_of(traffic)
        whole = np.zeros((len(rows), OUT_WIDTH))
        engine().process_rows(rows, whole, NONE)
        verdicts = verdict_rows(rows[:300], whole[:300], np.arange(300) % 7 == 0, rows[:300, E_AT_US] + HOUR)
        out, part = np.zeros_like(whole), np.zeros((2000, OUT_WIDTH))
        engine().process_rows(rows, out, verdicts.copy())
        engine().process_rows(rows[:2000], part, verdicts.copy())
        assert part.tobytes() == out[:2000].tobytes()
        assert (out[:, O_SCORE] != whole[:, O_SCORE]).any()

    def test_without_verdicts_the_score_is_the_label_free_one(self, traffic: list[Observation]) -> None:
        out = np.zeros((1000, OUT_WIDTH))
        engine().process_rows(rows_of(traffic[:1000]), out, NONE)
        assert out[:, O_SCORE] == pytest.approx(out[:, O_FREE], abs=1e-9)
        assert np.isfinite(out[:, :O_NOW_US]).all()
        assert np.isfinite(out[:, O_JUDGED:O_REASONS]).all()

    def test_history_never_alerts_and_learns_all(self, traffic: list[Observation]) -> None:
        rows, out = rows_of(traffic), np.zeros((len(traffic), OUT_WIDTH))
        rows[:, E_HISTORY] = 1.0
        assert engine().process_rows(rows, out, NONE) == []
        assert out[:, O_DECISION].max() == out[:, O_OPERATION].max() == 0.0

    def test_a_frozen_entity_is_skipped_in_bulk_too(self) -> None:
        subject = engine()
        payload = msgspec.json.encode({"entities": ["account:a", "destination:d"]})
        subject.apply(LearningRecord(1, "incident_opened", None, payload, "", ""))
        events = [observation("withdrawal.requested", NOW, account=account, destination=destination, amount_usd=1.0)
                  for account, destination in (("a", "x"), ("b", "d"), ("b", "x"))]  # fmt: skip
        out = np.zeros((3, OUT_WIDTH))
        rows = rows_of(events)
        rows.flags.writeable = False
        subject.process_rows(rows, out, NONE)
        assert out[:, O_OPERATION].tolist() == [1.0, 1.0, 0.0]

    def test_rows_are_a_function_of_the_observation_alone(self, traffic: list[Observation]) -> None:
        digest = hashlib.sha256(rows_of(traffic[:50]).tobytes()).hexdigest()
        assert hashlib.sha256(rows_of(traffic[:50][::-1])[::-1].tobytes()).hexdigest() == digest
