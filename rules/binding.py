"""How the kernel's few arrays are cut into what it works on.

Rules: everything stands in four arrays, so that a call from Python costs a microsecond: the arena of records, integers
(the pools' places, marks, notes of changed records, the index), the shared sections, and the scratch of one event. The
same cuts are made in Python and in compiled code.
"""

from typing import Final, NamedTuple

from rules.arrays import F8, I8
from rules.baseline.layout import WIDTH, Kind
from rules.baseline.shared import (
    BUDGET_WORDS,
    BUDGETS,
    CLASSES,
    CLOCK_WORDS,
    FIRST_FEATURE,
    HAZARD_WORDS,
    KINDS_JUDGED,
    SETTING_WORDS,
    TAUGHT_WORDS,
    Section,
    Shared,
    sections,
)
from rules.baseline.tables import LINE, META_WIDTH, POOLS, Places
from rules.baseline.tails import HEAD_WORDS, TAIL_WIDTH
from rules.compiled import compiled
from rules.event import EVENT_WIDTH
from rules.features.frame import BLOCK_WIDTH, MEASURED_MOST, MEASURED_WIDTH, NOW_WIDTH, RESULT_WIDTH, Frame
from rules.features.names import COUNT, NAMES, TAILED
from rules.outcome import MAX_REASONS, REASON_WIDTH

SECTIONS: Final[tuple[Section, ...]] = sections(NAMES, TAILED)
COMMON_WORDS: Final = SECTIONS[-1].start + SECTIONS[-1].words

_TAILS: Final = FIRST_FEATURE + TAILED
_POPULATION_AT: Final = SETTING_WORDS
_CLOCK_AT: Final = _POPULATION_AT + WIDTH[Kind.POPULATION]
_BUDGETS_AT: Final = _CLOCK_AT + CLOCK_WORDS
_TAILS_AT: Final = _BUDGETS_AT + len(BUDGETS) * BUDGET_WORDS
_FREE_AT: Final = _TAILS_AT + _TAILS * TAIL_WIDTH
_FINAL_AT: Final = _FREE_AT + len(CLASSES) * TAIL_WIDTH
_TAUGHT_AT: Final = _FINAL_AT + len(CLASSES) * TAIL_WIDTH
_HAZARD_AT: Final = _TAUGHT_AT + len(KINDS_JUDGED) * TAUGHT_WORDS
_HEADS_AT: Final = _HAZARD_AT + HAZARD_WORDS
_END: Final = _HEADS_AT + HEAD_WORDS * TAILED
_CLASSES: Final = len(CLASSES)
_JUDGED: Final = len(KINDS_JUDGED)
_BUDGETS: Final = len(BUDGETS)

# Places of sections among the marks.
MARK_POPULATION: Final = 0
MARK_CLOCK: Final = 1
MARK_BUDGETS: Final = 2
MARK_TAILS: Final = 3
MARK_FREE: Final = MARK_TAILS + _TAILS
MARK_FINAL: Final = MARK_FREE + _CLASSES
MARK_TAUGHT: Final = MARK_FINAL + _CLASSES
MARK_HAZARD: Final = MARK_TAUGHT + _JUDGED
MARK_HEADS: Final = MARK_HAZARD + 1

META_ROWS: Final = len(POOLS) + 1
_MARKS_AT: Final = META_ROWS * META_WIDTH
_MARKS: Final = 256
_AHEAD_AT: Final = _MARKS_AT + _MARKS
ROWS_AHEAD: Final = 4
"""Rows of slots that are looked up ahead, of which each is used and made anew in turn."""
_DIRTY_AT: Final = _AHEAD_AT + ROWS_AHEAD * LINE
DIRTY_MOST: Final = 65_536
"""Notes of changed records that are kept before they must be taken."""
INDEX_AT: Final = _DIRTY_AT + DIRTY_MOST

