"""Score a learning sequence again: what the live engine said, from the rows it left behind.

Rules: rows are read and nothing else. What was learned goes through the back-test's path (``process_rows``); what was not
learned, and everything that people did, is applied as replay applies it, because only the row knows that an incident or an
alert kept it from being learned. Scores are those of the live run, bit for bit.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from rules.arrays import F8
from rules.backtest.schema import BLOCK_ROWS
from rules.engine import ENGINE_VERSION, Engine
from rules.errors import LearningRecordError
from rules.event import E_HISTORY, EVENT_WIDTH, write_row
from rules.explain import among_peers, reason_for
from rules.learning import LearningRecord, Operation, RecordKind
from rules.loader import DetectorSet
from rules.observation import decode
from rules.outcome import (
    MAX_REASONS,
    O_BY_GROUP,
    O_P_VALUE,
    O_REASONS,
    O_SCORE,
    OUT_WIDTH,
    REASON_WIDTH,
    VERDICT_WIDTH,
    W_FEATURE,
    W_HIGH,
    W_LOW,
    W_SHARE,
    W_VALUE,
)
from rules.settings import EngineSettings
from rules.signal import Reason

_NO_VERDICTS: Final = np.empty((0, VERDICT_WIDTH), np.float64)


class Rescored(NamedTuple):
    """What is said again of the activity in one row of the sequence.

    ``reasons`` are the score's own, largest share first, however low the score; live they are told from a score of
    ``outcome.TOLD_FROM`` on, or where something was decided.
    """

    seq: int
    score: float
    p_value: float
    reasons: tuple[Reason, ...]


def rescored(records: Iterable[LearningRecord], settings: EngineSettings, detectors: DetectorSet) -> Iterator[Rescored]:
    """Every activity of a sequence with its score, in order.

    ``settings`` are those in force before the first row. Raises :class:`LearningRecordError` for a row that cannot be
    applied or was written by another engine version.
    """
    engine = Engine(settings, detectors)
    learned: list[LearningRecord] = []
    for record in records:
        if record.engine_version != ENGINE_VERSION:
            raise LearningRecordError(
                f"row {record.seq} was written by engine {record.engine_version}, this is {ENGINE_VERSION}"
            )
        activity = record.kind == RecordKind.ACTIVITY
        if activity and record.operation == Operation.LEARN:
            learned.append(record)
            if len(learned) < BLOCK_ROWS:
                continue
        yield from _together(engine, learned)
        learned.clear()
        if not (activity and record.operation == Operation.LEARN):
            if activity:
                said = engine.assess(decode(record.payload), tell=True)
                yield Rescored(record.seq, said.score, said.p_value, said.reasons)
            engine.apply(record)
    yield from _together(engine, learned)


def _together(engine: Engine, records: list[LearningRecord]) -> Iterator[Rescored]:
    if not records:
        return
    events: F8 = np.zeros((len(records), EVENT_WIDTH), np.float64)
    for row, record in zip(events, records, strict=True):
        write_row(row, decode(record.payload), engine.settings.salt)
    events[:, E_HISTORY] = 1.0  # it was learned, so nobody had to look
    out = np.empty((len(records), OUT_WIDTH), np.float64)
    engine.process_rows(events, out, _NO_VERDICTS)
    engine.sequence = records[-1].seq
    for record, said in zip(records, out, strict=True):
        yield Rescored(record.seq, float(said[O_SCORE]), float(said[O_P_VALUE]), _reasons(said))


def _reasons(said: F8) -> tuple[Reason, ...]:
    found: list[Reason] = []
    for place in range(O_REASONS, O_REASONS + MAX_REASONS * REASON_WIDTH, REASON_WIDTH):
        if said[place + W_FEATURE] < 0.0:
            break
        value, low, high = (float(said[place + word]) for word in (W_VALUE, W_LOW, W_HIGH))
        reason = reason_for(int(said[place + W_FEATURE]), value, low, high, float(said[place + W_SHARE]), None)
        found.append(among_peers(reason, float(said[O_BY_GROUP])))
    return tuple(found)
