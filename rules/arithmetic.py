"""Logarithms and exponentials from + - * / and the bits of a float alone.

Rules: the C library's log and exp differ in the last bit from machine to machine; these do not, so that a score is the
same on every processor. Relative error below 1e-12 (property-tested against the standard library).
"""

from typing import Final

import numpy as np

from rules.compiled import entry

_MANTISSA: Final = 0xFFFFFFFFFFFFF
_BIAS: Final = 1023
_ONE: Final = 1023 << 52
_ROOT_2: Final = 1.4142135623730951
_TWO_OVER_LN2: Final = 2.8853900817779268
_LN2: Final = 0.6931471805599453
_LN2_HIGH: Final = 0.6931471803691238
_LN2_LOW: Final = 1.9082149292705877e-10
_INVERSE_LN2: Final = 1.4426950408889634
_LOG10_2: Final = 0.3010299956639812
_LOG2_10: Final = 3.321928094887362
_SMALLEST: Final = 2.2250738585072014e-308
_TWO_54: Final = 18014398509481984.0
_MOST_EXPONENT: Final = 1023.0
_LEAST_EXPONENT: Final = -1022.0


@entry
def log2(x: float) -> float:
    """The binary logarithm; -inf of zero, NaN of what is negative.

    >>> log2(8.0), log2(0.0)
    (3.0, -inf)
    """
    if not x > 0.0:
        return -np.inf if x == 0.0 else np.nan
    if x == np.inf:
        return np.inf
    shift = 0
    if x < _SMALLEST:
        x *= _TWO_54
        shift = 54
    bits = np.float64(x).view(np.int64)
    exponent = (bits >> 52) - _BIAS - shift
    m = np.int64((bits & _MANTISSA) | _ONE).view(np.float64)
    if m > _ROOT_2:
        m *= 0.5
        exponent += 1
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    p = 1.0 / 17.0
    p = p * q + 1.0 / 15.0
    p = p * q + 1.0 / 13.0
    p = p * q + 1.0 / 11.0
    p = p * q + 1.0 / 9.0
    p = p * q + 1.0 / 7.0
    p = p * q + 1.0 / 5.0
    p = p * q + 1.0 / 3.0
    p = p * q + 1.0
    return float(exponent + _TWO_OVER_LN2 * s * p)


@entry
def log(x: float) -> float:
    """The natural logarithm."""
    return log2(x) * _LN2


@entry
def log10(x: float) -> float:
    """The decimal logarithm.

    >>> round(log10(1000.0), 12)
    3.0
    """
    return log2(x) * _LOG10_2


@entry
def _scaled(r: float, k: int) -> float:
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return float(p * np.int64((k + _BIAS) << 52).view(np.float64))


@entry
def exp2(x: float) -> float:
    """Two to the power of ``x``: 0 below 2**-1022, and at most the largest power of two that is finite.

    >>> exp2(3.0), exp2(-5000.0)
    (8.0, 0.0)
    """
    if not x > _LEAST_EXPONENT:
        return 0.0 if x <= _LEAST_EXPONENT else np.nan
    x = min(x, _MOST_EXPONENT)
    k = int(np.floor(x + 0.5))
    return _scaled((x - k) * _LN2, k)


@entry
def exp(x: float) -> float:
    """E to the power of ``x``, with the bounds of ``exp2``."""
    y = x * _INVERSE_LN2
    if not y > _LEAST_EXPONENT:
        return 0.0 if y <= _LEAST_EXPONENT else np.nan
    if y >= _MOST_EXPONENT:
        return exp2(_MOST_EXPONENT)
    k = int(np.floor(y + 0.5))
    return _scaled((x - k * _LN2_HIGH) - k * _LN2_LOW, k)


@entry
def exp10(x: float) -> float:
    """Ten to the power of ``x``, with the bounds of ``exp2``."""
    return exp2(x * _LOG2_10)
