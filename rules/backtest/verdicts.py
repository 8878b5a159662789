"""Late verdicts: read whole, joined to their events, and handed out when they become known.

Rules: a verdict exists for the engine only from its ``known_at`` on, and never before its event was scored. Ties are in
the order of the events. What must be kept of a judged event until its verdict is known is one row of numbers; memory
grows with verdicts that are waiting, not with events.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from rules.arrays import F8, I8
from rules.backtest.blocks import Block, Source, blocks, open_source
from rules.backtest.columns import batch_of, ids, times
from rules.backtest.errors import CellError, EventsFileError, shown
from rules.backtest.identity import Digests, digests
from rules.backtest.schema import VERDICTS

WORDS: Final = {"true_positive": 1, "false_positive": 0}
_GROW: Final = 1024


class Verdicts(NamedTuple):
    """All verdicts of a file, by digest of their event's id: ``truth`` 1 for true positives, ``known_at_us``."""

    digests: Digests
    truth: npt.NDArray[np.int8]
    known_at_us: I8

    def of(self, events: Digests) -> tuple[I8, I8]:
        """For rows of events, (position of the event, position of a verdict), in order of event, then of known_at."""
        low = np.searchsorted(self.digests, events, side="left")
        count = np.searchsorted(self.digests, events, side="right") - low
        event = np.repeat(np.arange(len(events)), count)
        first = np.repeat(np.cumsum(count) - count, count)
        return event, np.repeat(low, count) + np.arange(len(event)) - first


def read_verdicts(path: Path) -> Verdicts:
    """The verdicts of a file, in any order. Raises :class:`EventsFileError`."""
    source = open_source(path, VERDICTS, VERDICTS)
    parts = list(_parts(source))
    if not parts:
        return Verdicts(np.empty(0, np.uint64), np.empty(0, np.int8), np.empty(0, np.int64))
    found, truth, known = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((known, found))
    return Verdicts(found[order], truth[order], known[order])


def _parts(source: Source) -> Iterator[tuple[Digests, npt.NDArray[np.int8], I8]]:
    for block in blocks(source):
        try:
            yield _part(block)
        except CellError as error:
            row = block.first_row + error.index if error.index is not None else None
            raise EventsFileError(str(source.path), error.problem, column=error.column or None, row=row) from error


def _part(block: Block) -> tuple[Digests, npt.NDArray[np.int8], I8]:
    batch = batch_of(block, VERDICTS)
    identities = ids("event_id", batch["event_id"])
    if identities.null_count:
        raise CellError("event_id", int(np.argmax(identities.is_null().to_numpy(zero_copy_only=False))), "is missing")
    words = batch["verdict"].to_pylist()
    truth = np.empty(len(words), np.int8)
    for index, word in enumerate(words):
        if word not in WORDS:
            raise CellError("verdict", index, f"{shown(word)} must be true_positive or false_positive")
        truth[index] = WORDS[word]
    return digests(identities), truth, times("known_at", batch["known_at"])


class Waiting:
    """Rows of judged events whose verdicts are not known yet."""

    def __init__(self, width: int) -> None:
        self._rows = np.empty((_GROW, width), np.float64)
        self._free = list(range(_GROW - 1, -1, -1))
        self._heap: list[tuple[int, int, int]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, known_at_us: I8, rows: F8) -> None:
        """Keep rows until their verdicts are known."""
        for known, row in zip(known_at_us.tolist(), rows, strict=True):
            if not self._free:
                self._grow()
            slot = self._free.pop()
            self._rows[slot] = row
            heapq.heappush(self._heap, (known, self._count, slot))
            self._count += 1

    def take(self, until_us: int) -> F8:
        """The rows whose verdicts are known by a time, in order of known_at, then of arrival."""
        slots = []
        while self._heap and self._heap[0][0] <= until_us:
            slots.append(heapq.heappop(self._heap)[2])
        found: F8 = self._rows[slots]
        self._free += slots
        return found

    def _grow(self) -> None:
        size = len(self._rows)
        self._rows = np.concatenate((self._rows, np.empty_like(self._rows)))
        self._free = list(range(2 * size - 1, size - 1, -1))


def segments(at_us: I8, event: I8, known_at_us: I8) -> Iterator[tuple[int, int]]:
    """Cut rows into spans [start, end) in which no verdict on a row of the span becomes known before a later row of it.

    ``event`` and ``known_at_us``: position of each judged row and when its verdict is known.

    >>> at = np.array([0, 10, 20, 30]); list(segments(at, np.array([0]), np.array([15])))
    [(0, 2), (2, 4)]
    """
    count = len(at_us)
    due = np.full(count + 1, count)
    heard = np.maximum(np.searchsorted(at_us, known_at_us, side="left"), event + 1)
    np.minimum.at(due, event, heard)
    first = np.minimum.accumulate(due[::-1])[::-1]
    start = 0
    while start < count:
        end = int(first[start])
        yield start, end
        start = end
