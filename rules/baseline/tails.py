"""The population's own tail of any one quantity: how rare a value this large is, among recent ones.

Rules enforced here:
- The answer is conformal (Vovk, Gammerman and Shafer 2005): the decayed share of values at least as large, this one
  counted in, interpolated inside a bin. Beyond what the values resolve an exponential, fitted to the mean excess of the
  largest ones, goes on (Balkema and de Haan 1974, shape 0). So it is finite, strictly falling and practically without
  ties, and whatever unit a quantity has, its surprisal is honest.
- Values decay by inflating new weights (``shared.Clock``); what grows too large is deflated.
- A tail is a Fenwick tree (1994) over ``BINS`` equal bins, so that both question and answer take ten steps.
- A value of exactly 0 of a quantity that is "0 = ordinary" is only counted: it is the commonest and says nothing.
"""

from typing import Final

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
T_COUNTED: Final = 8
T_SEEN: Final = 9
"""How many were counted in bins, and how many ever were, whatever their weight."""
T_UP_TO_10: Final = 10
T_UP_TO_1: Final = 11
"""Of a calibration: inflated weight of events whose p-value was told as 0.1 or less, and as 0.01 or less."""
_TREE: Final = 15
TAIL_WIDTH: Final = 1040

_LN2: Final = 0.6931471805599453
_TOP: Final = BINS - 1e-6
_LARGEST: Final = 1e6
_FORGOTTEN: Final = 1e-250


@entry
def prepare(tail: F8, low: float, high: float) -> None:
    """Make a tail of values in [low, high) empty; values outside count at its ends."""
    tail[:] = 0.0
    tail[T_LOW] = low
    tail[T_PER_UNIT] = BINS / (high - low)
    tail[T_SCALE] = 1.0
    tail[T_KNEE] = -1.0
    tail[T_HALF] = BINS / 32.0


@entry
def _before(tail: F8, bins: int) -> float:
    total = 0.0
    while bins > 0:
        total += tail[_TREE + bins]
        bins -= bins & -bins
    return float(total)


@entry
def probability(tail: F8, value: float) -> float:
    """The p-value of a value, in (0, 1]."""
    x = min(max(0.0, (value - tail[T_LOW]) * tail[T_PER_UNIT]), _LARGEST)
    inside = min(x, _TOP)
    scale = tail[T_SCALE]
    at = int(inside)
    below = _before(tail, at)
    above = max(0.0, tail[T_WEIGHT] - below - (_before(tail, at + 1) - below) * (inside - at)) / scale
    knee = tail[T_KNEE]
    if knee < 0.0:
        own = exp2(-x / tail[T_HALF])
    elif x <= knee:
        own = 1.0 - 0.5 * x / (knee + 1e-9)
    else:
        own = 0.5 * exp2(-(x - knee) / tail[T_HALF])
    return float(max(1e-300, min(1.0, (above + own) / ((tail[T_WEIGHT] + tail[T_ORDINARY]) / scale + 1.0))))


@entry
def surprisal(tail: F8, value: float) -> float:
    """-log10 of the p-value of a value."""
    return max(0.0, -log10(probability(tail, value)))


@entry
def resolved(tail: F8, value: float) -> bool:
    """Whether counted values reach as far as this one, or only the fitted exponential does."""
    return bool((value - tail[T_LOW]) * tail[T_PER_UNIT] <= tail[T_KNEE])


@entry
def _fit(tail: F8) -> None:
    scale = tail[T_SCALE]
    wanted = tail[T_WEIGHT] - min(32.0, tail[T_WEIGHT] / scale / 8.0) * scale
    knee = 0
    found = 0.0
    step = BINS
    while step > 0:
        if knee + step <= BINS and found + tail[_TREE + knee + step] < wanted:
            knee += step
            found += tail[_TREE + knee]
        step >>= 1
    excess = 0.0
    weight = 0.0
    before = _before(tail, knee)
    for at in range(knee, BINS):
        after = _before(tail, at + 1)
        held = after - before
        before = after
        if held > 0.0:
            excess += held * (at + 0.5 - knee)
            weight += held
    tail[T_KNEE] = knee
    tail[T_HALF] = _LN2 * (excess + scale * BINS / 64.0) / (weight + scale) + 0.5


@entry
def deflate(tail: F8, shrunk: float) -> None:
    """Multiply all weights and their scale: what they are worth stays the same. What is too small is forgotten."""
    if tail[T_SCALE] * shrunk < _FORGOTTEN:
        shrunk = 0.0
    for word in range(_TREE + 1, TAIL_WIDTH):
        tail[word] *= shrunk
    for word in (T_WEIGHT, T_ORDINARY, T_UP_TO_10, T_UP_TO_1, T_SCALE):
        tail[word] *= shrunk
    if shrunk == 0.0:
        tail[T_SCALE] = 1.0


@entry
def ignore(tail: F8, scale: float) -> None:
    """Count a value that is ordinary by definition. ``scale`` is the present inflation."""
    tail[T_SCALE] = scale
    tail[T_ORDINARY] += scale
    tail[T_SEEN] += 1.0


@entry
def count(tail: F8, value: float, scale: float, weight: float) -> None:
    """Count a value with a weight in [0, 1]. ``scale`` is the present inflation."""
    x = min(max(0.0, (value - tail[T_LOW]) * tail[T_PER_UNIT]), _TOP)
    heavy = weight * scale
    tail[T_SCALE] = scale
    tail[T_WEIGHT] += heavy
    at = int(x) + 1
    while at <= BINS:
        tail[_TREE + at] += heavy
        at += at & -at
    tail[T_SEEN] += 1.0
    seen = tail[T_COUNTED] + 1.0
    tail[T_COUNTED] = seen
    counted = int(seen)
    if (counted <= 256 and counted & (counted - 1) == 0) or counted & 511 == 0:  # noqa: PLR2004 -- refits get rarer
        _fit(tail)
