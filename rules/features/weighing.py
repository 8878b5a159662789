"""Weigh a measured value against the account's own statistic, shrunk towards its prior."""

from math import exp, log10
from typing import Final

from rules.baseline.statistics import CAP, PRIOR_STRENGTH
from rules.features.frame import Frame

_LOGISTIC: Final = 1.8137993642342178  # pi / sqrt(3): unit variance
_ORDINARY: Final = 0.3
_FAR: Final = 10.0


def weigh(frame: Frame, feature: int, word: int, size: float, floor: float) -> None:
    """Set a feature's surprisal and usual value (as a log10) from the statistic at ``word``; note it for learning.

    The formulas are those of ``statistics.usual`` and ``statistics.tail_surprisal``, in one call because it is made a
    dozen times per activity; a property test holds them equal. Below 0.3 deviations nothing is surprising.
    """
    account, prior = frame.account, frame.prior
    count = account[word]
    weight = count / (count + PRIOR_STRENGTH)
    mean = prior[word + 1]
    apart = account[word + 1] - mean
    variance = weight * account[word + 2] + (1.0 - weight) * (prior[word + 2] + weight * apart * apart)
    mean += weight * apart
    spread = variance**0.5
    spread = max(spread, floor)
    frame.measured.append((word, size, mean, spread))
    frame.usual[feature] = mean
    z = (size - mean) / spread
    if z > _ORDINARY:
        frame.surprise[feature] = min(CAP, log10(1.0 + exp(_LOGISTIC * z))) if z < _FAR else CAP
