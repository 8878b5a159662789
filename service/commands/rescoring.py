"""`portcullis replay --scores`: what was said of every activity, said again by the back-test's kernel, and compared.

Rules: the sequence alone gives the scores, no clock, no file, no incident; they are held against what is stored of each
activity, bit for bit: score, p-value, and the score's own reasons with their shares and usual ranges. What detectors found
follows from their files and is not compared. A reason that a person could have read and that is not given again differs,
and so does one that is missing where it had to be told.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
from sqlalchemy import Connection

from rules.backtest.from_log import Rescored, rescored
from rules.learning import LearningRecord, RecordKind
from rules.loader import DetectorSet
from rules.outcome import TOLD_FROM
from rules.settings import EngineSettings
from rules.signal import Reason
from service.domain.observing import TOLD_BESIDE
from service.store.learning import Said, said_of

MOST_TOLD: Final = 1000
"""Differences that are put into words; the others are counted."""


@dataclass(slots=True)
class Scores:
    """What scoring again found."""

    compared: int = 0
    """Activities whose stored score was held against the one given again."""
    silent: int = 0
    """Activities of which nothing is stored as said: live, those that only took an amount out of the totals."""
    differing: int = 0
    sentences: list[str] = field(default_factory=list)
    """At most `MOST_TOLD` of the differences, in order."""


def scored_again(connection: Connection) -> Scores:
    """Score what the connection's snapshot holds again. Raises RulesError for a row that this version cannot apply."""
    found = Scores()
    stored: deque[tuple[int, Said]] = deque()

    def records() -> Iterator[LearningRecord]:
        for record, said in said_of(connection):
            if said is not None and record.kind == RecordKind.ACTIVITY:
                stored.append((record.seq, said))
            yield record

    for again in rescored(records(), EngineSettings(), DetectorSet((), "")):
        if not stored or stored[0][0] != again.seq:
            found.silent += 1
            continue
        _, said = stored.popleft()
        found.compared += 1
        differs = _difference(said, again)
        if differs:
            found.differing += 1
            if found.differing <= MOST_TOLD:
                found.sentences.append(f"activity {said.activity_id} (row {again.seq}): {differs}")
    return found


def _difference(said: Said, again: Rescored) -> str:
    if said.score != again.score:
        return f"score {said.score!r} is stored, {again.score!r} follows from the sequence"
    if said.p_value != again.p_value:
        return f"p-value {said.p_value!r} is stored, {again.p_value!r} follows from the sequence"
    try:
        kept = msgspec.json.decode(said.reasons or "[]", type=list[Reason])
    except msgspec.MsgspecError as error:
        return f"its stored reasons cannot be read ({error})"
    own = [reason for reason in kept if reason.detector is None and reason.feature not in TOLD_BESIDE]
    if not own and again.score < TOLD_FROM:
        return ""  # not told live: so low, and nothing was decided
    if [_bits(reason) for reason in own] != [_bits(reason) for reason in again.reasons]:
        return "its stored reasons are not those that follow from the sequence"
    return ""


def _bits(reason: Reason) -> tuple[str, str, float]:
    """Return what must be equal. Not the observed value's words: live they may add how old a remembered balance is."""
    return reason.feature, reason.usual, reason.share
