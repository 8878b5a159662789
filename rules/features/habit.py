"""What an account often pays is not surprising, however rare it is for others and however far from its mean.

Rules enforced here:
- A habit takes weeks: weights fade by half in 90 days, and count only as far as they are no longer young (half in 7
  days). So neither a spell of thefts nor a patient rise vouches for itself.
- Places are half octaves of the amount in USD, in a window of sixteen octaves that slides up with the account. An amount
  outside of it has no habit: nothing is ever usual because it is off the scale.
- A place is one word: old and young weight, each in 64ths below 2**26. What they are worth is kept once, so that fading
  is one multiplication; places are rewritten only when that worth has fallen to a quarter.
- The amount itself and what lies a quarter of an octave below it count as "that much".
"""

from math import floor
from typing import Final

from rules.arrays import F8
from rules.baseline.layout import HABIT_LOWEST, HABIT_OLD, HABIT_PLACES, HABIT_YOUNG, HABITS
from rules.compiled import compiled
from rules.features.frame import (
    N_LOG2_USD,
    N_MODEL_LEFT,
    N_YOUNG_LEFT,
    Frame,
)
from rules.features.rarity import ANY_HABIT, OWN_HABIT, note

_AN_OCTAVE: Final = 2.0
_START: Final = 16
_WITHIN: Final = 0.5
_OWN_FROM: Final = 0.5
_ANY_FROM: Final = 1.0
_ANY_SHARE: Final = 0.06
_MORE: Final = 10.0
_ONE: Final = 64.0
_MOST: Final = 67_108_863.0
_HIGH: Final = 67_108_864.0
_MASK: Final = 67_108_863
_BITS: Final = 26
_REWRITE: Final = 0.25


@compiled
def measure(f: Frame, weight: float) -> None:
    """Note the most that the amount may be surprising. ``weight`` is what the account's history weighs."""
    account = f.account
    at = _AN_OCTAVE * f.now[N_LOG2_USD] - account[HABIT_LOWEST]
    if account[HABIT_OLD] == 0.0 or not 1.0 <= at < HABIT_PLACES:
        return
    old = account[HABIT_OLD] * f.now[N_MODEL_LEFT] / _ONE
    young = account[HABIT_YOUNG] * f.now[N_YOUNG_LEFT] / _ONE
    below = at - _WITHIN
    place = int(at)
    old_above = 0
    young_above = 0
    for higher in range(place + 1, HABIT_PLACES):
        both = int(account[HABITS + higher])
        old_above += both & _MASK
        young_above += both >> _BITS
    above = old * old_above - young * young_above
    here = _ripe(account[HABITS + place], old, young)
    own = above + here * (place + 1.0 - at)
    if int(below) == place:
        anywhere = above + here * (place + 1.0 - below)
    else:
        anywhere = above + here + _ripe(account[HABITS + place - 1], old, young) * (place - below)
    if anywhere > _ANY_FROM + _ANY_SHARE * weight:
        note(f, ANY_HABIT, anywhere / (weight + _MORE))
    if own > _OWN_FROM:
        note(f, OWN_HABIT, (own - _OWN_FROM) / (weight + _MORE))


@compiled
def _ripe(word: float, old: float, young: float) -> float:
    """The weight of a place that is no longer young."""
    if word == 0.0:
        return 0.0
    both = int(word)
    return old * (both & _MASK) - young * (both >> _BITS)


@compiled
def fade(f: Frame) -> None:
    """Let weights fade to this time; rewrite the places when they are worth little."""
    account = f.account
    if account[HABIT_OLD] == 0.0:
        return
    account[HABIT_OLD] *= f.now[N_MODEL_LEFT]
    account[HABIT_YOUNG] *= f.now[N_YOUNG_LEFT]
    if account[HABIT_OLD] < _REWRITE or account[HABIT_YOUNG] < _REWRITE:
        for place in range(HABITS, HABITS + HABIT_PLACES):
            if account[place] != 0.0:
                both = int(account[place])
                old = floor((both & _MASK) * account[HABIT_OLD] + 0.5)
                account[place] = floor((both >> _BITS) * account[HABIT_YOUNG] + 0.5) * _HIGH + old
        account[HABIT_OLD] = account[HABIT_YOUNG] = 1.0


@compiled
def learn(f: Frame, log2_usd: float, weight: float) -> None:
    """Learn an amount with a weight in [0, 1], shared by the two places nearest to it."""
    account = f.account
    if account[HABIT_OLD] == 0.0:
        account[HABIT_LOWEST] = floor(_AN_OCTAVE * log2_usd) - _START
        account[HABIT_OLD] = account[HABIT_YOUNG] = 1.0
    at = max(1.0, _AN_OCTAVE * log2_usd - account[HABIT_LOWEST])
    if at >= HABIT_PLACES - 1.0:
        slide = int(at) - HABIT_PLACES + 2
        _slide(account, slide)
        at -= slide
    place = int(at - _WITHIN)
    upper = at - _WITHIN - place
    _add(account, HABITS + place, weight * (1.0 - upper))
    _add(account, HABITS + place + 1, weight * upper)


@compiled
def _slide(account: F8, slide: int) -> None:
    """Move the window up; what falls out of it below is forgotten."""
    for place in range(HABIT_PLACES):
        account[HABITS + place] = account[HABITS + place + slide] if place + slide < HABIT_PLACES else 0.0
    account[HABIT_LOWEST] += slide


@compiled
def _add(account: F8, at: int, weight: float) -> None:
    both = int(account[at])
    old = min(_MOST, (both & _MASK) + floor(_ONE * weight / account[HABIT_OLD] + 0.5))
    young = min(_MOST, (both >> _BITS) + floor(_ONE * weight / account[HABIT_YOUNG] + 0.5))
    account[at] = young * _HIGH + old
