"""The one kernel for live use, replay and back-tests: what Python calls.

Rules enforced here:
- There is one loop for one row and for a million, so a back-test and the live engine give the same bits. It stops where
  somebody must look at what it measured, and goes on as told.
- Somebody must look when a detector's guard holds or the score alone decides something. History never alerts.
- Nothing here knows a clock, a rule's text or an incident: operations and rows say everything.
"""

from typing import Final, NamedTuple

import numpy as np

from rules.ahead import ask_at_first, ask_at_last, ask_when_told, ask_when_weighed
from rules.arrays import F8, I8
from rules.baseline.tables import LINE
from rules.binding import FIRED_MOST, Told, frame_of, places_of, shared_of, told_of
from rules.committing import LEARN, SKIP, commit
from rules.compiled import compiled, entry
from rules.event import E_AT_US, E_COUNTS, E_FROZEN, E_HISTORY, E_KIND, EVENT_WIDTH, KINDS
from rules.features import catalogue
from rules.features.frame import (
    N_BALANCE_TOLD_US,
    N_BALANCE_USD,
    N_BY_GROUP,
    N_LISTED,
    N_NOW_US,
    N_PARTS,
    R_CALIBRATED,
    R_DECISION,
    R_FREE_SCORE,
    R_HISTORY,
    R_JUDGED,
    R_LEVEL,
    R_OPERATION,
    R_P,
    R_RAW,
    R_SCORE,
    R_TAIL,
    Frame,
)
from rules.fusion import JUDGED_WORDS
from rules.guards import Guards, passes
from rules.judging import learn
from rules.measuring import measured
from rules.outcome import (
    MAX_REASONS,
    O_BALANCE_TOLD_US,
    O_BALANCE_USD,
    O_BY_GROUP,
    O_CALIBRATED,
    O_DECISION,
    O_FREE,
    O_HISTORY,
    O_JUDGED,
    O_LEVEL,
    O_NOW_US,
    O_OPERATION,
    O_P_VALUE,
    O_RAW,
    O_REASONS,
    O_SCORE,
    O_TAIL,
    REASON_WIDTH,
    V_KNOWN_US,
    W_FEATURE,
    W_HIGH,
    W_LOW,
    W_SHARE,
    W_VALUE,
)

DONE: Final = 0
LOOK: Final = 1
NO_ROOM: Final = 2

P_ROW: Final = 0
P_VERDICT: Final = 1
P_FORCED: Final = 2
P_OPERATION: Final = 3
P_MODE: Final = 4
PLACE_WIDTH: Final = 8
"""Words of ``place``: the next row and verdict, whether the next row is committed as told, as what, and the mode."""

COMMIT: Final = 0
MEASURE: Final = 1

G_INDEX: Final = 0
G_SURPRISING: Final = 1
G_OPERATOR: Final = 2
G_NUMBER: Final = 3
G_POSITION: Final = 4
GUARD_WIDTH: Final = 5
_LEAST_SHARE: Final = 0.02
_MOST_FIRED: Final = FIRED_MOST - 1


class Held(NamedTuple):
    """What an engine holds: the state's three arrays, the scratch of one event, the packed guards."""

    arena: F8
    integers: I8
    common: F8
    scratch: F8
    guards: F8


class Work(NamedTuple):
    """What is to be done: rows of events, their out rows (none when nobody reads them), verdicts, and the place."""

    events: F8
    out: F8
    verdicts: F8
    place: I8


def packed(guards: Guards) -> F8:
    """Guards in one array: where each kind's guards begin, then the guards kind by kind."""
    rows: list[list[float]] = []
    starts: list[float] = []
    first = 1 + (len(KINDS) + GUARD_WIDTH) // GUARD_WIDTH
    for kind in range(len(KINDS)):
        starts.append(float(first + len(rows)))
        rows += [
            [
                float(guards.feature[at]),
                float(guards.surprising[at]),
                float(guards.op[at]),
                float(guards.number[at]),
                float(at),
            ]
            for at in np.flatnonzero(guards.kinds[:, kind])
        ]
    starts.append(float(first + len(rows)))
    table = np.zeros((first + len(rows), GUARD_WIDTH), np.float64)
    table.reshape(-1)[: len(starts)] = starts
    table[first:] = np.array(rows, np.float64).reshape(-1, GUARD_WIDTH)
    return table


_passes = compiled(passes)


@compiled
def _guards(f: Frame, guards: F8, fired: F8) -> bool:
    """Note which detectors' guards hold. The head of ``guards`` says where each kind's guards begin."""
    kind = int(f.event[E_KIND])
    starts = guards.reshape(-1)
    found = 0
    for row in range(int(starts[kind]), int(starts[kind + 1])):
        guard = guards[row]
        index = int(guard[G_INDEX])
        value = f.surprise[index] if guard[G_SURPRISING] == 1.0 else f.values[index]
        if _passes(value, guard[G_OPERATOR], guard[G_NUMBER]) and found < _MOST_FIRED:
            found += 1
            fired[found] = guard[G_POSITION]
    fired[0] = found
    return found > 0


@compiled
def _weaker(reason: F8, feature: int, share: float) -> bool:
    """Whether a reason stands behind a feature with this share."""
    return bool(reason[W_SHARE] < share or (reason[W_SHARE] == share and reason[W_FEATURE] > feature))


