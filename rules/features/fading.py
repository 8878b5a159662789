"""What is left at an event's time of everything that fades: worked out for all at once, eight powers to an instruction.

Rules enforced here:
- Time never goes back: what was noted later than the event is left whole.
- A power is that of ``arithmetic.exp`` or ``exp2`` to the last bit. Eight take hardly longer than one, and what would
  wait for each of them in turn waits once.
- Velocity windows fade by time constants and end after forty of them; everything else but the values paid to a
  destination fades by half-lives.
"""

from math import inf
from typing import Final

from rules.arithmetic import exp2_of_past, exp_of_past
from rules.baseline.layout import ACTOR_SURPRISE_US, LAST_US, OUT_US, PLACE_SURPRISE_US, SURPRISE_US
from rules.compiled import compiled
from rules.features.frame import (
    DAY_S,
    DAY_US,
    HOUR_S,
    HOUR_US,
    N_LEFT,
    N_MODEL_FADES,
    N_NOW_US,
    US,
    Frame,
)

WINDOWS_S: Final = (60.0, 600.0, HOUR_S, DAY_S, 7 * DAY_S, 30 * DAY_S)
"""Time constants of the windows of velocity."""
_PLACES: Final = 8
_VALUE: Final = len(WINDOWS_S)
_CONSTANTS: Final = (*WINDOWS_S, HOUR_US, 1.0)
_GONE: Final = (*(40.0 for _ in WINDOWS_S), inf, inf)
_HALF_LIVES_US: Final = (90.0 * DAY_US, 7.0 * DAY_US, 32.0 * DAY_US, 2.0 * DAY_US, 2.0 * DAY_US, 2.0 * DAY_US, 1.0, 1.0)
"""Of the account's model of sizes, of young habits, of a long spell; of recent scores of account, actor and device."""
_OWN: Final = 3
_ACTOR: Final = 4
_DEVICE: Final = 5


@compiled
def measure(f: Frame) -> None:
    """Set what is left of everything at the frame's time."""
    measure_windows(f)
    now_us = f.now[N_NOW_US]
    out_us = max(0.0, now_us - f.account[OUT_US])
    own_us = max(0.0, now_us - f.account[SURPRISE_US])
    actor_us = max(0.0, now_us - f.actor[ACTOR_SURPRISE_US])
    device_us = max(0.0, now_us - f.device[PLACE_SURPRISE_US])
    for at in range(_PLACES):
        later_us = own_us if at == _OWN else actor_us if at == _ACTOR else device_us
        f.now[N_MODEL_FADES + at] = exp2_of_past(-((out_us if at < _OWN else later_us) / _HALF_LIVES_US[at]))


@compiled
def measure_windows(f: Frame) -> None:
    """Set what is left of each velocity window, and of the values that were paid to the destination."""
    now_us = f.now[N_NOW_US]
    gap_s = max(0.0, (now_us - f.account[OUT_US]) / US)
    paid_us = max(0.0, now_us - f.destination[LAST_US])
    for at in range(_PLACES):
        spent = (gap_s if at < _VALUE else paid_us) / _CONSTANTS[at]
        left = exp_of_past(-spent)
        f.now[N_LEFT + at] = left if spent < _GONE[at] else 0.0
