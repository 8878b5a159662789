"""How well the engine's promises hold: calibration against what was told, budgets against what was asked.

Rules: read from decayed counts that the kernel keeps anyway; ``None`` says that too little was seen to tell.
"""

from typing import Final

import msgspec

from rules.baseline.budget import B_ALERTS, B_DAYS
from rules.baseline.shared import BUDGETS, CLASSES, S_ALERTS_PER_DAY, Shared
from rules.baseline.tails import T_ORDINARY, T_SCALE, T_SEEN, T_UP_TO_1, T_UP_TO_10, T_WEIGHT

_ENOUGH: Final = 200.0
_ENOUGH_DAYS: Final = 1.0


class Calibration(msgspec.Struct, frozen=True):
    """One class of scores: how many were ever counted, and how the recent ones fit.

    A drift is the share of p-values up to 0.1 or 0.01 over what it should be. 1 is perfect; above, the class has become
    odder than its calibration knows.
    """

    name: str
    scores: int
    drift_at_10_percent: float | None
    drift_at_1_percent: float | None


class Budget(msgspec.Struct, frozen=True):
    """Alerts a day: asked (``None`` without a budget) and, lately, realised."""

    name: str
    asked: float | None
    realised: float | None


class Health(msgspec.Struct, frozen=True):
    """All of it, after the row of the learning sequence that ``sequence`` is the number of."""

    sequence: int
    calibrations: tuple[Calibration, ...]
    budgets: tuple[Budget, ...]


def health_of(shared: Shared, sequence: int) -> Health:
    """The present state."""
    return Health(
        sequence,
        tuple(_calibration(shared, at, name) for at, name in enumerate(CLASSES)),
        tuple(_budget(shared, at, name) for at, name in enumerate(BUDGETS[:-1])),
    )


def _calibration(shared: Shared, at: int, name: str) -> Calibration:
    final = shared.final[at]
    weight = float(final[T_WEIGHT] + final[T_ORDINARY])
    known = weight / float(final[T_SCALE]) >= _ENOUGH
    return Calibration(
        name,
        int(final[T_SEEN]),
        float(final[T_UP_TO_10]) / weight / 0.1 if known else None,
        float(final[T_UP_TO_1]) / weight / 0.01 if known else None,
    )


def _budget(shared: Shared, at: int, name: str) -> Budget:
    asked, row = float(shared.settings[S_ALERTS_PER_DAY + at]), shared.budgets[at]
    days = float(row[B_DAYS])
    return Budget(name, asked or None, float(row[B_ALERTS]) / days if days >= _ENOUGH_DAYS else None)