@compiled
def _tell(f: Frame, reasons: F8) -> None:
    """The largest shares of the score, in falling order, ties by index, with the usual ranges."""
    found = 0
    for at in range(int(f.now[N_PARTS])):
        feature = int(f.now[N_LISTED + at])
        share = f.parts[feature]
        if share < _LEAST_SHARE:
            continue
        row = found
        while row > 0 and _weaker(reasons[row - 1], feature, share):
            row -= 1
        if row == MAX_REASONS:
            continue
        for lower in range(min(found, MAX_REASONS - 1), row, -1):
            reasons[lower, W_FEATURE] = reasons[lower - 1, W_FEATURE]
            reasons[lower, W_SHARE] = reasons[lower - 1, W_SHARE]
        reasons[row, W_FEATURE] = feature
        reasons[row, W_SHARE] = share
        found = min(found + 1, MAX_REASONS)
    for row in range(found):
        feature = int(reasons[row, W_FEATURE])
        reasons[row, W_VALUE] = f.values[feature]
        reasons[row, W_LOW] = f.low[feature]
        reasons[row, W_HIGH] = f.high[feature]
    if found < MAX_REASONS:
        reasons[found, W_FEATURE] = -1.0


@compiled
def _looked_at(f: Frame, guards: F8, told: Told, every: bool) -> bool:  # noqa: FBT001 -- compiled code knows no names
    """Whether somebody must look at a measured event before it is committed.

    Tells its reasons, and ``every`` usual range or only theirs: whoever looks may read any.
    """
    f.result[R_DECISION] = 0.0
    f.result[R_OPERATION] = SKIP if f.event[E_FROZEN] != 0.0 or f.event[E_COUNTS] == 0.0 else LEARN
    held = _guards(f, guards, told.fired)
    looked_at = (held or f.result[R_LEVEL] > 0.0) and f.event[E_HISTORY] == 0.0
    catalogue.tell_ranges(f, 0.0 if looked_at or every else _LEAST_SHARE)
    _tell(f, told.reasons)
    return bool(looked_at)


@compiled
def _copy_line(words: F8, to: F8) -> None:
    """Copy eight words. All are read before any is written, so that one instruction does each."""
    one, two, three, four = words[0], words[1], words[2], words[3]
    five, six, seven, eight = words[4], words[5], words[6], words[7]
    to[0], to[1], to[2], to[3] = one, two, three, four
    to[4], to[5], to[6], to[7] = five, six, seven, eight


@compiled
def _write(f: Frame, reasons: F8, out: F8) -> None:
    result = f.result
    out[O_NOW_US] = f.now[N_NOW_US]
    out[O_BALANCE_TOLD_US] = f.now[N_BALANCE_TOLD_US]
    out[O_BALANCE_USD] = f.now[N_BALANCE_USD]
    out[O_BY_GROUP] = f.now[N_BY_GROUP]
    out[O_SCORE] = result[R_SCORE]
    out[O_P_VALUE] = result[R_P]
    out[O_DECISION] = result[R_DECISION]
    out[O_HISTORY] = result[R_HISTORY]
    out[O_RAW] = result[R_RAW]
    out[O_FREE] = result[R_FREE_SCORE]
    out[O_TAIL] = result[R_TAIL]
    out[O_CALIBRATED] = result[R_CALIBRATED]
    out[O_OPERATION] = result[R_OPERATION]
    out[O_LEVEL] = result[R_LEVEL]
    for word in range(JUDGED_WORDS):
        out[O_JUDGED + word] = result[R_JUDGED + word]
    for row in range(MAX_REASONS):
        for word in range(REASON_WIDTH):
            out[O_REASONS + row * REASON_WIDTH + word] = reasons[row, word]
        if reasons[row, W_FEATURE] < 0.0:
            return


@entry
def run(held: Held, work: Work) -> int:
    """Work through rows in order; ``work.place`` says from where on and how, and where it stopped.

    ``DONE``: all rows are done. ``LOOK``: somebody must look at row ``place[P_ROW]``, which is measured, its out row
    written, and not committed; ``P_FORCED`` commits it as ``P_OPERATION`` says. ``NO_ROOM``: that row's account has no
    room, and nothing of it was written. In ``MEASURE`` mode nothing is ever written but the out row.
    Verdicts from ``place[P_VERDICT]`` on are learned before the first row that is not earlier.
    """
    p, s = places_of(held.arena, held.integers), shared_of(held.common, held.integers)
    f, told = frame_of(held.scratch), told_of(held.scratch)
    events, verdicts, place = work.events, work.verdicts, work.place
    while place[P_ROW] < len(events):
        at = place[P_ROW]
        while place[P_VERDICT] < len(verdicts) and verdicts[place[P_VERDICT], V_KNOWN_US] <= events[at, E_AT_US]:
            learn(p, s, verdicts[place[P_VERDICT]])
            place[P_VERDICT] += 1
        for word in range(0, EVENT_WIDTH, LINE):
            _copy_line(events[at, word:], f.event[word:])
        ask_at_first(p, events, at)
        m = measured(p, s, f, events, at)
        ask_when_weighed(p, events, at)
        if place[P_FORCED] == 1:
            m.result[R_OPERATION] = place[P_OPERATION]
            place[P_FORCED] = 0
        else:
            looked_at = _looked_at(m, held.guards, told, len(events) == 1)
            if len(work.out) > 0:
                _write(m, told.reasons, work.out[at])
            if place[P_MODE] == MEASURE:
                return LOOK if looked_at else DONE
            if looked_at:
                return LOOK
        ask_when_told(p, events, at)
        if not commit(p, s, m, int(m.result[R_OPERATION]), events, at):
            return NO_ROOM
        ask_at_last(work.out, at)
        place[P_ROW] = at + 1
    return DONE


@entry
def judge(held: Held, verdict: F8) -> None:
    """Learn one row of a verdict (words ``V_*``)."""
    learn(places_of(held.arena, held.integers), shared_of(held.common, held.integers), verdict)
