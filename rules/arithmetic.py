"""Logarithms and exponentials from + - * / and the bits of a float alone.

Rules: the C library's log and exp differ in the last bit from machine to machine; these do not, so that a score is the
same on every processor. Relative error below 1e-12 (property-tested against the standard library). Each reads one line
of a table and ends in a short polynomial (Tang 1989, 1990), so that none divides; the tables are made by exact decimal
arithmetic, not by a C library.
"""

from decimal import Context, Decimal
from typing import Final

import numpy as np

from rules.arrays import F8
from rules.compiled import compiled, entry

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
_LEAST_POWER: Final = -709.0
"""E to the power of this lies below 2**-1022."""

_BIAS: Final = 1023
_MANTISSA_BITS: Final = 52
_EXPONENT: Final = ~0xFFFFFFFFFFFFF
_BITS: Final = 7
_PARTS: Final = 1 << _BITS
_LOWEST: Final = 0x3FE6000000000000
"""The bits of 11/16: a number is a power of two times one of [11/16, 11/8), which 128 parts share out."""
_STEP: Final = 1 << (_MANTISSA_BITS - _BITS)

_L1: Final = 1.4426950408889634
_L2: Final = -0.7213475204444817
_L3: Final = 0.48089834696298783
_L4: Final = -0.36067376022224085
_L5: Final = 0.28853900817779266
_L6: Final = -0.24044917348149392
"""The series of log2(1 + r): 1/ln 2 over 1, -2, 3 and so on."""


def _centre(part: int) -> float:
    """The number that a part is measured from: its middle, but 1 itself on either side of 1."""
    first, following = (float(np.int64(_LOWEST + at * _STEP).view(np.float64)) for at in (part, part + 1))
    return 1.0 if 1.0 in (first, following) else (first + following) / 2.0


def _logarithms() -> F8:
    exact = Context(prec=40)
    lines = []
    for part in range(_PARTS):
        centre = Decimal(_centre(part))
        lines.append((float(centre), float(exact.divide(1, centre)), float(exact.ln(centre) / exact.ln(Decimal(2)))))
    return np.array([(*line, 0.0) for line in lines], np.float64)


def _powers() -> F8:
    exact = Context(prec=40)
    return np.array([float(exact.power(2, Decimal(at) / _PARTS)) for at in range(_PARTS)], np.float64)


_LOGARITHMS: Final = _logarithms()
"""Of each part: its centre, one over it, its binary logarithm."""
_POWERS: Final = _powers()
"""Two to the power of each 128th."""


@compiled
def log2_of_normal(x: float) -> float:
    """The binary logarithm of a positive, finite number that is not tiny: without a branch, for several numbers at once."""
    bits = np.float64(x).view(np.int64)
    above = bits - _LOWEST
    part = (above >> (_MANTISSA_BITS - _BITS)) & (_PARTS - 1)
    m = np.int64(bits - (above & _EXPONENT)).view(np.float64)
    r = (m - _LOGARITHMS[part, 0]) * _LOGARITHMS[part, 1]
    q = r * r
    p = r * (_L1 + r * _L2) + q * r * ((_L3 + r * _L4) + q * (_L5 + r * _L6))
    return float(float(above >> _MANTISSA_BITS) + _LOGARITHMS[part, 2] + p)


@compiled
def log10_of_normal(x: float) -> float:
    """The decimal logarithm, likewise."""
    return log2_of_normal(x) * _LOG10_2


@entry
def log2(x: float) -> float:
    """The binary logarithm; -inf of zero, NaN of what is negative.

    >>> log2(8.0), log2(0.0)
    (3.0, -inf)
    """
    if _SMALLEST <= x < np.inf:
        return log2_of_normal(x)
    if not x > 0.0:
        return -np.inf if x == 0.0 else np.nan
    return np.inf if x == np.inf else log2_of_normal(x * _TWO_54) - 54.0


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


@compiled
def _scaled(r: float, k: int) -> float:
    """E to the power of a small ``r``, times two to the power of ``k`` 128ths."""
    q = r * r
    p = r + q * (0.5 + r * (1.0 / 6.0) + q * (1.0 / 24.0))
    power = _POWERS[k & (_PARTS - 1)]
    return float((power + power * p) * np.int64(((k >> _BITS) + _BIAS) << _MANTISSA_BITS).view(np.float64))


@entry
def exp2(x: float) -> float:
    """Two to the power of ``x``: 0 below 2**-1022, and at most the largest power of two that is finite.

    >>> exp2(3.0), exp2(-5000.0)
    (8.0, 0.0)
    """
    if not x > _LEAST_EXPONENT:
        return 0.0 if x <= _LEAST_EXPONENT else np.nan
    x = min(x, _MOST_EXPONENT) * _PARTS
    k = np.floor(x + 0.5)
    return _scaled((x - k) * (_LN2 / _PARTS), int(k))


@entry
def exp(x: float) -> float:
    """E to the power of ``x``, with the bounds of ``exp2``."""
    y = x * _INVERSE_LN2
    if not y > _LEAST_EXPONENT:
        return 0.0 if y <= _LEAST_EXPONENT else np.nan
    if y >= _MOST_EXPONENT:
        return exp2(_MOST_EXPONENT)
    k = np.floor(y * _PARTS + 0.5)
    return _scaled((x - k * (_LN2_HIGH / _PARTS)) - k * (_LN2_LOW / _PARTS), int(k))


@compiled
def exp2_of_past(x: float) -> float:
    """As ``exp2`` of 0 or less, which is finite: without a branch, for several numbers at once."""
    y = max(x, _LEAST_EXPONENT) * _PARTS
    k = np.floor(y + 0.5)
    power = _scaled((y - k) * (_LN2 / _PARTS), int(k))
    return power if x > _LEAST_EXPONENT else 0.0


@compiled
def exp_of_past(x: float) -> float:
    """As ``exp`` of 0 or less, likewise."""
    bounded = max(x, _LEAST_POWER)
    y = bounded * _INVERSE_LN2
    k = np.floor(y * _PARTS + 0.5)
    power = _scaled((bounded - k * (_LN2_HIGH / _PARTS)) - k * (_LN2_LOW / _PARTS), int(k))
    return power if y > _LEAST_EXPONENT else 0.0


@entry
def exp10(x: float) -> float:
    """Ten to the power of ``x``, with the bounds of ``exp2``."""
    return exp2(x * _LOG2_10)
