"""From a row of the kernel's numbers to an assessment in words.

Rules: an assessment depends on its out row (``rules.outcome``) and on what was found when somebody looked, so that it may
be made after later rows were worked through. Reasons are told when something was decided or the score is ``TOLD_FROM``.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from rules.arrays import F8
from rules.explain import among_peers, balance_note, reason_for
from rules.features.amount import SHARE_OF_BALANCE
from rules.outcome import (
    MAX_REASONS,
    O_BALANCE_TOLD_US,
    O_BALANCE_USD,
    O_BY_GROUP,
    O_CALIBRATED,
    O_HISTORY,
    O_JUDGED,
    O_NOW_US,
    O_P_VALUE,
    O_REASONS,
    O_SCORE,
    O_TAIL,
    REASON_WIDTH,
    TOLD_FROM,
)
from rules.signal import Assessment, Decision, History, Reason, Signal

_HISTORIES: Final = (History.NOT_ENOUGH, History.ENOUGH)


class Found(NamedTuple):
    """What was found in an event that somebody looked at."""

    signals: tuple[Signal, ...] = ()
    decision: Decision = Decision.ALLOW
    silenced: str | None = None
    playbook: str | None = None


NOTHING: Final = Found()
"""Of an event that nobody had to look at."""


def told_all(rows: F8, found: Mapping[int, Found]) -> list[Assessment]:
    """The assessments of out rows, with what was found in those that somebody looked at, by their places."""
    numbers = rows[:, :O_JUDGED].tolist()
    return [_told(rows, at, numbers[at], found.get(at, NOTHING)) for at in range(len(rows))]


def told(row: F8, found: Found, *, tell: bool = False) -> Assessment:
    """The assessment of one out row; ``tell``: with its reasons however low the score."""
    return _told(row[np.newaxis], 0, row[:O_JUDGED].tolist(), found, tell=tell)


def _told(rows: F8, at: int, numbers: list[float], found: Found, *, tell: bool = False) -> Assessment:
    score = numbers[O_SCORE]
    shown = tell or score >= TOLD_FROM or found.decision is not Decision.ALLOW
    # By place: names would take longer than all the rest, and this runs for every event.
    return Assessment(
        score,
        numbers[O_P_VALUE],
        found.decision,
        _HISTORIES[numbers[O_HISTORY] == 1.0],
        _reasons(rows[at]) if shown else (),
        found.signals,
        found.playbook,
        numbers[O_TAIL] != 0.0,
        numbers[O_CALIBRATED] != 0.0,
        tuple(rows[at, O_JUDGED:O_REASONS].tolist()) if shown else (),
        found.silenced,
    )


def _reasons(row: F8) -> tuple[Reason, ...]:
    found = []
    told_of = row[O_REASONS : O_REASONS + MAX_REASONS * REASON_WIDTH].reshape((MAX_REASONS, REASON_WIDTH))
    for index, value, low, high, share in told_of.tolist():
        if index < 0.0:
            break
        reason = among_peers(reason_for(int(index), value, low, high, share, None), float(row[O_BY_GROUP]))
        note = _note(row) if int(index) == SHARE_OF_BALANCE else ""
        found.append(Reason(reason.feature, reason.observed + note, reason.usual, share) if note else reason)
    return tuple(found)


def _note(row: F8) -> str:
    return balance_note(float(row[O_NOW_US]), float(row[O_BALANCE_TOLD_US]), float(row[O_BALANCE_USD]))
