"""Who changes the rules: changes by an actor who never or rarely makes any, and many changes in a day."""

from typing import Final

from rules.arithmetic import exp
from rules.arrays import F8
from rules.baseline.layout import ACTOR_GOVERNANCE, CHANGE_COUNT, CHANGE_US, LEARNED
from rules.baseline.layout import GOVERNANCE as GOVERNANCE_RATE
from rules.baseline.statistics import move_rate, rate_surprisal
from rules.compiled import compiled
from rules.event import E_ACTOR, E_FAMILY, GOVERNANCE
from rules.features.declared import FACT, UNSCORED, Group, declare
from rules.features.frame import DAY_US, N_NOW_US, Frame
from rules.features.weighing import tell_fact

_SELDOM: Final = 0.02

UNUSUAL_ACTOR = declare(
    "governance_rare_for_actor",
    unit="yes or no",
    reads="the actor's share of activities that change rules",
    null_when="the activity changes no rule, or no actor",
    group=Group(weight=0.2),
    show=FACT,
)
CHANGES_24H = declare(
    "governance_changes_24h",
    unit="changes, decayed",
    reads="times of the actor's changes of rules, time constant 24 h",
    null_when="the activity changes no rule, or no actor",
    group=UNSCORED,
)


@compiled
def measure(f: Frame) -> None:
    """Weigh a change of rules.

    >>> from rules.trial import trial
    >>> trial("governance.policy_changed", actor="bob")["governance_rare_for_actor"]
    1.0
    """
    if f.event[E_ACTOR] == 0.0 or f.event[E_FAMILY] != GOVERNANCE:
        return
    rate = f.actor[ACTOR_GOVERNANCE]
    tell_fact(f, UNUSUAL_ACTOR, 1.0 if rate < _SELDOM else 0.0, rate)
    prior = max(_SELDOM, f.population[GOVERNANCE_RATE])
    f.surprise[UNUSUAL_ACTOR] = rate_surprisal(f.actor[LEARNED], rate, prior)
    f.values[CHANGES_24H] = _changes(f) + 1.0


@compiled
def _changes(f: Frame) -> float:
    gap_us = max(0.0, f.now[N_NOW_US] - f.actor[CHANGE_US])
    return float(f.actor[CHANGE_COUNT] * exp(-gap_us / DAY_US))


@compiled
def remember(f: Frame) -> None:
    """Count a change of rules."""
    if f.event[E_ACTOR] != 0.0 and f.event[E_FAMILY] == GOVERNANCE:
        f.actor[CHANGE_COUNT] = _changes(f) + 1.0
        f.actor[CHANGE_US] = max(f.actor[CHANGE_US], f.now[N_NOW_US])


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn how often the actor changes rules."""
    if f.event[E_ACTOR] != 0.0:
        move_rate(f.actor, ACTOR_GOVERNANCE, 1.0 if f.event[E_FAMILY] == GOVERNANCE else 0.0, rate)


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn how often anybody changes rules."""
    if f.event[E_ACTOR] != 0.0:
        move_rate(record, GOVERNANCE_RATE, 1.0 if f.event[E_FAMILY] == GOVERNANCE else 0.0, rate)
