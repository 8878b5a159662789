"""When somebody is active: counts of hours of the day and days of the week, two counts in a word.

Rules: a count is a whole number below 2**26, so that two of them and their sum are exact in one word; everything is
halved when the total grows large, so that habits may change. Hour h stands in word h % 12 beside hour h + 12, day d in
word 12 + d % 4 beside day d + 4; the total takes the place of an eighth day.
"""

from typing import Final

import numpy as np

from rules.arrays import F8
from rules.compiled import compiled

HIGH: Final = 67_108_864.0
"""What one of the upper count of a word is worth."""

_MASK: Final = 67_108_863
_BITS: Final = 26
_HALF_DAY: Final = 12
_HALF_WEEK: Final = 4
_DAYS: Final = 12
_TOTAL: Final = 7
_WORDS: Final = 16
_HALVE_AT: Final = 4000
_NEAR: Final = (0, 1, -1, 2, -2)
_QUARTERS: Final = (4, 2, 2, 1, 1)
"""Hours that count together, and how much each does, in quarters."""
_WORD_OF: Final = np.array([[(hour + by) % 24 % _HALF_DAY for by in _NEAR] for hour in range(24)], np.int64)
_SHIFT_OF: Final = np.array([[(hour + by) % 24 // _HALF_DAY * _BITS for by in _NEAR] for hour in range(24)], np.int64)
"""In which word, and how far up in it, the hours near an hour stand."""


@compiled
def of_hour(record: F8, at: int, hour: int) -> int:
    """How often something was learned in an hour of the day."""
    word = int(record[at + hour % _HALF_DAY])
    return word >> _BITS if hour >= _HALF_DAY else word & _MASK


@compiled
def of_day(record: F8, at: int, day: int) -> int:
    """How often something was learned on a day of the week; day 7 is the total."""
    word = int(record[at + _DAYS + day % _HALF_WEEK])
    return word >> _BITS if day >= _HALF_WEEK else word & _MASK


@compiled
def busiest(record: F8, at: int) -> int:
    """The hour of the day in which most was learned, the first of equals."""
    most = 0
    for hour in range(1, 2 * _HALF_DAY):
        if of_hour(record, at, hour) > of_hour(record, at, most):
            most = hour
    return most


@compiled
def chances(record: F8, at: int, hour: int, day: int) -> tuple[float, float]:
    """How likely this hour and this day are against an even spread; 1 or more when they are usual or nothing is known.

    Hours one and two away count a half and a quarter.
    """
    total = of_day(record, at, _TOTAL)
    quarters = 0
    for near in range(len(_NEAR)):
        both = int(record[at + _WORD_OF[hour, near]])
        quarters += ((both >> _SHIFT_OF[hour, near]) & _MASK) * _QUARTERS[near]
    by_hour = (0.25 * quarters + 0.5) * 24.0 / (2.5 * total + 12.0)
    by_day = (of_day(record, at, day) + 1.0) * 7.0 / (total + 7.0)
    return by_hour, by_day


@compiled
def count(record: F8, at: int, hour: int, day: int) -> None:
    """Count an hour and a day."""
    record[at + hour % _HALF_DAY] += HIGH if hour >= _HALF_DAY else 1.0
    record[at + _DAYS + day % _HALF_WEEK] += HIGH if day >= _HALF_WEEK else 1.0
    record[at + _DAYS + _TOTAL % _HALF_WEEK] += HIGH
    if of_day(record, at, _TOTAL) >= _HALVE_AT:
        for word in range(at, at + _WORDS):
            both = int(record[word])
            record[word] = ((both >> _BITS) >> 1) * HIGH + ((both & _MASK) >> 1)
