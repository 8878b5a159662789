"""Carry out a back-test: blocks in, scores out, everything counted on the way.

Rules: decoding and rendering are shared out, the pass through the engine is one, and what is written is the same however
they are shared. The candidate's engine and the one in force see the same rows; SCORES are the candidate's where there is
one. Memory is bounded by a few blocks, by ids (8 bytes an event) and by waiting verdicts.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from rules.arrays import F8
from rules.backtest.blocks import Block, Source, blocks, open_source
from rules.backtest.encode import Encoded, listed
from rules.backtest.errors import EventsFileError
from rules.backtest.examples import Examples
from rules.backtest.identity import Seen
from rules.backtest.ordered import Kernel, OrderedPass, judged
from rules.backtest.parallel import Hands, Part, in_order
from rules.backtest.parts import DECODE, RENDER, DecodeSpec, RenderSpec, decoded, finished, to_render
from rules.backtest.schema import EVENTS, REQUIRED, format_of
from rules.backtest.tally import Tally
from rules.backtest.verdicts import read_verdicts
from rules.backtest.writer import scores_file
from rules.event import E_AT_US, E_LISTED
from rules.loader import DetectorSet
from rules.settings import EngineSettings

Progress = Callable[[int], object]
"""Told how many more events are done."""
MakeKernel = Callable[[EngineSettings, DetectorSet], Kernel]


@dataclass(frozen=True)
class Request:
    """What is asked for. ``candidate`` is a rule set to be tried beside the one in force.

    ``level`` says what lists make of a destination (a place in ``LISTINGS``), as if they had been in force all the time.
    """

    events: Path
    scores: Path
    settings: EngineSettings
    in_force: DetectorSet
    candidate: DetectorSet | None = None
    verdicts: Path | None = None
    level: Callable[[str], int | None] | None = None


@dataclass
class Trial:
    """One rule set's way through the events."""

    detectors: DetectorSet
    examples: Examples
    tally: Tally = field(default_factory=Tally)


@dataclass
class Findings:
    """What came out: the trial that SCORES are of, and the one in force where there was a candidate."""

    written: Trial
    in_force: Trial | None
    ignored: tuple[str, ...]
    verdicts: int = 0
    verdicts_used: int = 0
    verdicts_unmatched: int = 0


class Backtest:
    """One run. Raises :class:`BacktestError` from ``run`` when it cannot be carried out; then nothing is written."""

    def __init__(self, request: Request, make_kernel: MakeKernel, workers: Hands, progress: Progress) -> None:
        self._request = request
        self._workers = workers
        self._progress = progress
        _check_paths(request)
        self._source = open_source(request.events, EVENTS, REQUIRED)
        self._verdicts = read_verdicts(request.verdicts) if request.verdicts else None
        sets = [request.candidate or request.in_force, *([request.in_force] if request.candidate else [])]
        self._trials = [Trial(one, Examples(one.running, self._verdicts)) for one in sets]
        self._passes = [OrderedPass(make_kernel(request.settings, one)) for one in sets]
        self._matched = 0
        self._listed: deque[F8 | None] = deque()
        """Of the blocks that are being decoded, in their order."""

    def run(self) -> Findings:
        """Go through the file once."""
        with scores_file(self._request.scores, integer_ids=self._source.integer_ids) as write:
            file = str(self._request.events)
            for answer in in_order(self._workers, self._rendering()):
                write(finished(file, answer))
        verdicts = self._verdicts
        return Findings(
            written=self._trials[0],
            in_force=self._trials[1] if len(self._trials) > 1 else None,
            ignored=self._source.ignored,
            verdicts=len(verdicts.truth) if verdicts is not None else 0,
            verdicts_used=self._passes[0].used,
            verdicts_unmatched=len(verdicts.truth) - self._matched if verdicts is not None else 0,
        )

    def _rendering(self) -> Iterator[Part]:
        integer_ids, format_ = self._source.integer_ids, format_of(self._request.scores)
        for number, encoded in enumerate(self._decoded()):
            spec = msgspec.json.encode(RenderSpec(number, format_, integer_ids))
            yield Part(RENDER, number, spec, to_render(encoded.identities, self._score(encoded)))
            self._progress(len(encoded.rows))

    def _score(self, encoded: Encoded) -> F8:
        found = judged(self._verdicts, encoded.digests)
        self._matched += len(found.event)
        outs = []
        for one, trial in zip(self._passes, self._trials, strict=True):
            scored = one.score(encoded.rows, found, trial.examples.watch(found))
            trial.tally.add(scored, found)
            trial.examples.add(scored, found, encoded.identities)
            outs.append(scored.out)
        return outs[0]

    def _decoded(self) -> Iterator[Encoded]:
        file, seen, last_us, first_row = str(self._request.events), Seen(), -1.0, 1
        for answer in in_order(self._workers, self._decoding()):
            encoded = self._with_lists(decoded(file, answer))
            if len(encoded.rows) and encoded.rows[0, E_AT_US] < last_us:
                problem = "is before the row above it: sort the file by occurred_at"
                raise EventsFileError(file, problem, column="occurred_at", row=first_row)
            again = seen.again(encoded.digests)
            if again is not None:
                problem = (
                    f"{encoded.identities[again].as_py()!r} stands in the file before: each event needs its own id"
                )
                raise EventsFileError(file, problem, column="event_id", row=first_row + again)
            last_us = encoded.rows[-1, E_AT_US] if len(encoded.rows) else last_us
            first_row += len(encoded.rows)
            yield encoded

    def _decoding(self) -> Iterator[Part]:
        level, salt = self._request.level, self._request.settings.salt
        for block in blocks(self._source):
            if level is not None:  # looked up here: lists may be far larger than a block
                self._listed.append(listed(block, level))
            yield Part(DECODE, block.number, msgspec.json.encode(_spec(block, self._source, salt)), block.payload)

    def _with_lists(self, encoded: Encoded) -> Encoded:
        found = self._listed.popleft() if self._listed else None
        if found is None:
            return encoded
        rows = encoded.rows.copy()
        rows[:, E_LISTED] = found
        return encoded._replace(rows=rows)


def _spec(block: Block, source: Source, salt: str) -> DecodeSpec:
    return DecodeSpec(block.number, block.first_row, block.rows, block.lines, source.integer_ids, salt)


def _check_paths(request: Request) -> None:
    """Find out before the work whether the result can be written."""
    format_of(request.scores)
    inputs = [path for path in (request.events, request.verdicts) if path is not None]
    if any(_same(path, request.scores) for path in inputs):
        raise EventsFileError(str(request.scores), "is also an input: name another file for the scores")
    if not request.scores.parent.is_dir():
        raise EventsFileError(str(request.scores), f"cannot be written: there is no folder {request.scores.parent}")
    if request.scores.is_dir():
        raise EventsFileError(str(request.scores), "is a folder: name a file for the scores")


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
