"""What is usual anywhere before anything was seen.

Rules: each number is a plain expectation of any custody desk, not of one data set; a statistic is believed like twenty
events, so that an installation's own first day outweighs it.
"""

from typing import Final

from rules.arrays import F8
from rules.baseline.layout import (
    AMOUNT,
    ASSETS,
    COUNTS,
    CREDENTIAL_CHANGE,
    FAILURES,
    FAN_IN,
    FAST_TRAVEL,
    GAP,
    GOVERNANCE,
    MODEL_RESIDUALS,
    MODEL_RESIDUALS_WEIGHT,
    NETWORK_USERS,
    NEW_COUNTRY,
    NEW_DESTINATION,
    NEW_DEVICE,
    NEW_NETWORK,
    POPULATION_FAN_OUTS,
    SESSION_MOVE,
    SHARE,
    SHARED_DEVICE,
    SPRAYING,
    STRENGTH_NOISE,
    STRENGTH_SQUARE,
    STRENGTH_WEIGHT,
    VALUES,
    WINDOWS,
)

_PSEUDO_EVENTS: Final = 20.0
_STATISTICS: Final = {
    AMOUNT: (3.0, 1.2),
    SHARE: (-3.0, 1.2),
    GAP: (3.0, 1.2),
    ASSETS: (0.1, 0.2),
    FAILURES: (0.1, 0.25),
    POPULATION_FAN_OUTS: (0.3, 0.4),
    NETWORK_USERS: (0.5, 0.5),
}
"""log10 mean and standard deviation."""

_WINDOWS: Final = {
    COUNTS: ((0.2, 0.4), (0.5, 0.5), (1.0, 0.6), (1.8, 0.7), (2.3, 0.8), (2.7, 0.8)),
    VALUES: ((3.2, 1.2), (3.6, 1.2), (4.2, 1.2), (5.0, 1.2), (5.6, 1.2), (6.0, 1.2)),
}
"""The same of each window."""

_RATES: Final = {
    NEW_DESTINATION: 0.4,
    FAN_IN: 0.02,
    CREDENTIAL_CHANGE: 0.05,
    NEW_COUNTRY: 0.03,
    NEW_NETWORK: 0.08,
    NEW_DEVICE: 0.04,
    GOVERNANCE: 0.02,
    FAST_TRAVEL: 0.01,
    SESSION_MOVE: 0.02,
    SHARED_DEVICE: 0.03,
    SPRAYING: 0.01,
}
"""Shares of events."""

_RESIDUALS: Final = 0.5
_RESIDUALS_WEIGHT: Final = 10.0
_NOISE: Final = 2.0
_STRENGTH: Final = 64.0
"""The model of amounts: relative variance, how far its estimates scatter, and the worth of the common one in payments."""


def write_priors(record: F8) -> None:
    """Put what is usual anywhere into an empty population's record."""
    for word, (mean, deviation) in _STATISTICS.items():
        record[word] = _PSEUDO_EVENTS
        record[word + 1] = mean
        record[word + 2] = deviation * deviation
    for word, windows in _WINDOWS.items():
        record[word] = _PSEUDO_EVENTS
        for at, (mean, deviation) in enumerate(windows):
            record[word + 1 + at] = mean
            record[word + 1 + WINDOWS + at] = deviation * deviation
    for word, rate in _RATES.items():
        record[word] = rate
    record[MODEL_RESIDUALS] = _RESIDUALS
    record[MODEL_RESIDUALS_WEIGHT] = _RESIDUALS_WEIGHT
    record[STRENGTH_WEIGHT] = _RESIDUALS_WEIGHT
    record[STRENGTH_SQUARE] = _NOISE / _STRENGTH
    record[STRENGTH_NOISE] = _NOISE
