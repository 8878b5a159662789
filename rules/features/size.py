"""The model of an account's amounts: its mean shrunk towards its peers', its relative spread, and its drift.

Rules enforced here:
- The mean is Buehlmann's credibility estimate (1967): own and common mean are weighed by how much accounts differ among
  themselves against how much one account's payments differ; both are learned of what is common, none is set. Common is
  the population, or for members of a peer group what ``baseline.peers`` makes of both.
- How much an account's own spread is believed against the common one follows in the same way from how spreads differ.
- Amounts are clipped to five deviations before they are learned, and the odder one is the less of it is learned, so that
  no payment moves a baseline by much.
- An account's mean over its last thirty or so payments against its long one is the drift: the mark of the patient.
- A spread below a tenth of the mean counts as a tenth: who always pays the same is not surprised by a fee.
"""

from math import nan, sqrt
from typing import Final

from rules.arithmetic import log2
from rules.arrays import F8
from rules.baseline.layout import (
    MODEL_FAST,
    MODEL_FAST_WEIGHT,
    MODEL_MEAN,
    MODEL_RESIDUALS,
    MODEL_RESIDUALS_WEIGHT,
    MODEL_SQUARE,
    MODEL_WEIGHT,
    STRENGTH_INVERSE,
    STRENGTH_NOISE,
    STRENGTH_SQUARE,
    STRENGTH_WEIGHT,
)
from rules.baseline.peers import SMALLEST_USD
from rules.baseline.statistics import ORDINARY, tail_surprisal
from rules.compiled import compiled
from rules.features import habit
from rules.features.declared import Group, declare
from rules.features.frame import (
    N_APART,
    N_CLIPPED_USD,
    N_DRIFT_Z,
    N_INFLATION,
    N_LATE,
    N_LOG2_USD,
    N_MEAN_USD,
    N_MODEL_FADES,
    N_MODEL_LEFT,
    N_ODD,
    N_OWN_Z,
    N_RELATIVE,
    N_USD,
    N_YOUNG_FADES,
    N_YOUNG_LEFT,
    Frame,
)

_CLIP: Final = 5.0
_MOST: Final = 256.0
_FAST: Final = 32.0
_ODD_MEANS: Final = 0.5
"""What of an odd amount does not move the mean; its spread and habits do not learn the rest either."""
_ODDEST: Final = 0.9
"""A tenth of the oddest is learned all the same: who is odd in one way for months must become usual."""
_LEAST_RELATIVE: Final = 0.01
_LEAST_BETWEEN: Final = 0.05
_LEAST_NOISE: Final = 0.01
_LEAST_STRENGTH: Final = 4.0
_MOST_STRENGTH: Final = 512.0
_CENTRAL: Final = 1.645
_TELLS_AFTER: Final = 2.0
_TELLS_SPREAD_AFTER: Final = 5.0

DRIFT = declare(
    "amount_drift",
    unit="standard errors",
    reads="the account's mean over its last 32 payments against its long mean",
    null_when="the amount is null, or the account never paid",
    group=Group("context", 0.3),
)


@compiled
def measure(f: Frame) -> None:
    """Set where the amount stands in the account's shrunk distribution, the drift, and what habit allows.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", amount_usd=10.0)["amount_drift"]
    nan
    """
    account, now, usd = f.account, f.now, f.now[N_USD]
    now[N_MODEL_LEFT] = now[N_MODEL_FADES]
    now[N_YOUNG_LEFT] = now[N_MODEL_FADES] * now[N_YOUNG_FADES]
    weight = account[MODEL_WEIGHT] * now[N_MODEL_LEFT]
    worth = _shrink(f, weight)
    spread = now[N_MEAN_USD] * sqrt(now[N_RELATIVE] * now[N_INFLATION])
    now[N_OWN_Z] = (usd - now[N_MEAN_USD]) / spread
    now[N_CLIPPED_USD] = min(max(usd, now[N_MEAN_USD] - _CLIP * spread), now[N_MEAN_USD] + _CLIP * spread)
    if account[MODEL_FAST_WEIGHT] > 0.0:
        _measure_drift(f, worth)
    habit.measure(f, weight)


@compiled
def _shrink(f: Frame, weight: float) -> float:
    """Set the account's mean and relative spread, shrunk; give what the mean is worth in payments."""
    account, now = f.account, f.now
    common = f.prior
    mean = max(SMALLEST_USD, common[MODEL_MEAN] if common[MODEL_WEIGHT] > 0.0 else now[N_USD])
    base = max(_LEAST_RELATIVE, common[MODEL_RESIDUALS])
    within = base * mean * mean
    between = max(_LEAST_BETWEEN * within, common[MODEL_SQUARE] - mean * mean - within)
    worth = weight + within / between
    now[N_MEAN_USD] = max(SMALLEST_USD, (weight * account[MODEL_MEAN] + (worth - weight) * mean) / worth)
    noise = max(_LEAST_NOISE, common[STRENGTH_NOISE])
    differ = max(noise / _MOST_STRENGTH, common[STRENGTH_SQUARE] - noise * common[STRENGTH_INVERSE])
    strength = max(_LEAST_STRENGTH, noise / differ)
    residuals = account[MODEL_RESIDUALS] * now[N_MODEL_LEFT]
    now[N_RELATIVE] = max(_LEAST_RELATIVE, (strength * base + residuals) / (strength + weight))
    now[N_INFLATION] = 1.0 + 1.0 / worth
    now[N_APART] = residuals / weight / base - 1.0 if weight > _TELLS_SPREAD_AFTER else nan
    return float(worth)


