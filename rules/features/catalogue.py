"""All features, and which of them are measured, remembered and learned for which family of activity.

Rules enforced here:
- These functions are the only place that says what happens to which kind of activity; the kernel calls them.
- A feature that is named is declared, once; the compiled kernel holds its index.
"""

from math import nan
from typing import Final

import numpy as np

from rules.arrays import F8, I8
from rules.compiled import compiled
from rules.event import E_FAMILY, E_KIND, GOVERNANCE, KIND_AT, MONEY, SIGNING
from rules.features import (
    access,
    amount,
    asset,
    balance,
    contagion,
    crowd,
    destination,
    fading,
    governance,
    history,
    linkage,
    listing,
    movement,
    peers,
    rarity,
    reputation,
    signing,
    timing,
    velocity,
    weighing,
)
from rules.features.declared import DECLARED, Feature
from rules.features.frame import N_ANY_HABIT, N_DRIFT_Z, N_LOG2_USD, N_OWN_HABIT, N_OWN_Z, Frame
from rules.features.names import NAMES

FEATURES: Final[tuple[Feature, ...]] = tuple(sorted(DECLARED, key=lambda feature: feature.index))
"""Every feature, by index."""

if tuple(feature.name for feature in FEATURES) != NAMES:
    raise ValueError(f"features {sorted(set(NAMES) - {f.name for f in FEATURES})} are named but not declared")

BY_NAME: Final[dict[str, Feature]] = {feature.name: feature for feature in FEATURES}
"""Every feature, by name."""

GROUP_NAMES: Final = tuple(dict.fromkeys(feature.group for feature in FEATURES if feature.scored))
"""Groups of scored features, in order of their first feature."""

GROUPS: Final[I8] = np.array(
    [GROUP_NAMES.index(feature.group) if feature.scored else -1 for feature in FEATURES], np.int64
)
"""Number of each feature's group; -1 for what only rules read."""

WEIGHTS: Final[F8] = np.array([feature.weight if feature.scored else 0.0 for feature in FEATURES], np.float64)
"""Share of attacks that are expected to show in each feature."""

REPUTATIONS: Final = reputation.REPUTATION
"""Features that verdicts set: destination, device, network, actor, account."""

_DEPOSIT: Final = KIND_AT["deposit.confirmed"]
_FAILED: Final = KIND_AT["withdrawal.failed"]
_CANCELLED: Final = KIND_AT["withdrawal.cancelled"]


@compiled
def measure(f: Frame) -> None:
    """Measure every feature of the event's family."""
    f.now[N_OWN_Z] = f.now[N_LOG2_USD] = f.now[N_DRIFT_Z] = f.now[N_OWN_HABIT] = f.now[N_ANY_HABIT] = nan
    family = int(f.event[E_FAMILY])
    if family > GOVERNANCE:
        return
    fading.measure(f)
    rarity.clear(f)
    history.measure(f)
    linkage.measure(f)
    access.measure(f)
    movement.measure(f)
    crowd.measure(f)
    contagion.measure(f)
    listing.measure(f)
    if family in (MONEY, SIGNING):
        if family == MONEY:
            amount.measure(f)
        else:
            amount.measure_if_told(f)
        velocity.measure(f)
        timing.measure(f)
        destination.measure(f)
        linkage.measure_whitelisting(f)
        asset.measure(f)
        signing.measure(f)
    elif family == GOVERNANCE:
        governance.measure(f)
    rarity.draw(f)


@compiled
def tell_ranges(f: Frame, least: float) -> None:
    """Set the usual ranges of features that have at least ``least`` of the score: costly, so only where they are read."""
    weighing.tell_ranges(f, least)
    velocity.tell_ranges(f, least)
    amount.tell_range_anywhere(f, least)
    destination.tell_range_of_fan_out(f, least)
    timing.tell_hours(f, least)
    access.tell_ranges(f, least)
    crowd.tell_range_of_network(f, least)
    peers.tell(f)


@compiled
def remember(f: Frame) -> None:
    """Remember what happened, whether it may be learned or not."""
    family = int(f.event[E_FAMILY])
    if family > GOVERNANCE:
        return
    if family in (MONEY, SIGNING):
        amount.remember(f)
        velocity.remember(f)
        balance.remember(f)
        destination.remember(f)
    else:
        linkage.remember(f)
        if family == GOVERNANCE:
            governance.remember(f)
    access.remember(f)
    movement.remember(f)
    crowd.remember(f)
    contagion.remember(f)


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn what is usual for the event's entities."""
    family = int(f.event[E_FAMILY])
    if family > GOVERNANCE:
        return
    if family in (MONEY, SIGNING):
        amount.learn(f, rate)
        velocity.learn(f, rate)
        timing.learn(f)
        destination.learn(f, rate)
        asset.learn(f, rate)
        if family == SIGNING:
            signing.learn(f, rate)
    access.learn(f, rate)
    movement.learn(f, rate)
    crowd.learn(f)
    governance.learn(f, rate)


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn what is usual for a peer group or for all."""
    family = int(f.event[E_FAMILY])
    if family > GOVERNANCE:
        return
    if family in (MONEY, SIGNING):
        amount.learn_population(f, record, rate)
        velocity.learn_population(f, record, rate)
        destination.learn_population(f, record, rate)
        linkage.learn_population(f, record, rate)
    else:
        governance.learn_population(f, record, rate)
    access.learn_population(f, record, rate)
    movement.learn_population(f, record, rate)
    crowd.learn_population(f, record, rate)


@compiled
def settle(f: Frame) -> None:
    """Take back a transfer that failed or was cancelled, or receive a deposit, of an account that is known."""
    kind = f.event[E_KIND]
    if kind == _DEPOSIT:
        balance.receive(f)
    elif kind in (_FAILED, _CANCELLED):
        velocity.give_back(f)
