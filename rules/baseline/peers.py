"""What the members of a peer group are shrunk towards: the group's record, itself shrunk towards the whole's.

Rules enforced here:
- Credibility in a hierarchy (Buehlmann 1967; Jewell 1975): an account is shrunk towards its group and the group towards
  the whole, each by what it learned of the very number: money models by payments, never by logins. The whole counts like
  ``PRIOR_STRENGTH`` events of the group, as the group does for an account, so that no number of events is a threshold and
  one payment moves what is usual for a group's members by a ninth of the way.
- Means are weighed on a logarithmic scale, variances as they are. What both means lie apart adds no variance: a group that
  knows little judges almost as the whole does, and does not take everything for usual because it cannot tell.
- It follows from the two records alone, event by event, and is stored nowhere. Without a group none of it runs.
"""

from typing import Final

from rules.arithmetic import exp2, log2
from rules.arrays import F8
from rules.baseline.layout import (
    AMOUNT,
    ASSETS,
    COUNTS,
    FINGERPRINT,
    GAP,
    MODEL_MEAN,
    MODEL_RESIDUALS,
    MODEL_RESIDUALS_WEIGHT,
    MODEL_SQUARE,
    MODEL_WEIGHT,
    NEW_DESTINATION,
    POPULATION_FAN_OUTS,
    SHARE,
    STRENGTH_INVERSE,
    STRENGTH_NOISE,
    STRENGTH_SQUARE,
    STRENGTH_WEIGHT,
    VALUES,
    WINDOWS,
)
from rules.baseline.statistics import PRIOR_STRENGTH
from rules.compiled import compiled, entry

SMALLEST_USD: Final = 0.01
_STATISTICS: Final = (AMOUNT, SHARE, GAP, ASSETS, POPULATION_FAN_OUTS)
_WINDOWS: Final = (COUNTS, VALUES)
_STRENGTHS: Final = (STRENGTH_SQUARE, STRENGTH_INVERSE, STRENGTH_NOISE)


@compiled
def _believed(count: float) -> float:
    """How much of what is usual for its members is the group's, when it learned so many events."""
    return count / (count + PRIOR_STRENGTH)


@compiled
def _weigh(to: F8, group: F8, whole: F8, word: int, share: float) -> None:
    to[word] = whole[word] + share * (group[word] - whole[word])


@entry
def shrink(to: F8, group: F8, whole: F8) -> None:
    """Write what the members of a group are shrunk towards. Counts are the group's own: they say how much it knows."""
    to[FINGERPRINT] = group[FINGERPRINT]
    for word in _STATISTICS:
        to[word] = group[word]
        share = _believed(group[word])
        _weigh(to, group, whole, word + 1, share)
        _weigh(to, group, whole, word + 2, share)
    for word in _WINDOWS:
        to[word] = group[word]
        share = _believed(group[word])
        for at in range(2 * WINDOWS):
            _weigh(to, group, whole, word + 1 + at, share)
    # A new destination is learned with every fan-out, so the same count tells how much is known of it.
    _weigh(to, group, whole, NEW_DESTINATION, _believed(group[POPULATION_FAN_OUTS]))
    _shrink_model(to, group, whole)


@compiled
def _shrink_model(to: F8, group: F8, whole: F8) -> None:
    """The model of amounts: its mean, one account's relative variance, all accounts' relative variance, and its strength."""
    to[MODEL_WEIGHT] = whole[MODEL_WEIGHT]
    _weigh(to, group, whole, MODEL_RESIDUALS, _believed(group[MODEL_RESIDUALS_WEIGHT]))
    share = _believed(group[STRENGTH_WEIGHT])
    for word in _STRENGTHS:
        _weigh(to, group, whole, word, share)
    to[MODEL_MEAN], to[MODEL_SQUARE] = whole[MODEL_MEAN], whole[MODEL_SQUARE]
    if group[MODEL_WEIGHT] > 0.0:
        share = _believed(group[MODEL_WEIGHT])
        own, common = max(SMALLEST_USD, group[MODEL_MEAN]), max(SMALLEST_USD, whole[MODEL_MEAN])
        by_own, by_common = 1.0 / own, 1.0 / common
        mean = common * exp2(share * log2(own * by_common))
        relative = whole[MODEL_SQUARE] * by_common * by_common
        to[MODEL_MEAN] = mean
        to[MODEL_SQUARE] = mean * mean * (relative + share * (group[MODEL_SQUARE] * by_own * by_own - relative))
