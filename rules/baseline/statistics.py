"""The few formulas that every feature shares, compiled.

Rules enforced here:
- A surprisal is -log10 of a tail probability: 0 is ordinary, 3 is one in a thousand. It is finite, capped at ``CAP``.
- Tails are logistic (heavier than the normal's): money is not normal, and a far value must stay comparable. Above the
  mean the surprisal is read from a table, straight between its 64 points a deviation: rising, off by less than 2e-5.
- An entity's usual value is its own shrunk towards a prior by ``PRIOR_STRENGTH`` pseudo-events (empirical Bayes,
  normal-normal; Efron and Morris 1975), so that one event is never a baseline.
- Learning is exponentially weighted, with the weight of one event never below 1 / (events + 1).
"""

from decimal import Context, Decimal
from math import sqrt
from typing import Final

import numpy as np

from rules.arithmetic import exp, log10
from rules.arrays import F8
from rules.compiled import entry

CAP: Final = 6.0
PRIOR_STRENGTH: Final = 8.0
ORDINARY: Final = 0.3
_RATE_STRENGTH: Final = 2.0
_LOGISTIC: Final = 1.8137993642342178  # pi / sqrt(3): unit variance
_A_DEVIATION: Final = 64.0
_CERTAIN: Final = 7.984375


def _surprisals() -> F8:
    exact = Context(prec=30)
    points = (Decimal(at) / 64 * Decimal(_LOGISTIC) for at in range(513))
    return np.array([float(exact.log10(1 + exact.exp(point))) for point in points], np.float64)


_SURPRISALS: Final = _surprisals()


@entry
def tail_surprisal(z: float) -> float:
    """Surprisal of being ``z`` standard deviations or more above the mean.

    >>> round(tail_surprisal(0.0), 3), round(tail_surprisal(3.0), 2), tail_surprisal(1e9)
    (0.301, 2.37, 6.0)
    """
    if z >= _CERTAIN:
        return CAP
    if not z >= 0.0:
        return log10(1.0 + exp(_LOGISTIC * z))
    x = z * _A_DEVIATION
    at = int(x)
    low = _SURPRISALS[at]
    return float(min(CAP, low + (x - at) * (_SURPRISALS[at + 1] - low)))


@entry
def surprisal_above(size: float, mean: float, variance: float) -> float:
    """Surprisal of a size that is more than ``ORDINARY`` deviations above the mean; 0 of any other."""
    apart = size - mean
    if not apart > 0.0 or apart * apart <= ORDINARY * ORDINARY * variance:
        return 0.0
    return tail_surprisal(apart / sqrt(variance))


@entry
def usual(view: F8, prior: F8, at: int, prior_at: int, floor: float) -> tuple[float, float]:
    """Mean and variance (at least ``floor`` squared) of a statistic, shrunk towards the prior's."""
    count = view[at]
    weight = count / (count + PRIOR_STRENGTH)
    mean = prior[prior_at + 1]
    apart = view[at + 1] - mean
    variance = weight * view[at + 2] + (1.0 - weight) * (prior[prior_at + 2] + weight * apart * apart)
    return mean + weight * apart, max(floor * floor, variance)


@entry
def absorb(view: F8, at: int, value: float, rate: float) -> None:
    """Learn a value into a statistic with weight ``rate`` or 1 / (count + 1), whichever is more."""
    count = view[at] + 1.0
    if rate * count < 1.0:
        rate = 1.0 / count
    apart = value - view[at + 1]
    view[at] = count
    view[at + 1] += rate * apart
    view[at + 2] = (1.0 - rate) * (view[at + 2] + rate * apart * apart)


@entry
def rate_surprisal(count: float, rate: float, prior: float) -> float:
    """Surprisal of something seen at ``rate`` over ``count`` events, with ``prior`` as two more events' rate.

    >>> round(rate_surprisal(0.0, 0.0, 0.1), 2), round(rate_surprisal(198.0, 0.0, 0.1), 2)
    (1.0, 3.0)
    """
    likely = (count * rate + _RATE_STRENGTH * prior) / (count + _RATE_STRENGTH)
    return min(CAP, max(0.0, -log10(likely))) if likely > 0.0 else CAP


@entry
def move_rate(view: F8, at: int, happened: float, rate: float) -> None:
    """Move a learned rate towards 1 or 0."""
    view[at] += rate * (happened - view[at])


@entry
def recall(view: F8, at: int, slots: int, key: float) -> bool:
    """Whether a fingerprint is among ``slots`` remembered ones."""
    for word in range(at, at + slots):  # noqa: SIM110 -- compiled code knows no generators
        if view[word] == key:
            return True
    return False


@entry
def imprint(view: F8, at: int, slots: int, key: float) -> None:
    """Put a fingerprint first among ``slots`` remembered ones; the one used longest ago falls out."""
    moved = view[at]
    if moved == key:
        return
    view[at] = key
    for word in range(at + 1, at + slots):
        held = view[word]
        view[word] = moved
        if held == key:
            return
        moved = held


@entry
def slot_of(view: F8, at: int, slots: int, key: float) -> int:
    """The place of a fingerprint among ``slots`` pairs (fingerprint, time) from ``at`` on, or -1."""
    for slot in range(slots):
        if view[at + 2 * slot] == key:
            return slot
    return -1


@entry
def stamp(view: F8, at: int, slots: int, key: float, now_us: float) -> None:
    """Note a fingerprint with its time among ``slots`` pairs; the one of longest ago makes room."""
    slot = slot_of(view, at, slots, key)
    if slot < 0:
        slot = 0
        for other in range(1, slots):
            if view[at + 2 * other + 1] < view[at + 2 * slot + 1]:
                slot = other
    view[at + 2 * slot] = key
    view[at + 2 * slot + 1] = now_us


@entry
def count_since(view: F8, at: int, slots: int, since_us: float, but: float) -> float:
    """How many fingerprints other than ``but`` were noted after a time, among ``slots`` pairs."""
    found = 0.0
    for slot in range(slots):
        key = view[at + 2 * slot]
        if key not in (0.0, but) and view[at + 2 * slot + 1] > since_us:
            found += 1.0
    return found
