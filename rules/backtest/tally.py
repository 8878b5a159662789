"""Count what a back-test found, block by block, in memory that does not grow with events.

Rules: weeks are seven days from the first event's midnight (UTC), and only whole ones have a rate. Truth comes from
verdicts, and only events with a verdict are in the confusion matrix: nothing is assumed about the others.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from rules.arrays import F8, I8
from rules.backtest.ordered import Judged, Scored
from rules.event import E_AT_US
from rules.outcome import O_DECISION, O_HISTORY, O_LEVEL, O_REASONS, O_SCORE, W_FEATURE

BINS: Final = 4096
BINS_PER_UNIT: Final = 128
"""Scores are counted in steps of 1/128 up to 32, beyond which they share the last bin."""
DAY_US: Final = 86_400_000_000
WEEK_US: Final = 7 * DAY_US
ALERT: Final = 1
HOLD: Final = 2


@dataclass
class Week:
    """One week: ``by_score`` are the alerts and holds that the p-value's level decided, whatever detectors said."""

    events: int = 0
    alerts: int = 0
    holds: int = 0
    by_score: int = 0
    detectors: Counter[int] = field(default_factory=Counter)

    @property
    def raised(self) -> int:
        """Everything that somebody has to look at."""
        return self.alerts + self.holds


@dataclass
class Found:
    """How often one detector fired: deciding, or only recorded; on true and on false positives."""

    deciding: int = 0
    recorded: int = 0
    true: int = 0
    false: int = 0


@dataclass
class Confusion:
    """Alerts and holds against verdicts; ``unjudged`` were raised and have no verdict."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0
    unjudged: int = 0


class Tally:
    """All counts of one engine's pass. Detectors by position in the running set, reasons by feature index."""

    def __init__(self) -> None:
        self.events = 0
        self.newcomers = 0
        self.first_us = 0
        self.last_us = 0
        self.weeks: dict[int, Week] = {}
        self.detectors: dict[int, Found] = {}
        self.reasons: Counter[int] = Counter()
        self.confusion = Confusion()
        self.positives = np.zeros(BINS, np.int64)
        self.negatives = np.zeros(BINS, np.int64)

    def add(self, scored: Scored, found: Judged) -> None:
        """Count one block."""
        if not len(scored.rows):
            return
        at_us = scored.rows[:, E_AT_US].astype(np.int64)
        if not self.events:
            self.first_us = int(at_us[0]) // DAY_US * DAY_US
        self.last_us = int(at_us[-1])
        self.events += len(at_us)
        self.newcomers += int(np.count_nonzero(scored.out[:, O_HISTORY] == 0))
        week_of = (at_us - self.first_us) // WEEK_US
        self._count_weeks(week_of, scored.out)
        truth = _truth(len(at_us), found)
        self._count_truth(scored.out, truth)
        self._count_detectors(scored, week_of, truth)
        raised = scored.out[:, O_DECISION] >= ALERT
        first = scored.out[raised, O_REASONS + W_FEATURE].astype(np.int64)
        self.reasons.update(first[first >= 0].tolist())

    @property
    def whole_weeks(self) -> int:
        """Weeks that the events fill to the last day."""
        return int((self.last_us - self.first_us + DAY_US // 2) // WEEK_US)

    def _count_weeks(self, week_of: I8, out: F8) -> None:
        for number in np.unique(week_of):
            of_week = out[week_of == number]
            week = self.weeks.setdefault(int(number), Week())
            week.events += len(of_week)
            week.alerts += int(np.count_nonzero(of_week[:, O_DECISION] == ALERT))
            week.holds += int(np.count_nonzero(of_week[:, O_DECISION] == HOLD))
            week.by_score += int(np.count_nonzero(of_week[:, O_LEVEL] >= ALERT))

    def _count_truth(self, out: F8, truth: F8) -> None:
        raised = out[:, O_DECISION] >= ALERT
        bad, good = truth == 1.0, truth == 0.0
        self.confusion.true_positives += int(np.count_nonzero(raised & bad))
        self.confusion.false_positives += int(np.count_nonzero(raised & good))
        self.confusion.false_negatives += int(np.count_nonzero(~raised & bad))
        self.confusion.true_negatives += int(np.count_nonzero(~raised & good))
        self.confusion.unjudged += int(np.count_nonzero(raised & np.isnan(truth)))
        bins = np.minimum((out[:, O_SCORE] * BINS_PER_UNIT).astype(np.int64), BINS - 1)
        self.positives += np.bincount(bins[bad], minlength=BINS)
        self.negatives += np.bincount(bins[good], minlength=BINS)

    def _count_detectors(self, scored: Scored, week_of: I8, truth: F8) -> None:
        for one in scored.fired:
            found = self.detectors.setdefault(one.detector, Found())
            if one.decision >= ALERT:
                found.deciding += 1
                self.weeks[int(week_of[one.row])].detectors[one.detector] += 1
            else:
                found.recorded += 1
            found.true += bool(truth[one.row] == 1.0)
            found.false += bool(truth[one.row] == 0.0)


def _truth(count: int, found: Judged) -> F8:
    """1 for true positives, 0 for false ones, NaN without a verdict; the last verdict on an event counts."""
    truth = np.full(count, np.nan)
    truth[found.event] = found.truth
    return truth
