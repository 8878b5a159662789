"""A verdict of people as the row that the kernel learns, and how often each detector was found right or wrong.

Rule: a verdict gives back what the score was made of, maybe by way of a database. Two of these numbers are places in tables,
and compiled code writes to a place without asking: so every number is checked here, before anything changes.
"""

from typing import Final

import numpy as np

from rules.arrays import F8
from rules.baseline.layout import FORMAT, WIDTH, Kind
from rules.baseline.reputation import NO_CELL
from rules.baseline.shared import BADS, FINE, STREAKS
from rules.baseline.tables import format_word
from rules.errors import LearningRecordError
from rules.event import fingerprint
from rules.fusion import J_CELLS, J_CLASSES, J_SCORE, JUDGED_WORDS
from rules.learning import Verdict
from rules.outcome import V_ACCOUNT, V_AT_US, V_JUDGED, V_KNOWN_US, V_TRUTH, VERDICT_WIDTH

COUNTED_AT: Final = {"true_positive": 5, "false_positive": 6}
"""Where a detector's record counts a verdict."""
_CELLS: Final = slice(J_CELLS - J_SCORE, J_CLASSES - J_SCORE)
"""Among the words of ``judged``: the state of each entity as a place in tables, or ``NO_CELL``."""
_MOST_CELL: Final = STREAKS * BADS * FINE - 1
_MOST: Final = 1e4
"""Scores and hazards are logarithms: none comes near it."""


def no_verdicts() -> F8:
    """A detector's record before the first verdict."""
    counts = np.zeros(WIDTH[Kind.VERDICT], np.float64)
    counts[FORMAT] = format_word(Kind.VERDICT)
    return counts


def verdict_row(verdict: Verdict, salt: str) -> F8 | None:
    """The row of a verdict; None without an event time. Raises :class:`LearningRecordError`."""
    if verdict.verdict not in COUNTED_AT:
        raise LearningRecordError(f"verdict {verdict.verdict!r} is not one of {', '.join(sorted(COUNTED_AT))}")
    if verdict.occurred_at_us is None:
        return None
    row = np.zeros(VERDICT_WIDTH, np.float64)
    row[V_KNOWN_US] = float(verdict.known_at_us or verdict.occurred_at_us)
    row[V_TRUTH] = float(verdict.verdict == "true_positive")
    row[V_AT_US] = float(verdict.occurred_at_us)
    named = (verdict.account, verdict.actor, verdict.destination, verdict.device, verdict.network)
    row[V_ACCOUNT:V_JUDGED] = [fingerprint(name, salt) if name else 0.0 for name in named]
    row[V_JUDGED:] = _checked(verdict.judged) if verdict.judged else _of_score(verdict.score)
    return row


def _of_score(score: float) -> F8:
    """The words of an activity of which the score alone is known."""
    words = np.zeros(JUDGED_WORDS, np.float64)
    words[0], words[_CELLS] = score, NO_CELL
    return words


def _checked(judged: tuple[float, ...]) -> F8:
    words = np.array(judged, np.float64)
    fits = len(words) == JUDGED_WORDS and bool((np.abs(words) <= _MOST).all())
    if not fits or not ((words[_CELLS] >= NO_CELL) & (words[_CELLS] <= _MOST_CELL)).all():
        raise LearningRecordError(
            f"verdict.judged must be {JUDGED_WORDS} numbers in range, as the assessment told them"
        )
    return words
