"""The guards of a detector set as arrays, for the compiled kernel.

Rules enforced here: guard ``i`` belongs to the ``i``-th detector that runs, in order of id. A guard compares one number
with one constant; NaN passes none. The comparison codes are part of this module's interface: the kernel compares by them.
"""

from typing import Final, NamedTuple

import numpy as np

from rules.arrays import B1, F8, I8

OPERATORS: Final = (">=", ">", "<=", "<", "==")
"""Comparisons, by code."""

OP_GE: Final = 0
OP_GT: Final = 1
OP_LE: Final = 2
OP_LT: Final = 3
OP_EQ: Final = 4


class Guards(NamedTuple):
    """One row for each detector that runs.

    ``feature`` is the index of the one that is compared, ``surprising`` whether its surprisal is meant rather than its
    value, ``op`` one of the comparison codes, ``number`` the constant. ``kinds[i, code]`` says whether the detector
    covers a kind of activity.
    """

    feature: I8
    surprising: B1
    op: I8
    number: F8
    kinds: B1


class Row(NamedTuple):
    """One guard in Python: what a row of :class:`Guards` is made from."""

    feature: int
    surprising: bool
    op: int
    number: float
    kinds: tuple[bool, ...]


def passes(value: float, op: float, number: float) -> bool:
    """Whether a value passes a comparison; the kernel compiles this very function.

    >>> passes(5.0, OP_GE, 5.0), passes(float("nan"), OP_LT, 5.0)
    (True, False)
    """
    if op == OP_GE:
        return value >= number
    if op == OP_GT:
        return value > number
    if op == OP_LE:
        return value <= number
    return value < number if op == OP_LT else value == number


def stacked(rows: list[Row], kinds: int) -> Guards:
    """The arrays of some rows; ``kinds`` is the number of kinds of activity, needed when there is no row."""
    return Guards(
        feature=np.array([row.feature for row in rows], dtype=np.int64),
        surprising=np.array([row.surprising for row in rows], dtype=np.bool_),
        op=np.array([row.op for row in rows], dtype=np.int64),
        number=np.array([row.number for row in rows], dtype=np.float64),
        kinds=np.array([row.kinds for row in rows], dtype=np.bool_).reshape(len(rows), kinds),
    )
