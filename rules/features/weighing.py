"""Weigh a measured value against the account's own statistic, shrunk towards its prior, and tell what is usual.

Rules: sizes are on the statistic's own scale, the log10 of the value plus ``less``. A usual range holds the central nine
tenths; telling it costs two exponentials a feature, so it is told only where somebody reads it (``tell_ranges``).
"""

from math import sqrt
from typing import Final

from rules.arithmetic import exp10
from rules.baseline.statistics import surprisal_above, usual
from rules.compiled import compiled
from rules.features.frame import (
    M_FEATURE,
    M_LESS,
    M_MEAN,
    M_VALUE,
    M_VARIANCE,
    M_WORD,
    N_LISTED,
    N_MEASURED,
    N_PARTS,
    N_USD,
    Frame,
)

_CENTRAL: Final = 1.645
"""Standard deviations on either side that hold nine tenths of a normal distribution."""


@compiled
def worth(f: Frame) -> float:
    """What the activity moves in USD; 0 when that cannot be told."""
    usd = f.now[N_USD]
    if usd > 0.0:
        return float(usd)
    return 0.0


@compiled
def weigh(f: Frame, feature: int, word: int, size: float, less: float, floor: float) -> tuple[float, float]:
    """Set a feature's surprisal from the account's statistic at ``word`` and note it for learning.

    Gives the usual size and its variance, at least ``floor`` squared.
    """
    mean, variance = usual(f.account, f.prior, word, word, floor)
    at = int(f.now[N_MEASURED])
    f.measured[at, M_WORD] = word
    f.measured[at, M_VALUE] = size
    f.measured[at, M_MEAN] = mean
    f.measured[at, M_VARIANCE] = variance
    f.measured[at, M_FEATURE] = feature
    f.measured[at, M_LESS] = less
    f.now[N_MEASURED] = at + 1.0
    f.surprise[feature] = surprisal_above(size, mean, variance)
    return mean, variance


@compiled
def tell_range(f: Frame, feature: int, mean: float, variance: float, less: float) -> None:
    """Set a feature's usual range from the mean and variance of its size."""
    spread = sqrt(variance)
    f.low[feature] = max(0.0, exp10(mean - _CENTRAL * spread) - less)
    f.high[feature] = max(0.0, exp10(mean + _CENTRAL * spread) - less)


@compiled
def tell_ranges(f: Frame, least: float) -> None:
    """Set the usual range of every feature that was weighed and has at least ``least`` of the score."""
    if least <= 0.0:
        for at in range(int(f.now[N_MEASURED])):
            _tell_measured(f, at)
        return
    for part in range(int(f.now[N_PARTS])):
        feature = f.now[N_LISTED + part]
        if f.parts[int(feature)] >= least:
            for at in range(int(f.now[N_MEASURED])):
                if f.measured[at, M_FEATURE] == feature:
                    _tell_measured(f, at)


@compiled
def _tell_measured(f: Frame, at: int) -> None:
    row = f.measured[at]
    tell_range(f, int(row[M_FEATURE]), row[M_MEAN], row[M_VARIANCE], row[M_LESS])


@compiled
def tell_fact(f: Frame, feature: int, happened: float, rate: float) -> None:
    """Set the value of a fact, and how often it is usually so."""
    f.values[feature] = happened
    f.low[feature] = f.high[feature] = rate
