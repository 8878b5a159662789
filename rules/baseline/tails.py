"""The population's own tail of any one quantity: how rare a value this large is, among recent ones.

Rules enforced here:
- The answer is conformal (Vovk, Gammerman and Shafer 2005): the decayed share of values at least as large, this one
  counted in, interpolated inside a bin. Beyond what the values resolve an exponential, fitted to the mean excess of the
  largest ones, goes on (Balkema and de Haan 1974, shape 0). So it is finite, strictly falling and practically without
  ties, and whatever unit a quantity has, its surprisal is honest.
- Values decay by inflating new weights (``shared.Clock``); what grows too large is deflated.
- A tail is ``BINS`` equal bins in three levels of sums of what follows, 16 of 8 of 8: a question reads three words, and
  counting adds to few, the fewer the lower a value stands.
- A value of exactly 0 of a quantity that is "0 = ordinary" is only counted: it is the commonest and says nothing. Of a
  quantity of which only notable values are evidence (``note``), what lies well below the notable is sampled: one in eight,
  which counts eight times.
- Most events touch the tail of every feature and tell most of them nothing. The few words that such an event needs
  (``H_*``) therefore stand side by side by feature, and the processor goes through eight features at once. A tail's own
  copies of these words are brought up to date when something is counted into it (``gather``, ``scatter``).
"""

from math import inf
from typing import Final

import numpy as np

from rules.arithmetic import exp2, log10
from rules.arrays import F8
from rules.compiled import entry

BINS: Final = 1024
T_WEIGHT: Final = 0
T_ORDINARY: Final = 1
"""Inflated weight of what lies in bins, and of what was ordinary by definition."""
T_SCALE: Final = 2
"""The inflation of weights at the last count."""
T_KNEE: Final = 3
"""The bin above which the heaviest values lie; -1 before any."""
T_HALF: Final = 4
"""Half-life, in bins, of what is above."""
T_LOW: Final = 5
T_PER_UNIT: Final = 6
T_NOTABLE: Final = 7
"""The value that three in twenty reached when the tail was fitted last: what is below is no evidence. What many values
equal is not above it for sharing its bin."""
T_COUNTED: Final = 8
T_SEEN: Final = 9
"""How many were counted in bins, and how many ever were, whatever their weight."""
T_UP_TO_10: Final = 10
T_UP_TO_1: Final = 11
"""Of a calibration: inflated weight of events whose p-value was told as 0.1 or less, and as 0.01 or less."""
T_SLOPE: Final = 12
"""What a bin up to the knee takes from a value's own weight."""
_HIGH: Final = 16
_MIDDLE: Final = 32
_LOW: Final = 160
_HIGHS: Final = 16
_EIGHT: Final = 8
TAIL_WIDTH: Final = _LOW + BINS

H_NOTABLE: Final = 0
H_ORDINARY: Final = 1
H_SCALE: Final = 2
H_SEEN: Final = 3
HEAD_WORDS: Final = 4
"""The heads of all features' tails are one table: a row for each of these words, a column for each feature."""
ORDINARY: Final = -inf
"""What stands for a feature that is ordinary by definition: less than every number."""

_LN2: Final = 0.6931471805599453
_TOP: Final = BINS - 1e-6
_LARGEST: Final = 1e6
_FORGOTTEN: Final = 1e-250
_NOTABLE: Final = 0.15
_SAMPLED_FROM: Final = 1024.0
_SAMPLED: Final = 8.0
"""From how many values on what is not notable is sampled, and one in how many is."""
_BEFORE: Final = np.tri(_HIGHS, _HIGHS, -1)
"""1 for each place that comes before another, else 0."""


@entry
def prepare(tail: F8, low: float, high: float) -> None:
    """Make a tail of values in [low, high) empty; values outside count at its ends."""
    tail[:] = 0.0
    tail[T_LOW] = low
    tail[T_PER_UNIT] = BINS / (high - low)
    tail[T_SCALE] = 1.0
    tail[T_KNEE] = -1.0
    tail[T_NOTABLE] = low
    tail[T_HALF] = BINS / 32.0


@entry
def _after(tail: F8, at: int) -> float:
    """The weight in the bins that follow one; all of it for bin -1."""
    if at < 0:
        return float(tail[T_WEIGHT])
    return float(tail[_HIGH + (at >> 6)] + tail[_MIDDLE + (at >> 3)] + tail[_LOW + at])


