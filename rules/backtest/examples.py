"""A few events that show why a rule set fired or missed.

Rules: which events become examples depends on verdicts and order alone, never on chance: evenly spread true positives, and
the first alarms that were false. For one that was missed, every detector of the set says how far it came: its guard with
the number observed, or that the guard held and the expression did not.
"""

from math import isnan
from typing import Any, Final

import msgspec

from rules.backtest.ordered import Judged, Scored, Watched
from rules.backtest.render import DECISIONS, ShownReason, reasons_of
from rules.backtest.verdicts import Verdicts
from rules.detector import Detector
from rules.event import E_AT_US, E_KIND, KINDS
from rules.guards import OPERATORS
from rules.outcome import O_DECISION, O_SCORE

MOST_WATCHED: Final = 64
MOST_SHOWN: Final = 8
FIRED: Final = "fired"
MISSED: Final = "missed"
FALSE_ALARM: Final = "false_alarm"
_NEAREST: Final = 6


class NearMiss(msgspec.Struct, frozen=True):
    """One detector that did not fire, and what was in the way."""

    detector: str
    because: str


class Example(msgspec.Struct, frozen=True):
    """One event: ``kind`` is ``fired``, ``missed`` (both true positives) or ``false_alarm``."""

    kind: str
    event_id: str
    occurred_at_us: int
    activity: str
    score: float
    decision: str
    reasons: list[ShownReason]
    fired: list[str]
    near_misses: list[NearMiss]


class Examples:
    """Collects examples of one rule set's pass."""

    def __init__(self, detectors: tuple[Detector, ...], verdicts: Verdicts | None) -> None:
        self._detectors = detectors
        self._every = max(1, int(verdicts.truth.sum()) // MOST_WATCHED) if verdicts is not None else 0
        self._seen = 0
        self.found: dict[str, list[Example]] = {FIRED: [], MISSED: [], FALSE_ALARM: []}

    def watch(self, found: Judged) -> frozenset[int]:
        """The rows of the next block that may become examples of something missed."""
        if not self._every:
            return frozenset()
        bad = found.event[found.truth == 1.0].tolist()
        chosen = [row for place, row in enumerate(bad, start=self._seen) if place % self._every == 0]
        self._seen += len(bad)
        return frozenset(chosen)

    def add(self, scored: Scored, found: Judged, identities: Any) -> None:
        """Look at what became of a block."""
        measured = {one.row: one for one in scored.watched}
        for row, one in measured.items():
            kind = FIRED if scored.out[row, O_DECISION] else MISSED
            self._take(kind, row, scored, identities, one)
        for row in found.event[(found.truth == 0.0) & (scored.out[found.event, O_DECISION] > 0)].tolist():
            self._take(FALSE_ALARM, row, scored, identities, None)

    def _take(self, kind: str, row: int, scored: Scored, identities: Any, measured: Watched | None) -> None:
        if len(self.found[kind]) >= MOST_SHOWN:
            return
        code = int(scored.rows[row, E_KIND])
        fired = [self._detectors[one.detector].id for one in scored.fired if one.row == row]
        self.found[kind].append(
            Example(
                kind=kind,
                event_id=str(identities[row].as_py()),
                occurred_at_us=int(scored.rows[row, E_AT_US]),
                activity=KINDS[code],
                score=float(scored.out[row, O_SCORE]),
                decision=DECISIONS[int(scored.out[row, O_DECISION])],
                reasons=reasons_of(scored.out[row]),
                fired=fired,
                near_misses=self._near(code, measured, fired) if kind == MISSED and measured is not None else [],
            )
        )

    def _near(self, code: int, measured: Watched, fired: list[str]) -> list[NearMiss]:
        silent = [one for one in self._detectors if one.id not in fired and one.covers(KINDS[code])]
        nearest = sorted(silent, key=lambda one: not _held(one, measured))[:_NEAREST]
        return [NearMiss(one.id, _because(one, measured)) for one in nearest]


def _held(detector: Detector, measured: Watched) -> bool:
    return detector.guard_holds(measured.values, measured.surprise)


def _because(detector: Detector, measured: Watched) -> str:
    declared, row = detector.declaration, detector.row
    guard = f"{declared.guard.feature} {OPERATORS[row.op]} {declared.guard.number:g}"
    observed = float((measured.surprise if row.surprising else measured.values)[row.feature])
    said = "could not be told" if isnan(observed) else f"was {observed:.4g}"
    if not _held(detector, measured):
        return f"its guard {guard} did not hold: it {said}"
    return f"its guard {guard} held (it {said}), its expression did not: {declared.expr}"
