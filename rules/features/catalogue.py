"""All features, and which of them are measured, remembered and learned for which family of activity.

Rules enforced here:
- This table is the only place that says what happens to which kind of activity; the kernel walks it.
- A score is the sum of contributions: each group's largest surprisal above ``NOISE``, times the frame's weight. The sum
  is correctly rounded (``math.fsum``), so that it does not depend on the order of features.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from math import fsum
from typing import Final

from rules.baseline.layout import View
from rules.features import access, amount, balance, destination, governance, history, linkage, signing, timing, velocity
from rules.features.declared import DECLARED, Feature
from rules.features.frame import Frame

NOISE: Final = 0.5
"""Surprisal that is not worth a word: one in three."""

FEATURES: Final[tuple[Feature, ...]] = tuple(DECLARED)
"""Every feature, by index."""

BY_NAME: Final[dict[str, Feature]] = {feature.name: feature for feature in FEATURES}
"""Every feature, by name."""


class Family(StrEnum):
    """Families of activity; each has its own calibration."""

    MONEY = "money"
    SIGNING = "signing"
    ACCESS = "access"
    GOVERNANCE = "governance"
    OTHER = "other"


_NOT_LEAVING: Final = frozenset({"withdrawal.failed", "withdrawal.cancelled"})


@lru_cache(maxsize=256)
def family_of(kind: str) -> Family:
    """The family of a kind of activity; what is not weighed at all is ``OTHER``.

    >>> family_of("withdrawal.requested").value, family_of("withdrawal.failed").value, family_of("deposit.confirmed").value
    ('money', 'other', 'other')
    """
    head = kind.partition(".")[0]
    if head == "withdrawal":
        return Family.OTHER if kind in _NOT_LEAVING else Family.MONEY
    return _HEADS.get(head, Family.OTHER)


_HEADS: Final = {"signing": Family.SIGNING, "access": Family.ACCESS, "governance": Family.GOVERNANCE}

Measure = Callable[[Frame], None]
Learn = Callable[[Frame, float], None]
LearnPopulation = Callable[[Frame, View, float], None]

MEASURES: Final[dict[Family, tuple[Measure, ...]]] = {
    Family.MONEY: (
        history.measure,
        linkage.measure,
        access.measure,
        amount.measure,
        velocity.measure,
        timing.measure,
        destination.measure,
        signing.measure,
    ),
    Family.SIGNING: (
        history.measure,
        linkage.measure,
        access.measure,
        amount.measure_if_told,
        velocity.measure,
        timing.measure,
        destination.measure,
        signing.measure,
    ),
    Family.ACCESS: (history.measure, linkage.measure, access.measure),
    Family.GOVERNANCE: (history.measure, linkage.measure, access.measure, governance.measure),
    Family.OTHER: (),
}

REMEMBERS: Final[dict[Family, tuple[Measure, ...]]] = {
    Family.MONEY: (velocity.remember, balance.remember, destination.remember, access.remember),
    Family.SIGNING: (velocity.remember, balance.remember, destination.remember, access.remember),
    Family.ACCESS: (linkage.remember_change, access.remember),
    Family.GOVERNANCE: (linkage.remember_change, access.remember, governance.remember),
    Family.OTHER: (),
}

LEARNS: Final[dict[Family, tuple[Learn, ...]]] = {
    Family.MONEY: (amount.learn, timing.learn, destination.learn, access.learn, governance.learn),
    Family.SIGNING: (amount.learn, timing.learn, destination.learn, access.learn, governance.learn, signing.learn),
    Family.ACCESS: (access.learn, governance.learn),
    Family.GOVERNANCE: (access.learn, governance.learn),
    Family.OTHER: (),
}

LEARNS_POPULATION: Final[dict[Family, tuple[LearnPopulation, ...]]] = {
    Family.MONEY: (destination.learn_population, linkage.learn_population, access.learn_population),
    Family.SIGNING: (destination.learn_population, linkage.learn_population, access.learn_population),
    Family.ACCESS: (access.learn_population, governance.learn_population),
    Family.GOVERNANCE: (access.learn_population, governance.learn_population),
    Family.OTHER: (),
}


def _groups() -> tuple[tuple[int, ...], ...]:
    groups: dict[str, list[int]] = {}
    for feature in FEATURES:
        if feature.scored:
            groups.setdefault(feature.group, []).append(feature.index)
    return tuple(tuple(indexes) for indexes in groups.values())


_SINGLE: Final = tuple(group[0] for group in _groups() if len(group) == 1)
_SEVERAL: Final = tuple(group for group in _groups() if len(group) > 1)


def contributions(frame: Frame) -> list[tuple[float, int]]:
    """What each feature adds to the score, as (contribution, feature index), without those that add nothing."""
    surprise, weight = frame.surprise, frame.weight
    found = [((surprise[at] - NOISE) * weight, at) for at in _SINGLE if surprise[at] > NOISE]
    for group in _SEVERAL:
        best = max(group, key=surprise.__getitem__)
        if surprise[best] > NOISE:
            found.append(((surprise[best] - NOISE) * weight, best))
    return found


def raw_score(parts: list[tuple[float, int]]) -> float:
    """The sum of contributions."""
    return fsum(part for part, _ in parts)