@entry
def probability(tail: F8, value: float) -> float:
    """The p-value of a value, in (0, 1]."""
    return share_above(tail, value, tail[T_ORDINARY], tail[T_SCALE])


@entry
def share_above(tail: F8, value: float, ordinary: float, scale: float) -> float:
    """The p-value of a value, given the present words of the tail's head."""
    x = min(max(0.0, (value - tail[T_LOW]) * tail[T_PER_UNIT]), _LARGEST)
    inside = min(x, _TOP)
    at = int(inside)
    after = _after(tail, at)
    above = after + max(0.0, _after(tail, at - 1) - after) * (at + 1 - inside)
    knee = tail[T_KNEE]
    if knee < 0.0:
        own = exp2(-x / tail[T_HALF])
    elif x <= knee:
        own = 1.0 - x * tail[T_SLOPE]
    else:
        own = 0.5 * exp2(-(x - knee) / tail[T_HALF])
    whole = tail[T_WEIGHT] + ordinary + scale
    return float(max(1e-300, min(1.0, (above + own * scale) / whole)))


@entry
def surprisal(tail: F8, value: float) -> float:
    """-log10 of the p-value of a value."""
    return max(0.0, -log10(probability(tail, value)))


@entry
def resolved(tail: F8, value: float) -> bool:
    """Whether counted values reach as far as this one, or only the fitted exponential does."""
    return bool((value - tail[T_LOW]) * tail[T_PER_UNIT] <= tail[T_KNEE])


@entry
def _bin_above(tail: F8, rest: float) -> int:
    """The highest bin from which on there is more than a weight, 0 when there is none."""
    high = 0
    while high < _HIGHS - 1 and tail[_HIGH + high] > rest:
        high += 1
    rest -= tail[_HIGH + high]
    middle = high << 3
    while middle & 7 < _EIGHT - 1 and tail[_MIDDLE + middle] > rest:
        middle += 1
    rest -= tail[_MIDDLE + middle]
    low = middle << 3
    while low & 7 < _EIGHT - 1 and tail[_LOW + low] > rest:
        low += 1
    return low


@entry
def _ends_empty(tail: F8, at: int, left: float) -> bool:
    """Whether a block of eight begins at a bin and holds nothing, when so much is left from the bin on.

    What its first bin has after itself in the block is the most that any of its bins has.
    """
    return bool(at & (_EIGHT - 1) == 0 and tail[_LOW + at] == 0.0 and _after(tail, at) == left)


@entry
def _reached(tail: F8, rest: float) -> float:
    """The place in bins that a weight reaches, inside a bin as in ``share_above``; 0 when there is no more than that.

    What many values equal lies in one bin and would be above its lower edge, however common it is.
    """
    at = _bin_above(tail, rest)
    after = _after(tail, at)
    held = _after(tail, at - 1) - after
    return at + 1.0 - (rest - after) / held if held > rest - after else float(at)


@entry
def _fit(tail: F8) -> None:
    scale = tail[T_SCALE]
    knee = _bin_above(tail, min(32.0, tail[T_WEIGHT] / scale / 8.0) * scale)
    excess = 0.0
    weight = 0.0
    left = _after(tail, knee - 1)
    at = knee
    while left > 0.0 and at < BINS:
        if _ends_empty(tail, at, left):
            at += _EIGHT
            continue
        after = _after(tail, at)
        held = left - after
        left = after
        if held > 0.0:
            excess += held * (at + 0.5 - knee)
            weight += held
        at += 1
    notable = _reached(tail, _NOTABLE * (tail[T_WEIGHT] + tail[T_ORDINARY]))
    tail[T_NOTABLE] = tail[T_LOW] + notable / tail[T_PER_UNIT]
    tail[T_KNEE] = knee
    tail[T_SLOPE] = 0.5 / (knee + 1e-9)
    tail[T_HALF] = _LN2 * (excess + scale * BINS / 64.0) / (weight + scale) + 0.5