_NOW_AT: Final = EVENT_WIDTH
_VALUES_AT: Final = _NOW_AT + NOW_WIDTH
_MEASURED_AT: Final = _VALUES_AT + 6 * COUNT + TAILED
_COUNTS_AT: Final = _MEASURED_AT + MEASURED_MOST * MEASURED_WIDTH
_SUMS_AT: Final = _COUNTS_AT + BLOCK_WIDTH
_RESULT_AT: Final = _SUMS_AT + BLOCK_WIDTH
_REASONS_AT: Final = _RESULT_AT + RESULT_WIDTH
_FIRED_AT: Final = _REASONS_AT + MAX_REASONS * REASON_WIDTH
FIRED_MOST: Final = 256
_PRIOR_AT: Final = _FIRED_AT + FIRED_MOST
SCRATCH_WORDS: Final = _PRIOR_AT + WIDTH[Kind.POPULATION]


class Told(NamedTuple):
    """What was told of the last event: its reasons as rows of ``rules.outcome``; how many guards held, and which."""

    reasons: F8
    fired: F8


def cut_places(arena: F8, integers: I8) -> Places:
    """The pools."""
    return Places(
        arena,
        integers[INDEX_AT:],
        integers[:_MARKS_AT].reshape((META_ROWS, META_WIDTH)),
        integers[_DIRTY_AT:INDEX_AT],
        integers[_AHEAD_AT:_DIRTY_AT],
    )


def cut_shared(common: F8, integers: I8) -> Shared:
    """The sections."""
    return Shared(
        common[:_POPULATION_AT],
        common[_POPULATION_AT:_CLOCK_AT],
        common[_CLOCK_AT:_BUDGETS_AT],
        common[_BUDGETS_AT:_TAILS_AT].reshape((_BUDGETS, BUDGET_WORDS)),
        common[_TAILS_AT:_FREE_AT].reshape((_TAILS, TAIL_WIDTH)),
        common[_FREE_AT:_FINAL_AT].reshape((_CLASSES, TAIL_WIDTH)),
        common[_FINAL_AT:_TAUGHT_AT].reshape((_CLASSES, TAIL_WIDTH)),
        common[_TAUGHT_AT:_HAZARD_AT].reshape((_JUDGED, TAUGHT_WORDS)),
        common[_HAZARD_AT:_HEADS_AT],
        common[_HEADS_AT:_END].reshape((HEAD_WORDS, TAILED)),
        integers[_MARKS_AT:_AHEAD_AT],
    )


def cut_frame(scratch: F8) -> Frame:
    """The frame; what stands for its records is nobody's. ``prior`` is room for what a group's members are shrunk to."""
    blank = scratch[SCRATCH_WORDS:]
    return Frame(
        scratch[:_NOW_AT],
        scratch[_NOW_AT:_VALUES_AT],
        scratch[_VALUES_AT : _VALUES_AT + COUNT],
        scratch[_VALUES_AT + COUNT : _VALUES_AT + 2 * COUNT],
        scratch[_VALUES_AT + 2 * COUNT : _VALUES_AT + 3 * COUNT],
        scratch[_VALUES_AT + 3 * COUNT : _VALUES_AT + 4 * COUNT],
        scratch[_VALUES_AT + 4 * COUNT : _VALUES_AT + 5 * COUNT],
        scratch[_MEASURED_AT:_COUNTS_AT].reshape((MEASURED_MOST, MEASURED_WIDTH)),
        scratch[_COUNTS_AT:_SUMS_AT],
        scratch[_SUMS_AT:_RESULT_AT],
        scratch[_VALUES_AT + 5 * COUNT : _VALUES_AT + 6 * COUNT],
        scratch[_VALUES_AT + 6 * COUNT : _MEASURED_AT],
        scratch[_RESULT_AT:_REASONS_AT],
        blank,
        blank,
        blank,
        blank,
        blank,
        blank,
        scratch[_PRIOR_AT:SCRATCH_WORDS],
        blank,
    )


def cut_told(scratch: F8) -> Told:
    """What was told."""
    return Told(scratch[_REASONS_AT:_FIRED_AT].reshape((MAX_REASONS, REASON_WIDTH)), scratch[_FIRED_AT:_PRIOR_AT])


places_of = compiled(cut_places)
shared_of = compiled(cut_shared)
frame_of = compiled(cut_frame)
told_of = compiled(cut_told)
