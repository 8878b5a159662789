"""What was odd here lately: the highest recent score of the account, the actor and the device, fading by half in two days.

It enters the score as context: it raises what the next moderately odd event is worth. The account's own recent oddness
does so through its chances of being in a spell already (``fusion``), so only the actor's and the device's count here.
"""

from typing import Final

from rules.arrays import F8
from rules.baseline.layout import (
    ACTOR_SURPRISE,
    ACTOR_SURPRISE_US,
    PLACE_SURPRISE,
    PLACE_SURPRISE_US,
    SURPRISE,
    SURPRISE_US,
)
from rules.baseline.statistics import CAP
from rules.compiled import compiled
from rules.event import E_ACCOUNT, E_ACTOR, E_DEVICE
from rules.features.declared import Group, declare
from rules.features.frame import N_NOW_US, N_RECENT, N_RECENT_FADES, R_RAW, Frame

_OWN: Final = 0
_ACTOR: Final = 1
_DEVICE: Final = 2

RECENT = declare(
    "recent_surprise",
    unit="raw score, decayed",
    reads="scores of earlier activities of the account, the actor and the device, half-life 2 d",
    null_when="none of them is told",
    group=Group("context", 0.02),
)


@compiled
def measure(f: Frame) -> None:
    """Tell how odd it was here lately.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested")["recent_surprise"]
    0.0
    """
    if f.event[E_ACCOUNT] == 0.0 and f.event[E_ACTOR] == 0.0 and f.event[E_DEVICE] == 0.0:
        return
    left, fades = f.now[N_RECENT : N_RECENT + 3], f.now[N_RECENT_FADES : N_RECENT_FADES + 3]
    left[_OWN] = max(0.0, f.account[SURPRISE]) * fades[_OWN] if f.event[E_ACCOUNT] != 0.0 else 0.0
    left[_ACTOR] = max(0.0, f.actor[ACTOR_SURPRISE]) * fades[_ACTOR] if f.event[E_ACTOR] != 0.0 else 0.0
    left[_DEVICE] = max(0.0, f.device[PLACE_SURPRISE]) * fades[_DEVICE] if f.event[E_DEVICE] != 0.0 else 0.0
    others = max(left[_ACTOR], left[_DEVICE])
    f.values[RECENT] = max(left[_OWN], others)
    f.low[RECENT] = 0.0
    f.high[RECENT] = 1.0
    f.surprise[RECENT] = min(CAP, others)


@compiled
def remember(f: Frame) -> None:
    """Remember this score where it is higher than what is left of earlier ones."""
    if f.event[E_ACCOUNT] != 0.0:
        _raise(f, f.account, SURPRISE, SURPRISE_US, f.now[N_RECENT + _OWN])
    if f.event[E_ACTOR] != 0.0:
        _raise(f, f.actor, ACTOR_SURPRISE, ACTOR_SURPRISE_US, f.now[N_RECENT + _ACTOR])
    if f.event[E_DEVICE] != 0.0:
        _raise(f, f.device, PLACE_SURPRISE, PLACE_SURPRISE_US, f.now[N_RECENT + _DEVICE])


@compiled
def _raise(f: Frame, record: F8, at: int, time_at: int, left: float) -> None:
    now_us = f.now[N_NOW_US]
    if f.result[R_RAW] >= left:
        record[at] = f.result[R_RAW]
        record[time_at] = max(now_us, record[time_at])
