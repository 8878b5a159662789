"""Who changes the rules: changes by an actor who never or rarely makes any, and many changes in a day."""

from math import exp

from rules.baseline.layout import ACTOR_GOVERNANCE, CHANGE_COUNT, CHANGE_US, GOVERNANCE, LEARNED, View
from rules.baseline.statistics import move_rate, rate_surprisal
from rules.features.declared import UNSCORED, Shown, declare, plain, seen_in, yes_no
from rules.features.frame import DAY_S, US, Frame

PREFIX = "governance."
_SELDOM = 0.02

UNUSUAL_ACTOR = declare(
    "governance_rare_for_actor",
    unit="yes or no",
    reads="the actor's share of activities that change rules",
    null_when="the activity changes no rule, or no actor",
    show=Shown(yes_no, seen_in),
)
CHANGES_24H = declare(
    "governance_changes_24h",
    unit="changes, decayed",
    reads="times of the actor's changes of rules, time constant 24 h",
    null_when="the activity changes no rule, or no actor",
    group=UNSCORED,
    show=plain,
)


def measure(frame: Frame) -> None:
    """Weigh a change of rules.

    >>> from rules.trial import trial
    >>> trial("governance.policy_changed", actor="bob")["governance_rare_for_actor"]
    1.0
    """
    if not frame.actor_key or not frame.observation.kind.startswith(PREFIX):
        return
    actor = frame.actor
    rare = actor[ACTOR_GOVERNANCE] < _SELDOM
    frame.values[UNUSUAL_ACTOR] = 1.0 if rare else 0.0
    frame.usual[UNUSUAL_ACTOR] = actor[ACTOR_GOVERNANCE]
    prior = max(_SELDOM, frame.population[GOVERNANCE])
    frame.surprise[UNUSUAL_ACTOR] = rate_surprisal(actor[LEARNED], actor[ACTOR_GOVERNANCE], prior)
    frame.values[CHANGES_24H] = _changes(frame) + 1.0


def _changes(frame: Frame) -> float:
    gap_s = max(0.0, frame.now_us - frame.actor[CHANGE_US]) / US
    return frame.actor[CHANGE_COUNT] * exp(-gap_s / DAY_S)


def remember(frame: Frame) -> None:
    """Count a change of rules."""
    if frame.actor_key and frame.observation.kind.startswith(PREFIX):
        frame.actor[CHANGE_COUNT] = _changes(frame) + 1.0
        frame.actor[CHANGE_US] = max(frame.actor[CHANGE_US], frame.now_us)


def learn(frame: Frame, rate: float) -> None:
    """Learn how often the actor changes rules."""
    if frame.actor_key:
        move_rate(frame.actor, ACTOR_GOVERNANCE, _is_change(frame), rate)


def learn_population(frame: Frame, record: View, rate: float) -> None:
    """Learn how often anybody changes rules."""
    if frame.actor_key:
        move_rate(record, GOVERNANCE, _is_change(frame), rate)


def _is_change(frame: Frame) -> float:
    return 1.0 if frame.observation.kind.startswith(PREFIX) else 0.0
