"""From a sum of surprisals to a p-value.

Rules enforced here:
- The p-value is conformal (Vovk, Gammerman, Shafer 2005): the share of recent scores at least as large, this one
  counted in. Recent means exponentially decayed with the settings' half-life, in a histogram of fixed bins.
- Where fewer than ``RESOLVED`` recent scores are as large, the histogram cannot resolve it: the p-value then comes
  from an exponential fitted to the mean excess of the largest scores (Balkema and de Haan 1974, shape 0), and says so.
- It is always in (0, 1] and never 0, so the score is finite.
"""

from math import exp
from typing import Final

from rules.baseline.layout import LAST_US, LEARNED, View

RESOLVED: Final = 10.0
SMALLEST_P: Final = 1e-300
_TOTAL: Final = 6
_EPOCH_US: Final = 7
_COARSE: Final = 8
_FINE: Final = 24
_PER_COARSE: Final = 16
_BINS: Final = 192
_PER_UNIT: Final = 4.0
_TAIL_SHARE: Final = 0.005
_REBASE: Final = 2.0**40
_LN10: Final = 2.302585092994046


def scores_seen(view: View) -> float:
    """How many scores were ever counted."""
    return view[LEARNED]


def p_value(view: View, raw: float, now_us: float, half_life_us: float) -> tuple[float, bool]:
    """The p-value of a raw score, and whether it comes from the tail fit."""
    if view[LEARNED] < 1.0:
        return _declared(raw), True
    one = _weight(view, now_us, half_life_us)
    at = _bin(raw)
    above = _above(view, at) + 0.5 * view[_FINE + at]
    total = view[_TOTAL]
    if above >= RESOLVED * one:
        return min(1.0, (above + one) / (total + one)), False
    return _tail(view, raw, one), True


def count(view: View, raw: float, now_us: float, half_life_us: float) -> None:
    """Count a raw score."""
    if view[LEARNED] == 0.0:
        view[_EPOCH_US] = now_us
    one = _weight(view, now_us, half_life_us)
    if one > _REBASE:
        for word in (_TOTAL, *range(_COARSE, _FINE + _BINS)):
            view[word] /= one
        view[_EPOCH_US] = now_us
        one = 1.0
    at = _bin(raw)
    view[_FINE + at] += one
    view[_COARSE + at // _PER_COARSE] += one
    view[_TOTAL] += one
    view[LEARNED] += 1.0
    view[LAST_US] = max(view[LAST_US], now_us)


def _weight(view: View, now_us: float, half_life_us: float) -> float:
    ahead = max(view[LAST_US], now_us)
    exponent = (ahead - view[_EPOCH_US]) / half_life_us
    return float(2.0 ** min(exponent, 1000.0))


def _bin(raw: float) -> int:
    at = int(raw * _PER_UNIT)
    return at if at < _BINS else _BINS - 1


def _above(view: View, at: int) -> float:
    coarse = at // _PER_COARSE
    end = _FINE + (coarse + 1) * _PER_COARSE
    return sum(view[_FINE + at + 1 : end]) + sum(view[_COARSE + coarse + 1 : _COARSE + _BINS // _PER_COARSE])


def _declared(raw: float) -> float:
    """Without any score yet: half of the raw surprisal is believed, because its parts are not independent."""
    return max(SMALLEST_P, float(exp(-0.5 * _LN10 * raw)))


def _tail(view: View, raw: float, one: float) -> float:
    total = view[_TOTAL]
    wanted = max(RESOLVED * one, _TAIL_SHARE * total)
    mass = 0.0
    excess = 0.0
    at = _BINS - 1
    while at > 0:
        mass += view[_FINE + at]
        if mass >= wanted:
            break
        at -= 1
    start = at / _PER_UNIT
    for higher in range(at, _BINS):
        excess += view[_FINE + higher] * ((higher + 0.5) / _PER_UNIT - start)
    if mass <= 0.0:
        return _declared(raw)
    scale = max(excess / mass, 1.0 / _PER_UNIT)
    reached = min(1.0, (mass + one) / (total + one))
    return max(SMALLEST_P, min(1.0, reached * exp(-max(0.0, raw - start) / scale)))
