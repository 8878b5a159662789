"""Recorded events for tests, in any format, and a kernel that is quick, causal, and sensitive to every order."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rules.arrays import F8
from rules.backtest.parallel import Hands, Here
from rules.backtest.runner import Backtest, Findings, Request
from rules.event import E_ACCOUNT, E_AMOUNT_USD, E_AT_US, E_DESTINATION
from rules.features.names import NAMES
from rules.loader import DetectorSet
from rules.outcome import (
    MAX_REASONS,
    O_DECISION,
    O_HISTORY,
    O_LEVEL,
    O_P_VALUE,
    O_REASONS,
    O_SCORE,
    OUT_WIDTH,
    REASON_WIDTH,
    V_DESTINATION,
    V_KNOWN_US,
    V_TRUTH,
    W_FEATURE,
    W_HIGH,
    W_LOW,
    W_SHARE,
    W_VALUE,
    Fired,
)
from rules.settings import EngineSettings

Row = dict[str, object]
NO_RULES = DetectorSet((), "")
START = "2024-03-01T00:00:00Z"
HOUR_S = 3600


def moment(seconds: float) -> str:
    return str(np.datetime64("2024-03-01T00:00:00.000000") + np.timedelta64(int(seconds * 1e6), "us")) + "Z"


def payments(count: int, seed: int = 1) -> list[Row]:
    """Payments ten minutes apart, of thirty accounts to twenty destinations."""
    chance = np.random.default_rng(seed)
    return [
        {
            "event_id": f"e{number}",
            "occurred_at": moment(number * 600),
            "account": f"a{chance.integers(30)}",
            "destination": f"d{chance.integers(20)}",
            "amount_usd": round(float(chance.lognormal(4.0, 1.0)), 2),
        }
        for number in range(count)
    ]


def write(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Rows as a file, in the format of its suffix."""
    found = list(rows)
    names = list(dict.fromkeys(name for row in found for name in row))
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, names)
            writer.writeheader()
            writer.writerows(found)
    elif path.suffix == ".ndjson":
        path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    else:
        pq.write_table(pa.table({name: [row.get(name) for row in found] for name in names}), path)
    return path


def verdicts_on(rows: Iterable[Row], after_s: float, bad: Iterable[str] = ()) -> list[Row]:
    """A verdict on each event, known some seconds later; `bad` are ids of true positives."""
    wrong = set(bad)
    found: list[Row] = []
    for row in rows:
        known = np.datetime64(str(row["occurred_at"]).removesuffix("Z")) + np.timedelta64(int(after_s * 1e6), "us")
        word = "true_positive" if row["event_id"] in wrong else "false_positive"
        found.append({"event_id": row["event_id"], "verdict": word, "known_at": f"{known}Z"})
    return found


class Seen(NamedTuple):
    """What was measured of the last row."""

    values: F8
    surprise: F8


class Simple:
    """Scores an amount against the account's running mean and the destination's verdicts; remembers what it was told."""

    def __init__(self, _settings: EngineSettings, _detectors: DetectorSet) -> None:
        self.mean: dict[float, float] = {}
        self.bad: dict[float, float] = {}
        self.sum = 0.0
        self.heard: list[tuple[float, float]] = []
        """(known_at, time of the event before which it was told) of each verdict."""
        self.frame = Seen(np.zeros(len(NAMES)), np.zeros(len(NAMES)))

    def process_rows(self, events: F8, out: F8, verdicts: F8) -> list[Fired]:
        waiting = list(verdicts)
        for row, said in zip(events, out, strict=True):
            while waiting and waiting[0][V_KNOWN_US] <= row[E_AT_US]:
                one = waiting.pop(0)
                key = float(one[V_DESTINATION])
                self.bad[key] = self.bad.get(key, 0.0) * 0.5 + float(one[V_TRUTH])
                self.heard.append((float(one[V_KNOWN_US]), float(row[E_AT_US])))
            self._score(row, said)
        assert not waiting, "a verdict was handed over before it was known"
        return []

    def _score(self, row: F8, said: F8) -> None:
        key, amount = float(row[E_ACCOUNT]), float(np.nan_to_num(row[E_AMOUNT_USD]))
        mean = self.mean.get(key, 50.0)
        self.sum = self.sum * 0.999 + amount
        score = amount / (mean + 1.0) + self.bad.get(float(row[E_DESTINATION]), 0.0) + self.sum * 1e-9
        said[:] = 0.0
        said[[O_SCORE, O_P_VALUE, O_HISTORY]] = score, 10.0**-score, key in self.mean
        said[[O_DECISION, O_LEVEL]] = float(score > 4.0)
        said[O_REASONS:OUT_WIDTH:REASON_WIDTH] = -1.0
        assert OUT_WIDTH - O_REASONS == MAX_REASONS * REASON_WIDTH
        place = O_REASONS
        said[place + W_FEATURE] = NAMES.index("amount_usd")
        said[[place + W_VALUE, place + W_LOW, place + W_HIGH]] = amount, mean * 0.5, mean * 2.0
        said[place + W_SHARE] = 1.0
        self.mean[key] = mean + 0.1 * (amount - mean)
        self.frame.values[:] = score


def run(
    folder: Path,
    rows: Iterable[Row],
    *,
    verdicts: Iterable[Row] | None = None,
    suffixes: tuple[str, str] = (".parquet", ".parquet"),
    workers: Hands | None = None,
) -> tuple[Path, Findings]:
    """A back-test with the simple kernel: (SCORES, findings)."""
    events = write(folder / f"events{suffixes[0]}", rows)
    known = write(folder / f"verdicts{suffixes[0]}", verdicts) if verdicts is not None else None
    scores = folder / f"scores{suffixes[1]}"
    request = Request(events, scores, EngineSettings(), NO_RULES, verdicts=known)
    return scores, Backtest(request, Simple, workers or Here(), lambda _: None).run()


def scores_of(path: Path) -> list[tuple[object, ...]]:
    """Every row of a SCORES file."""
    table = pq.read_table(path)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))
