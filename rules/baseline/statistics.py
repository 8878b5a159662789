"""The few formulas that every feature shares.

Rules enforced here:
- A surprisal is -log10 of a tail probability: 0 is ordinary, 3 is one in a thousand. It is finite, capped at ``CAP``.
- Tails are logistic (heavier than the normal's): money is not normal, and a far value must stay comparable.
- An entity's usual value is its own shrunk towards a prior by ``PRIOR_STRENGTH`` pseudo-events (empirical Bayes,
  normal-normal; Efron and Morris 1975), so that one event is never a baseline.
- Learning is exponentially weighted, with the weight of one event never below 1 / (events + 1).
"""

from math import exp, log10
from typing import Final

from rules.baseline.layout import View

CAP: Final = 6.0
PRIOR_STRENGTH: Final = 8.0
_RATE_STRENGTH: Final = 2.0
_LOGISTIC: Final = 1.8137993642342178  # pi / sqrt(3): unit variance
_HALVE_AT: Final = 4000.0
_CERTAIN: Final = 60.0


def tail_surprisal(z: float) -> float:
    """Surprisal of being ``z`` standard deviations or more above the mean.

    >>> round(tail_surprisal(0.0), 3), round(tail_surprisal(3.0), 2), tail_surprisal(1e9)
    (0.301, 2.37, 6.0)
    """
    if z > _CERTAIN:
        return CAP
    return min(CAP, log10(1.0 + exp(_LOGISTIC * z)))


def usual(view: View, prior: View, at: int, floor: float) -> tuple[float, float]:
    """Mean and standard deviation (at least ``floor``) of a statistic, shrunk towards the prior's."""
    count = view[at]
    weight = count / (count + PRIOR_STRENGTH)
    mean = prior[at + 1]
    apart = view[at + 1] - mean
    variance = weight * view[at + 2] + (1.0 - weight) * (prior[at + 2] + weight * apart * apart)
    deviation: float = variance**0.5
    return mean + weight * apart, max(floor, deviation)


def absorb_all(view: View, values: list[tuple[int, float]], rate: float) -> None:
    """Learn many values, each (word, value), as ``absorb`` does one; one call because it is the engine's hottest loop."""
    for at, value in values:
        count = view[at] + 1.0
        weight = rate if rate * count >= 1.0 else 1.0 / count
        apart = value - view[at + 1]
        view[at] = count
        view[at + 1] += weight * apart
        view[at + 2] = (1.0 - weight) * (view[at + 2] + weight * apart * apart)


def words(view: View, at: int, count: int) -> list[float]:
    """``count`` words from ``at`` on, copied."""
    copied: list[float] = view[at : at + count].tolist()  # type: ignore[assignment]  # typeshed forgets the format
    return copied


def absorb(view: View, at: int, value: float, rate: float) -> None:
    """Learn a value into a statistic with weight ``rate`` or 1 / (count + 1), whichever is more."""
    count = view[at] + 1.0
    if rate * count < 1.0:
        rate = 1.0 / count
    apart = value - view[at + 1]
    view[at] = count
    view[at + 1] += rate * apart
    view[at + 2] = (1.0 - rate) * (view[at + 2] + rate * apart * apart)


def rate_surprisal(count: float, rate: float, prior: float) -> float:
    """Surprisal of something seen at ``rate`` over ``count`` events, with ``prior`` as two more events' rate.

    >>> round(rate_surprisal(0.0, 0.0, 0.1), 2), round(rate_surprisal(198.0, 0.0, 0.1), 2)
    (1.0, 3.0)
    """
    likely = (count * rate + _RATE_STRENGTH * prior) / (count + _RATE_STRENGTH)
    return min(CAP, -log10(likely)) if likely > 0.0 else CAP


def move_rate(view: View, at: int, happened: float, rate: float) -> None:
    """Move a learned rate towards 1 or 0."""
    view[at] += rate * (happened - view[at])


def hour_surprisal(view: View, at: int, hour: int, day: int) -> float:
    """How much rarer this hour and day are than an even spread; 0 when they are usual or nothing is known.

    24 hours, 7 days and their total stand at ``at``. Hours one and two away count a half and a quarter. A day counts
    only together with its hour, so that a first Sunday shift alone is nothing.
    """
    total = view[at + 31]
    hours = (
        view[at + hour]
        + 0.5 * (view[at + (hour + 1) % 24] + view[at + (hour - 1) % 24])
        + 0.25 * (view[at + (hour + 2) % 24] + view[at + (hour - 2) % 24])
    )
    by_hour = (hours + 0.5) * 24.0 / (2.5 * total + 12.0)
    by_day = (view[at + 24 + day] + 1.0) * 7.0 / (total + 7.0)
    surprise = -log10(by_hour) if by_hour < 1.0 else 0.0
    return surprise - 0.5 * log10(by_day) if surprise > 0.0 and by_day < 1.0 else surprise


def learn_hour(view: View, at: int, hour: int, day: int) -> None:
    """Count an hour and a day; everything is halved when the total grows large, so that habits may change."""
    view[at + hour] += 1.0
    view[at + 24 + day] += 1.0
    view[at + 31] += 1.0
    if view[at + 31] >= _HALVE_AT:
        for word in range(at, at + 32):
            view[word] *= 0.5


def recall(view: View, at: int, slots: int, key: float) -> bool:
    """Whether a fingerprint is among ``slots`` remembered ones."""
    return key in words(view, at, slots)


def imprint(view: View, at: int, slots: int, key: float) -> None:
    """Put a fingerprint first among ``slots`` remembered ones; the one used longest ago falls out."""
    if view[at] == key:
        return
    known = words(view, at, slots)
    if key in known:
        known.remove(key)
    else:
        known.pop()
    view[at] = key
    for offset, other in enumerate(known, at + 1):
        view[offset] = other
