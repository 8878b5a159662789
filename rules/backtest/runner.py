"""Carry out a back-test: blocks in, scores out, everything counted on the way.

Rules: decoding and rendering are shared out, the pass through the engine is one, and what is written is the same however
they are shared. The candidate's engine and the one in force see the same rows; SCORES are the candidate's where there is
one. Memory is bounded by a few blocks, by ids (8 bytes an event) and by waiting verdicts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from rules.arrays import F8
from rules.backtest.blocks import Block, Source, blocks, open_source
from rules.backtest.encode import Encoded
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
from rules.event import E_AT_US
from rules.loader import DetectorSet
from rules.settings import EngineSettings

Progress = Callable[[int], object]
"""Told how many more events are done."""
MakeKernel = Callable[[EngineSettings, DetectorSet], Kernel]


@dataclass(frozen=True)
class Request:
    """What is asked for. ``candidate`` is a rule set to be tried beside the one in force."""

    events: Path
    scores: Path
    settings: EngineSettings
    in_force: DetectorSet
    candidate: DetectorSet | None = None
    verdicts: Path | None = None


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
        for answer in in_order(self._workers, _decoding(self._source, self._request.settings.salt)):
            encoded = decoded(file, answer)
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


def _decoding(source: Source, salt: str) -> Iterator[Part]:
    for block in blocks(source):
        yield Part(DECODE, block.number, msgspec.json.encode(_spec(block, source, salt)), block.payload)


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
