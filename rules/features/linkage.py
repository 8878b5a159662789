"""What happened to the keys and the rules shortly before money moves.

Changes of credentials (second factor, password, API key, device) and of rules (whitelist, policy, quorum, roles) are
remembered per actor by kind, and per account as the latest of each sort, even when they alerted or an incident is open:
forgetting an attacker's steps would hide his next one.
"""

from math import isnan
from typing import Final

from rules.baseline.layout import (
    CHANGE_KINDS,
    CHANGE_TIMES,
    CREDENTIAL_CHANGE,
    CREDENTIAL_US,
    GOVERNANCE_US,
    LATEST_CHANGE_US,
    LEARNED,
    NEW_ACCESS_US,
    View,
)
from rules.baseline.statistics import CAP, move_rate, rate_surprisal, words
from rules.features.declared import UNSCORED, declare, duration, plain, yes_no
from rules.features.frame import DAY_S, US, Frame

CHANGES: Final = {
    "access.mfa_reset": 0,
    "access.mfa_enrolled": 1,
    "access.password_changed": 2,
    "access.api_key_created": 3,
    "access.device_enrolled": 4,
    "governance.destination_whitelisted": 5,
    "governance.policy_changed": 6,
    "governance.quorum_changed": 6,
    "governance.role_changed": 7,
    "governance.user_added": 7,
}
"""Kinds of activity that change credentials or rules, and the actor's word that remembers each."""

_GOVERNANCE_FROM: Final = 5
_WITHIN_US: Final = 7 * DAY_S * US
_DAY_US: Final = DAY_S * US
_RATE: Final = 0.05

CHANGED = declare(
    "credential_changes_24h",
    unit="kinds of changes, 0 to 8",
    reads="the actor's and the account's changes of credentials, whitelist, policy, roles within 24 h",
    null_when="neither account nor actor",
    show=plain,
)
CHANGE_AGE = declare(
    "credential_change_age_s",
    unit="s",
    reads="time since the latest such change",
    null_when="none within 7 days",
    group=UNSCORED,
    show=duration,
)
NEW_ACCESS = declare(
    "new_access_24h",
    unit="yes or no",
    reads="whether the actor came from a country or device never learned of him within 24 h",
    null_when="no actor",
    show=yes_no,
)


def measure(frame: Frame) -> None:
    """Look back at the last day and week.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested")["credential_changes_24h"]
    0.0
    """
    now_us, values = frame.now_us, frame.values
    if frame.actor_key:
        fresh = frame.actor[NEW_ACCESS_US] > 0.0 and frame.actor[NEW_ACCESS_US] >= now_us - _DAY_US
        values[NEW_ACCESS] = 1.0 if fresh else 0.0
        frame.usual[NEW_ACCESS] = 0.0
        frame.surprise[NEW_ACCESS] = 1.5 if fresh else 0.0
    values[CHANGED] = frame.usual[CHANGED] = 0.0
    times = words(frame.actor, CHANGE_TIMES, CHANGE_KINDS) if frame.actor[LATEST_CHANGE_US] else []
    of_account = [frame.account[CREDENTIAL_US], frame.account[GOVERNANCE_US]]
    latest = max(times + of_account)
    if latest <= 0.0 or now_us - latest > _WITHIN_US:
        return
    values[CHANGE_AGE] = max(0.0, now_us - latest) / US
    since = now_us - _DAY_US
    changed = max(
        sum(1 for at in times if at > 0.0 and at >= since), sum(1 for at in of_account if at > 0.0 and at >= since)
    )
    values[CHANGED] = float(changed)
    if changed:
        one = rate_surprisal(frame.population[LEARNED], frame.population[CREDENTIAL_CHANGE], _RATE)
        frame.surprise[CHANGED] = min(CAP, one * changed**0.5)


def remember_change(frame: Frame) -> None:
    """Remember a change of credentials or rules on the actor and the account."""
    change = CHANGES.get(frame.observation.kind)
    if change is None:
        return
    if frame.actor_key:
        at = CHANGE_TIMES + change
        frame.actor[at] = max(frame.actor[at], frame.now_us)
        frame.actor[LATEST_CHANGE_US] = max(frame.actor[LATEST_CHANGE_US], frame.now_us)
    if frame.account_key:
        word = GOVERNANCE_US if change >= _GOVERNANCE_FROM else CREDENTIAL_US
        frame.account[word] = max(frame.account[word], frame.now_us)


def learn_population(frame: Frame, record: View, rate: float) -> None:
    """Learn how often money moves within a day of a change."""
    if not isnan(frame.values[CHANGED]):
        move_rate(record, CREDENTIAL_CHANGE, 1.0 if frame.values[CHANGED] else 0.0, rate)
