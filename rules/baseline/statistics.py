"""The few formulas that every feature shares, compiled.

Rules enforced here:
- A surprisal is -log10 of a tail probability: 0 is ordinary, 3 is one in a thousand. It is finite, capped at ``CAP``.
- Tails are logistic (heavier than the normal's): money is not normal, and a far value must stay comparable. Above the
  mean the surprisal is read from a table, straight between its 64 points a deviation: rising, off by less than 2e-5.
- An entity's usual value is its own shrunk towards a prior by ``PRIOR_STRENGTH`` pseudo-events (empirical Bayes,
  normal-normal; Efron and Morris 1975), so that one event is never a baseline.
- Learning is exponentially weighted, with the weight of one event never below 1 / (events + 1).
"""

from collections.abc import Callable
from decimal import Context, Decimal
from math import sqrt
from typing import Final

import numpy as np

from rules.arithmetic import exp, log10
from rules.arrays import F8
from rules.compiled import compiled, entry, ones

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


@compiled
def oddness(size: float, mean: float, variance: float) -> float:
    """How many deviations a size is above the mean, at most ``_CERTAIN``; 0 up to ``ORDINARY``.

    This and ``surprisal_of`` have no branch: several sizes are weighed at once, and what is rare costs no wrong guess.
    """
    apart = size - mean
    odd = (apart > 0.0) & (apart * apart > ORDINARY * ORDINARY * variance)
    return min(apart / sqrt(variance), _CERTAIN) if odd else 0.0


@compiled
def surprisal_of(odd: float) -> float:
    """Surprisal of an oddness; 0 of 0."""
    x = odd * _A_DEVIATION
    at = int(x)
    low = _SURPRISALS[at]
    found = min(CAP, low + (x - at) * (_SURPRISALS[at + 1] - low))
    return found if odd > 0.0 else 0.0


@entry
def surprisal_above(size: float, mean: float, variance: float) -> float:
    """Surprisal of a size that is more than ``ORDINARY`` deviations above the mean; 0 of any other."""
    return float(surprisal_of(oddness(size, mean, variance)))


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


@compiled
def clipped(size: float, mean: float, variance: float, most: float) -> float:
    """A size, clipped to ``most`` deviations from the mean."""
    apart = size - mean
    limit = most * sqrt(variance)
    return (mean + (limit if apart > 0.0 else -limit)) if apart * apart > most * most * variance else size


@compiled
def likely(count: float, rate: float, prior: float) -> float:
    """How likely something is that was seen at ``rate`` over ``count`` events, with ``prior`` as two more events' rate."""
    return float((count * rate + _RATE_STRENGTH * prior) / (count + _RATE_STRENGTH))


@entry
def rate_surprisal(count: float, rate: float, prior: float) -> float:
    """Surprisal of something seen at ``rate`` over ``count`` events, with ``prior`` as two more events' rate.

    >>> round(rate_surprisal(0.0, 0.0, 0.1), 2), round(rate_surprisal(198.0, 0.0, 0.1), 2)
    (1.0, 3.0)
    """
    chance = likely(count, rate, prior)
    return min(CAP, max(0.0, -log10(chance))) if chance > 0.0 else CAP


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


def finding(at: int, slots: int) -> Callable[[F8, float], int]:
    """Makes a function: the place of a fingerprint among ``slots`` pairs (fingerprint, time) from ``at`` on, or -1.

    This and the next two are made once for each place in a record: the compiler must know it to go through several pairs
    at once. They have no branch and look at every pair.
    """

    @compiled
    def slot_of(view: F8, key: float) -> int:
        found = -1
        for slot in range(slots):
            found = max(found, slot if view[at + 2 * slot] == key else -1)
        return found

    return slot_of


def stamping(at: int, slots: int) -> Callable[[F8, float, float], None]:
    """Makes a function: note a fingerprint with its time among such pairs; the one of longest ago makes room."""
    slot_of = finding(at, slots)

    @compiled
    def stamp(view: F8, key: float, now_us: float) -> None:
        slot = slot_of(view, key)
        if slot < 0:
            slot = 0
            oldest_us = view[at + 1]
            for other in range(1, slots):
                other_us = view[at + 2 * other + 1]
                slot = other if other_us < oldest_us else slot
                oldest_us = min(other_us, oldest_us)
        view[at + 2 * slot] = key
        view[at + 2 * slot + 1] = now_us

    return stamp


def counting_since(at: int, slots: int) -> Callable[[F8, float, float], float]:
    """Makes a function: how many fingerprints other than one (``but``) were noted after a time, among such pairs."""

    @compiled
    def count_since(view: F8, since_us: float, but: float) -> float:
        found = 0
        for slot in range(slots):
            key = view[at + 2 * slot]
            found += 1 if (key != 0.0) & (key != but) & (view[at + 2 * slot + 1] > since_us) else 0
        return float(found)

    return count_since


def filling(at: int, cells: int) -> Callable[[F8, float, float], int]:
    """Makes a function: how many cells of a record hold a time after some other, the user's own cell counted in.

    The compiler must know the place to go through many cells at once; they are gathered as bits.
    """

    @compiled
    def filled(record: F8, since_us: float, user: float) -> int:
        found = 1 << (int(user) % cells)
        for cell in range(cells):
            found |= (1 << cell) if record[at + cell] > since_us else 0
        return ones(found)

    return filled