@compiled
def _measure_drift(f: Frame, worth: float) -> None:
    fast, own = f.account[MODEL_FAST_WEIGHT], f.now[N_MEAN_USD]
    error = own * sqrt(f.now[N_RELATIVE] * (1.0 / fast + 1.0 / worth))
    drift = (f.account[MODEL_FAST] - own) / error
    f.now[N_DRIFT_Z] = f.values[DRIFT] = drift
    f.low[DRIFT] = -_CENTRAL
    f.high[DRIFT] = _CENTRAL
    if drift > ORDINARY:
        f.surprise[DRIFT] = tail_surprisal(drift)


@compiled
def _residual(f: Frame) -> float:
    """The clipped amount's squared relative residual, without what the mean's own uncertainty adds."""
    apart = f.now[N_CLIPPED_USD] / f.now[N_MEAN_USD] - 1.0
    return float(apart * apart / f.now[N_INFLATION])


@compiled
def _odd(f: Frame) -> float:
    """The chance that the amount is odd, as far as that keeps it from being learned; what people cleared is not odd."""
    return min(_ODDEST, float(f.now[N_ODD])) if f.now[N_LATE] == 0.0 else 0.0


@compiled
def remember(f: Frame) -> None:
    """Let what is known fade with time, whether the amount is learned or not."""
    f.account[MODEL_WEIGHT] *= f.now[N_MODEL_LEFT]
    f.account[MODEL_RESIDUALS] *= f.now[N_MODEL_LEFT]
    habit.fade(f)


@compiled
def learn(f: Frame) -> None:
    """Learn the clipped amount, the less the odder it is."""
    account, usd, odd = f.account, f.now[N_CLIPPED_USD], _odd(f)
    taken = 1.0 - _ODD_MEANS * odd
    weight = account[MODEL_WEIGHT]
    account[MODEL_MEAN] = (weight * account[MODEL_MEAN] + taken * usd) / (weight + taken)
    account[MODEL_RESIDUALS] += (1.0 - odd) * _residual(f)
    if weight + taken > _MOST:
        account[MODEL_RESIDUALS] *= _MOST / (weight + taken)
    account[MODEL_WEIGHT] = min(_MOST, weight + taken)
    fast = account[MODEL_FAST_WEIGHT]
    account[MODEL_FAST] = (fast * account[MODEL_FAST] + usd) / (fast + 1.0)
    account[MODEL_FAST_WEIGHT] = min(_FAST, fast + 1.0)
    known = f.now[N_LOG2_USD]
    shown = known if known == known else log2(max(SMALLEST_USD, f.now[N_USD]))  # noqa: PLR0124 -- false only for NaN
    habit.learn(f, shown, 1.0 - odd)


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn the common mean and square, how one account's payments differ, and how much such spreads differ."""
    usd, odd = f.now[N_CLIPPED_USD], _odd(f)
    record[MODEL_WEIGHT] += 1.0
    share = max(rate, 1.0 / record[MODEL_WEIGHT]) * (1.0 - _ODD_MEANS * odd)
    record[MODEL_MEAN] += share * (usd - record[MODEL_MEAN])
    record[MODEL_SQUARE] += share * (usd * usd - record[MODEL_SQUARE])
    if f.account[MODEL_WEIGHT] > _TELLS_AFTER + 1.0:
        record[MODEL_RESIDUALS_WEIGHT] += 1.0
        share = max(rate, 1.0 / record[MODEL_RESIDUALS_WEIGHT]) * (1.0 - odd)
        record[MODEL_RESIDUALS] += share * (_residual(f) - record[MODEL_RESIDUALS])
    apart = f.now[N_APART]
    if apart == apart:  # noqa: PLR0124 -- false only for NaN
        record[STRENGTH_WEIGHT] += 1.0
        share = max(rate, 1.0 / record[STRENGTH_WEIGHT]) * (1.0 - odd)
        scatter = _residual(f) / f.now[N_RELATIVE] - 1.0
        record[STRENGTH_SQUARE] += share * (apart * apart - record[STRENGTH_SQUARE])
        record[STRENGTH_INVERSE] += share * (1.0 / max(1.0, f.account[MODEL_WEIGHT] - 1.0) - record[STRENGTH_INVERSE])
        record[STRENGTH_NOISE] += share * (scatter * scatter - record[STRENGTH_NOISE])