@entry
def deflate(tail: F8, shrunk: float) -> None:
    """Multiply all weights and their scale: what they are worth stays the same. What is too small is forgotten."""
    if tail[T_SCALE] * shrunk < _FORGOTTEN:
        shrunk = 0.0
    for word in range(_HIGH, TAIL_WIDTH):
        tail[word] *= shrunk
    for word in (T_WEIGHT, T_ORDINARY, T_UP_TO_10, T_UP_TO_1, T_SCALE):
        tail[word] *= shrunk
    if shrunk == 0.0:
        tail[T_SCALE] = 1.0


@entry
def _add(tail: F8, at: int, heavy: float) -> None:
    """Add a weight to one bin: to the sums of all that come before it on each level.

    Every sum of a block is added to, most of them nothing: eight sums at once cost less than a loop that stops in time.
    The masks tell the compiler that no place is negative.
    """
    at &= BINS - 1
    block = at >> 6
    for word in range(_HIGHS):
        tail[_HIGH + word] += heavy * _BEFORE[block, word]
    within = (at >> 3) & 7
    for word in range(_EIGHT):
        tail[_MIDDLE + _EIGHT * block + word] += heavy * _BEFORE[within, word]
    first = _LOW + (at & -_EIGHT)
    within = at & 7
    for word in range(_EIGHT):
        tail[first + word] += heavy * _BEFORE[within, word]


@entry
def count(tail: F8, value: float, scale: float, weight: float) -> None:
    """Count a value with a weight of 0 or more. ``scale`` is the present inflation."""
    x = min(max(0.0, (value - tail[T_LOW]) * tail[T_PER_UNIT]), _TOP)
    heavy = weight * scale
    tail[T_SCALE] = scale
    tail[T_WEIGHT] += heavy
    _add(tail, int(x), heavy)
    tail[T_SEEN] += 1.0
    seen = tail[T_COUNTED] + 1.0
    tail[T_COUNTED] = seen
    counted = int(seen)
    if (counted <= 256 and counted & (counted - 1) == 0) or counted & 511 == 0:  # noqa: PLR2004 -- refits get rarer
        _fit(tail)


@entry
def gather(heads: F8, feature: int, tail: F8) -> None:
    """Bring a feature's tail up to date with its head."""
    tail[T_ORDINARY] = heads[H_ORDINARY, feature]
    tail[T_SCALE] = heads[H_SCALE, feature]
    tail[T_SEEN] = heads[H_SEEN, feature]


@entry
def scatter(heads: F8, feature: int, tail: F8) -> None:
    """Bring a feature's head up to date with its tail."""
    heads[H_NOTABLE, feature] = tail[T_NOTABLE]
    heads[H_ORDINARY, feature] = tail[T_ORDINARY]
    heads[H_SCALE, feature] = tail[T_SCALE]
    heads[H_SEEN, feature] = tail[T_SEEN]


@entry
def note(heads: F8, stands: F8, scale: float) -> int:
    """Note one event's values of all features: ``ORDINARY``, or a value of which only notable ones are evidence, or NaN.

    Gives the features whose tails must count their value (``count_noted``), as bits. No branch, so that the processor
    takes eight features at once.
    """
    due = 0
    for feature in range(heads.shape[1]):
        value, seen = stands[feature], heads[H_SEEN, feature]
        told, usual = value == value, value == ORDINARY  # noqa: PLR0124 -- false only for NaN
        spared = (value < heads[H_NOTABLE, feature]) & (seen >= _SAMPLED_FROM) & (int(seen) & 7 != 0)
        heads[H_ORDINARY, feature] += scale if usual else 0.0
        heads[H_SCALE, feature] = scale if told else heads[H_SCALE, feature]
        heads[H_SEEN, feature] = seen + (1.0 if usual | spared else 0.0)
        due |= (1 << feature) if told and not usual | spared else 0
    return due


@entry
def count_noted(heads: F8, feature: int, tail: F8, value: float, scale: float) -> None:
    """Count a value that ``note`` said must be; what is not notable counts for all that were not counted.

    ``note`` set the head's scale, and counting leaves what was ordinary as it is: the rest is all that changes.
    """
    gather(heads, feature, tail)
    sampled = value < tail[T_NOTABLE] and tail[T_SEEN] >= _SAMPLED_FROM
    count(tail, value, scale, _SAMPLED if sampled else 1.0)
    heads[H_NOTABLE, feature] = tail[T_NOTABLE]
    heads[H_SEEN, feature] = tail[T_SEEN]
