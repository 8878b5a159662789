"""Count a score for calibration, and what it was made of for the population's tails; keep the budgets.

Rules enforced here:
- Every score is counted once, except that skipped ones count once per entity and hour: an attack of a thousand transfers
  must not make its own size ordinary.
- Of most features only notable values are evidence, and ordinary ones are sampled (``baseline.tails``).
"""

from typing import Final

from rules.arithmetic import exp2
from rules.arrays import F8
from rules.baseline import budget, tails
from rules.baseline.layout import ACTOR_SKIP_SCORED_US, SKIP_SCORED_US
from rules.baseline.shared import (
    ANY_EVIDENCE,
    ANY_SIZE,
    C_FAST,
    C_SLOW,
    FIRST_FEATURE,
    OWN_EVIDENCE,
    OWN_SIZE,
    S_ALERTS_HIGH,
    S_ALERTS_MEDIUM,
    S_ALERTS_PER_DAY,
    S_HALF_LIFE_US,
    S_HOLD_P,
    Shared,
    advance,
)
from rules.binding import MARK_BUDGETS, MARK_CLOCK, MARK_FINAL, MARK_FREE, MARK_HEADS, MARK_TAILS
from rules.compiled import compiled, lowest
from rules.event import E_ACCOUNT, E_ACTOR, E_FROZEN
from rules.features.frame import (
    HOUR_US,
    N_AMONG,
    N_ANY_EVIDENCE,
    N_ANY_ODD,
    N_NOW_US,
    N_ODD,
    N_OWN_Z,
    N_RAW_EVIDENCE,
    R_CALIBRATED,
    R_CLASS,
    R_EQUAL,
    R_LEVEL,
    R_P,
    R_RAW,
    Frame,
)

_ONE_IN_TEN: Final = 0.1
_ONE_IN_HUNDRED: Final = 0.01
_HOLD: Final = 2.0


@compiled
def _again(view: F8, at: int, now_us: float) -> bool:
    """Whether a skipped score of this entity was counted within the hour; else it is now."""
    if view[at] > 0.0 and now_us - view[at] < HOUR_US:
        return True
    view[at] = now_us
    return False


@compiled
def count(s: Shared, f: Frame, skipped: bool) -> None:  # noqa: FBT001 -- a fact of the operation
    """Count the score for calibration and what it was made of for the population's tails; keep the budgets."""
    now_us = f.now[N_NOW_US]
    alerted = 1.0 if skipped and f.event[E_FROZEN] == 0.0 else 0.0
    _spend(s, f, alerted)
    if skipped:
        if f.event[E_ACCOUNT] != 0.0:
            if _again(f.account, SKIP_SCORED_US, now_us):
                return
        elif f.event[E_ACTOR] != 0.0 and _again(f.actor, ACTOR_SKIP_SCORED_US, now_us):
            return
    deflated = advance(s, now_us)
    s.marks[MARK_CLOCK] = 1
    if deflated & 1:
        s.marks[MARK_TAILS : MARK_TAILS + len(s.tails)] = 1
    if deflated & 2:
        s.marks[MARK_FREE : MARK_FINAL + len(s.final)] = 1
    own = int(f.result[R_CLASS])
    fast = s.clock[C_FAST]
    tails.count(s.free[own], f.result[R_RAW], fast, 1.0)
    final = s.final[own]
    tails.count(final, f.result[R_EQUAL], fast, 1.0)
    if f.result[R_P] <= _ONE_IN_TEN:
        final[tails.T_UP_TO_10] += fast
    if f.result[R_P] <= _ONE_IN_HUNDRED:
        final[tails.T_UP_TO_1] += fast
    s.marks[MARK_FREE + own] = 1
    s.marks[MARK_FINAL + own] = 1
    _count_features(s, f)


@compiled
def _spend(s: Shared, f: Frame, alerted: float) -> None:
    settings, now_us, level = s.settings, f.now[N_NOW_US], f.result[R_LEVEL]
    # Every event is counted into each of them, so that the same time has passed for all.
    kept = exp2(-budget.elapsed(s.budgets[0], now_us) / settings[S_HALF_LIFE_US])
    medium = alerted if level == 1.0 else 0.0
    high = alerted if level == _HOLD else 0.0
    budget.spend(s.budgets[0], settings[S_ALERTS_PER_DAY], now_us, kept, alerted)
    budget.spend(s.budgets[1], settings[S_ALERTS_MEDIUM], now_us, kept, medium)
    budget.spend(s.budgets[2], settings[S_ALERTS_HIGH], now_us, kept, high)
    if f.result[R_CALIBRATED] == 1.0:
        budget.spend_hold(s.budgets[3], settings[S_HOLD_P], high)
    s.marks[MARK_BUDGETS] = 1


@compiled
def _count_features(s: Shared, f: Frame) -> None:
    slow = s.clock[C_SLOW]
    if f.now[N_OWN_Z] == f.now[N_OWN_Z]:
        tails.count(s.tails[OWN_SIZE], f.now[N_OWN_Z], slow, 1.0 - f.now[N_ODD])
        tails.count(s.tails[ANY_SIZE], f.now[N_AMONG], slow, 1.0 - 0.95 * f.now[N_ANY_ODD])
        tails.count(s.tails[OWN_EVIDENCE], f.now[N_RAW_EVIDENCE], slow, 1.0)
        tails.count(s.tails[ANY_EVIDENCE], f.now[N_ANY_EVIDENCE], slow, 1.0)
        s.marks[MARK_TAILS : MARK_TAILS + FIRST_FEATURE] = 1
    due = tails.note(s.heads, f.stands, slow)
    s.marks[MARK_HEADS] = 1
    while due != 0:
        feature = lowest(due)
        due &= due - 1
        tails.count_noted(s.heads, feature, s.tails[FIRST_FEATURE + feature], f.stands[feature], slow)
        s.marks[MARK_TAILS + FIRST_FEATURE + feature] = 1
