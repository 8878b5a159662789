"""A budget of alerts a day, kept by integral gain.

Rules enforced here:
- The level is the asked share of events, corrected by what is owed: an integral controller (Astrom and Murray 2008,
  section 11.1) whose debt is bounded on both sides, so that neither silence nor a burst is paid back for long.
- Every alert counts, also one that a detector forces: people's time is one budget.
- The score alone never alerts on more than ``MOST`` of all events: a budget above that is not used up. So on a quiet
  stream the least quiet event is no alarm, and on a busy stream the budget is met without any floor of surprise.
- The level of holds keeps its share of all events over months by the same kind of debt, of at most three holds.
"""

from typing import Final

from rules.arithmetic import exp
from rules.arrays import F8
from rules.compiled import entry

B_LAST_US: Final = 0
B_EVENTS: Final = 1
B_DAYS: Final = 2
"""Decayed events and days of exposure."""
B_OWED: Final = 3
B_ALERTS: Final = 4
"""Decayed alerts, for the report of what was realised."""
MOST: Final = 0.05
_DAY_US: Final = 86_400e6
_LEAST_DAYS: Final = 1e-3
_LEAST_PACE: Final = 0.25
_DOWN: Final = 3.0
_UP: Final = 2.3
_DEEPEST: Final = 3.5
_MOST_HOLDS_OWED: Final = 3.0
_MOST_TIMES: Final = 21.0


@entry
def _owed(budget: F8, a_day: float, now_us: float) -> float:
    if a_day <= 0.0:
        return 0.0
    days = max(now_us - budget[B_LAST_US], 0.0) / _DAY_US if budget[B_LAST_US] > 0.0 else 0.0
    return float(min(budget[B_OWED] + a_day * min(days, 1.0), max(a_day, 1.0)))


@entry
def level(budget: F8, a_day: float, now_us: float) -> float:
    """The p-value at or below which the score alerts now. Changes nothing."""
    pace = max(min(0.5 * a_day, 0.04 * a_day * a_day), _LEAST_PACE)
    rate = (budget[B_EVENTS] + 1.0) / max(budget[B_DAYS], _LEAST_DAYS)
    push = min(max(_owed(budget, a_day, now_us) / pace, -_DOWN), _UP)
    return float(min(min(a_day / max(rate, a_day), 0.5) * exp(push), MOST))


@entry
def elapsed(budget: F8, now_us: float) -> float:
    """Microseconds since the last event; 0 before any."""
    return float(max(now_us - budget[B_LAST_US], 0.0)) if budget[B_LAST_US] > 0.0 else 0.0


@entry
def spend(budget: F8, a_day: float, now_us: float, kept: float, alerted: float) -> None:
    """Count one event, and the alert if it was one; ``kept`` is what the time since the last leaves of earlier ones."""
    elapsed_us = elapsed(budget, now_us)
    budget[B_OWED] = _owed(budget, a_day, now_us)
    budget[B_EVENTS] = budget[B_EVENTS] * kept + 1.0
    budget[B_DAYS] = budget[B_DAYS] * kept + elapsed_us / _DAY_US * (0.5 + 0.5 * kept)
    budget[B_ALERTS] = budget[B_ALERTS] * kept + alerted
    if alerted > 0.0:
        budget[B_OWED] = max(budget[B_OWED] - 1.0, -_DEEPEST * a_day - 1.0) if a_day > 0.0 else 0.0
    budget[B_LAST_US] = max(budget[B_LAST_US], now_us)


@entry
def hold_level(budget: F8, share: float) -> float:
    """The p-value at or below which the score holds now. Changes nothing."""
    return min(share * exp(min(budget[B_OWED] + share, _MOST_HOLDS_OWED)), 1.0)


@entry
def most_held(share: float) -> float:
    """What ``hold_level`` never exceeds, whatever is owed."""
    return _MOST_TIMES * share


@entry
def spend_hold(budget: F8, share: float, held: float) -> None:
    """Count one event, and the hold if it was one."""
    budget[B_EVENTS] += 1.0
    budget[B_ALERTS] += held
    budget[B_OWED] = max(min(budget[B_OWED] + share, _MOST_HOLDS_OWED) - held, -_MOST_HOLDS_OWED)
