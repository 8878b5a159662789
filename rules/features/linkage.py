"""What happened to the keys and the rules shortly before money moves.

Changes of credentials (second factor, password, API key, device) and of rules (whitelist, policy, quorum, roles) are
remembered per actor by kind, and per account as the latest of each sort, even when they alerted or an incident is open:
forgetting an attacker's steps would hide his next one. Who whitelisted a destination is remembered with the destination.
"""

from math import sqrt
from typing import Final

from rules.arrays import F8
from rules.baseline.layout import (
    CHANGE_KINDS,
    CHANGE_TIMES,
    CREDENTIAL_CHANGE,
    CREDENTIAL_US,
    GOVERNANCE_US,
    LATEST_CHANGE_US,
    LEARNED,
    NEW_ACCESS_US,
    WHITELISTER_SLOTS,
    WHITELISTERS,
)
from rules.baseline.statistics import CAP, finding, move_rate, rate_surprisal, stamping
from rules.compiled import compiled
from rules.event import E_ACCOUNT, E_ACTOR, E_DESTINATION, E_KIND, KIND_AT, KINDS
from rules.features.declared import FACT, UNSCORED, Group, declare, duration
from rules.features.frame import DAY_US, N_NOW_US, US, Frame
from rules.features.weighing import tell_fact

_CHANGES: Final = {
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

_CHANGE_OF: Final = tuple(_CHANGES.get(kind, -1) for kind in KINDS)
_WHITELISTED: Final = KIND_AT["governance.destination_whitelisted"]
_MFA_RESET: Final = CHANGE_TIMES + _CHANGES["access.mfa_reset"]
_API_KEY: Final = CHANGE_TIMES + _CHANGES["access.api_key_created"]
_GOVERNANCE_FROM: Final = 5
_WITHIN_US: Final = 7 * DAY_US
_RATE: Final = 0.05
_FRESH: Final = 1.5
_slot_of_whitelister: Final = finding(WHITELISTERS, WHITELISTER_SLOTS)
_stamp_whitelister: Final = stamping(WHITELISTERS, WHITELISTER_SLOTS)

CHANGED = declare(
    "credential_changes_24h",
    unit="kinds of changes, 0 to 8",
    reads="the actor's and the account's changes of credentials, whitelist, policy, roles within 24 h",
    null_when="neither account nor actor",
    group=Group(weight=0.1),
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
    group=Group(weight=0.1),
    show=FACT,
)
MFA_RESET_AGE = declare(
    "mfa_reset_age_s",
    unit="s",
    reads="time since the actor's second factor was last reset",
    null_when="no actor, or never reset",
    group=UNSCORED,
    show=duration,
)
API_KEY_AGE = declare(
    "api_key_age_s",
    unit="s",
    reads="time since the actor's newest API key was made",
    null_when="no actor, or no key made",
    group=UNSCORED,
    show=duration,
)
WHITELIST_AGE = declare(
    "whitelist_to_withdrawal_s",
    unit="s",
    reads="time since this account or actor whitelisted this destination",
    null_when="no destination, or neither did",
    group=UNSCORED,
    show=duration,
)


@compiled
def measure(f: Frame) -> None:
    """Look back at the last day and week.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested")["credential_changes_24h"]
    0.0
    """
    now_us = f.now[N_NOW_US]
    if f.event[E_ACTOR] != 0.0:
        fresh = f.actor[NEW_ACCESS_US] > 0.0 and f.actor[NEW_ACCESS_US] >= now_us - DAY_US
        tell_fact(f, NEW_ACCESS, 1.0 if fresh else 0.0, 0.0)
        f.surprise[NEW_ACCESS] = _FRESH if fresh else 0.0
        _tell_age(f, MFA_RESET_AGE, f.actor[_MFA_RESET])
        _tell_age(f, API_KEY_AGE, f.actor[_API_KEY])
    f.values[CHANGED] = f.low[CHANGED] = f.high[CHANGED] = 0.0
    latest = max(f.actor[LATEST_CHANGE_US], f.account[CREDENTIAL_US], f.account[GOVERNANCE_US])
    if latest > 0.0 and now_us - latest <= _WITHIN_US:
        _tell_age(f, CHANGE_AGE, latest)
        _measure_changes(f, now_us - DAY_US)


@compiled
def _tell_age(f: Frame, feature: int, at_us: float) -> None:
    if at_us > 0.0:
        f.values[feature] = max(0.0, f.now[N_NOW_US] - at_us) / US


@compiled
def _measure_changes(f: Frame, since_us: float) -> None:
    of_actor = 0.0
    for word in range(CHANGE_TIMES, CHANGE_TIMES + CHANGE_KINDS):
        if f.actor[word] > 0.0 and f.actor[word] >= since_us:
            of_actor += 1.0
    of_account = 0.0
    for word in (CREDENTIAL_US, GOVERNANCE_US):
        if f.account[word] > 0.0 and f.account[word] >= since_us:
            of_account += 1.0
    changed = max(of_actor, of_account)
    f.values[CHANGED] = changed
    if changed > 0.0:
        one = rate_surprisal(f.population[LEARNED], f.population[CREDENTIAL_CHANGE], _RATE)
        f.surprise[CHANGED] = min(CAP, one * sqrt(changed))


@compiled
def measure_whitelisting(f: Frame) -> None:
    """Tell how long ago this account or actor whitelisted this destination."""
    if f.event[E_DESTINATION] == 0.0 or f.destination[WHITELISTERS] == 0.0:  # the first place is the first to be filled
        return
    at_us = 0.0
    for word in (E_ACCOUNT, E_ACTOR):
        if f.event[word] != 0.0:
            slot = _slot_of_whitelister(f.destination, f.event[word])
            if slot >= 0:
                at_us = max(at_us, f.destination[WHITELISTERS + 2 * slot + 1])
    _tell_age(f, WHITELIST_AGE, at_us)


@compiled
def remember(f: Frame) -> None:
    """Remember a change of credentials or rules on the actor and the account, and who whitelisted a destination."""
    change = _CHANGE_OF[int(f.event[E_KIND])]
    if change < 0:
        return
    now_us = f.now[N_NOW_US]
    if f.event[E_ACTOR] != 0.0:
        at = CHANGE_TIMES + change
        f.actor[at] = max(f.actor[at], now_us)
        f.actor[LATEST_CHANGE_US] = max(f.actor[LATEST_CHANGE_US], now_us)
    if f.event[E_ACCOUNT] != 0.0:
        word = GOVERNANCE_US if change >= _GOVERNANCE_FROM else CREDENTIAL_US
        f.account[word] = max(f.account[word], now_us)
    if f.event[E_KIND] == _WHITELISTED and f.event[E_DESTINATION] != 0.0:
        for word in (E_ACCOUNT, E_ACTOR):
            if f.event[word] != 0.0:
                _stamp_whitelister(f.destination, f.event[word], now_us)


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn how often money moves within a day of a change."""
    changed = f.values[CHANGED]
    if changed == changed:  # noqa: PLR0124 -- false only for NaN
        move_rate(record, CREDENTIAL_CHANGE, 1.0 if changed > 0.0 else 0.0, rate)
