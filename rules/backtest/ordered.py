"""The one ordered pass of a back-test: everything that crosses entities, calibrates or learns.

Rules: rows go through the same compiled kernel as live activity, in the order of the file, in one process. A verdict is
learned before the first event that comes at or after its ``known_at``, never before the event that it judges.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from rules.arrays import F8, I8
from rules.backtest.identity import Digests
from rules.backtest.verdicts import Verdicts, Waiting, segments
from rules.event import E_AT_US
from rules.outcome import OUT_WIDTH, VERDICT_WIDTH, Fired, verdict_rows


class Measured(Protocol):
    """What was measured of one row."""

    @property
    def values(self) -> F8:
        """Values by feature index."""

    @property
    def surprise(self) -> F8:
        """Surprisals by feature index."""


class Kernel(Protocol):
    """What the pass needs of an engine."""

    @property
    def frame(self) -> Measured:
        """What was measured of the row that was processed last."""

    def process_rows(self, events: F8, out: F8, verdicts: F8) -> list[Fired]:
        """Score and learn rows in order, verdicts merged in by time; fills ``out`` and says which detectors fired."""


class Judged(NamedTuple):
    """The verdicts on a block's events: position of the event, what was true, when it is known."""

    event: I8
    truth: F8
    known_at_us: I8


class Watched(NamedTuple):
    """What was measured of one event that an example will be made of."""

    row: int
    values: F8
    surprise: F8


class Scored(NamedTuple):
    """What one engine said about a block."""

    rows: F8
    out: F8
    fired: list[Fired]
    watched: list[Watched]


def judged(verdicts: Verdicts | None, digests: Digests) -> Judged:
    """The verdicts of a file on these events."""
    if verdicts is None:
        return Judged(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
    event, which = verdicts.of(digests)
    return Judged(event, verdicts.truth[which].astype(np.float64), verdicts.known_at_us[which])


class OrderedPass:
    """One engine going through the events; ``used`` counts the verdicts it was told."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.used = 0
        self._waiting = Waiting(VERDICT_WIDTH)

    def score(self, rows: F8, found: Judged, watch: frozenset[int] = frozenset()) -> Scored:
        """Score the next block; ``watch``: rows whose measurements are kept. Watching changes no score."""
        out = np.empty((len(rows), OUT_WIDTH), np.float64)
        at_us = rows[:, E_AT_US].astype(np.int64)
        scored = Scored(rows, out, [], [])
        for start, end in segments(at_us, found.event, found.known_at_us):
            for low, high in _pieces(start, end, watch):
                due = self._waiting.take(int(at_us[high - 1]))
                self.used += len(due)
                for one in self.kernel.process_rows(rows[low:high], out[low:high], due):
                    scored.fired.append(one._replace(row=one.row + low))
                if high - 1 in watch:
                    frame = self.kernel.frame
                    scored.watched.append(Watched(high - 1, frame.values.copy(), frame.surprise.copy()))
            self._keep(scored, found, start, end)
        return scored

    def _keep(self, scored: Scored, found: Judged, start: int, end: int) -> None:
        low, high = np.searchsorted(found.event, [start, end])
        events, known = found.event[low:high], found.known_at_us[low:high]
        waiting = verdict_rows(scored.rows[events], scored.out[events], found.truth[low:high], known.astype(np.float64))
        self._waiting.put(known, waiting)


def _pieces(start: int, end: int, watch: frozenset[int]) -> Iterator[tuple[int, int]]:
    """A span cut behind every watched row."""
    low = start
    for row in sorted(row for row in watch if start <= row < end):
        yield low, row + 1
        low = row + 1
    if low < end:
        yield low, end
