"""Who comes from where: new country, network or device for this actor, his hours, bursts of failed logins.

Failed logins count for the actor that they were tried on; their places are never learned. An unusual access is
remembered for a day (see ``linkage``), whether it alerted or not.
"""

from math import sqrt
from typing import Final

from rules.arithmetic import exp, log10
from rules.arrays import F8
from rules.baseline.layout import (
    ACTOR_FAILURES,
    ACTOR_HOURS,
    ACTOR_NEW_COUNTRY,
    ACTOR_NEW_DEVICE,
    ACTOR_NEW_NETWORK,
    COUNTRIES,
    COUNTRY_SLOTS,
    DEVICE_SLOTS,
    DEVICES,
    FAILURE_COUNT,
    FAILURE_US,
    FAILURES,
    LEARNED,
    NETWORK_SLOTS,
    NETWORKS,
    NEW_ACCESS_US,
    NEW_COUNTRY,
    NEW_DEVICE,
    NEW_NETWORK,
)
from rules.baseline.statistics import (
    absorb,
    imprint,
    move_rate,
    recall,
    tail_surprisal,
    usual,
)
from rules.compiled import compiled
from rules.event import ACCESS, E_ACTOR, E_COUNTRY, E_DEVICE, E_FAMILY, E_KIND, E_NETWORK, KIND_AT
from rules.features import hours, rarity
from rules.features.declared import FACT, HOURS, Group, declare
from rules.features.frame import N_DAY, N_HOUR, N_LATE, N_NOW_US, US, Frame
from rules.features.timing import tell_hour, weigh_hour
from rules.features.weighing import tell_fact, tell_range

FAILED: Final = KIND_AT["access.login_failed"]
_WINDOW_S: Final = 600.0
_FLOOR: Final = 0.25
_KNOWN_AFTER: Final = 5.0
_LEAST_RATE: Final = 0.02
_PLACE: Final = Group("place", 0.1)

COUNTRY_NEW = declare(
    "new_country",
    unit="yes or no",
    reads="country against those learned of the actor",
    null_when="no actor or no country",
    group=_PLACE,
    show=FACT,
)
NETWORK_NEW = declare(
    "new_network",
    unit="yes or no",
    reads="asn (or the block of the ip when there is none) against those learned of the actor",
    null_when="no actor, or neither asn nor ip",
    group=_PLACE,
    show=FACT,
)
DEVICE_NEW = declare(
    "new_device",
    unit="yes or no",
    reads="device against those learned of the actor",
    null_when="no actor or no device",
    group=Group(weight=0.1),
    show=FACT,
)
FAILED_10M = declare(
    "failed_logins_10m",
    unit="attempts, decayed",
    reads="times of failed logins of the actor, time constant 10 min",
    null_when="no actor, or not an access",
    group=Group(weight=0.1),
)
ACTOR_HOUR = declare(
    "actor_hour",
    unit="hour 0..167 from Monday 00h UTC",
    reads="event time against the actor's hours and days",
    null_when="no actor",
    group=Group("timing", 0.015),
    show=HOURS,
)
_PLACES: Final = 3
_FEATURE: Final = (COUNTRY_NEW, NETWORK_NEW, DEVICE_NEW)
_CHANCE: Final = (rarity.NEW_COUNTRY, rarity.NEW_NETWORK, rarity.NEW_DEVICE)
_KEY: Final = (E_COUNTRY, E_NETWORK, E_DEVICE)
_AT: Final = (COUNTRIES, NETWORKS, DEVICES)
_SLOTS: Final = (COUNTRY_SLOTS, NETWORK_SLOTS, DEVICE_SLOTS)
_RATE: Final = (ACTOR_NEW_COUNTRY, ACTOR_NEW_NETWORK, ACTOR_NEW_DEVICE)
_PRIOR: Final = (NEW_COUNTRY, NEW_NETWORK, NEW_DEVICE)


@compiled
def measure(f: Frame) -> None:
    """Weigh place, device, hour and failed logins.

    >>> from rules.trial import trial
    >>> trial("access.login_succeeded", actor="alice", country="SG")["new_country"]
    1.0
    """
    if f.event[E_ACTOR] == 0.0:
        return
    for place in range(_PLACES):
        if f.event[_KEY[place]] != 0.0:
            _measure_place(f, place)
    weigh_hour(f, ACTOR_HOUR, rarity.ACTOR_HOUR, f.actor, ACTOR_HOURS)
    if f.event[E_FAMILY] == ACCESS:
        _measure_failures(f)


@compiled
def _measure_place(f: Frame, place: int) -> None:
    actor, rate = f.actor, f.actor[_RATE[place]]
    new = not recall(actor, _AT[place], _SLOTS[place], f.event[_KEY[place]])
    tell_fact(f, _FEATURE[place], 1.0 if new else 0.0, rate)
    if new:
        prior = max(_LEAST_RATE, f.population[_PRIOR[place]])
        rarity.note_rate(f, _CHANCE[place], actor[LEARNED], rate, prior)


@compiled
def _measure_failures(f: Frame) -> None:
    failed = _failures(f) + (1.0 if f.event[E_KIND] == FAILED else 0.0)
    f.values[FAILED_10M] = failed
    size = log10(1.0 + failed)
    mean, variance = usual(f.actor, f.population, ACTOR_FAILURES, FAILURES, _FLOOR)
    if size > mean and failed > 1.0:
        f.surprise[FAILED_10M] = tail_surprisal((size - mean) / sqrt(variance))


@compiled
def tell_ranges(f: Frame, least: float) -> None:
    """Set the usual range of failed logins, and when the actor is mostly active."""
    if f.event[E_ACTOR] == 0.0:
        return
    if f.parts[ACTOR_HOUR] >= least:
        tell_hour(f, ACTOR_HOUR, f.actor, ACTOR_HOURS)
    if f.values[FAILED_10M] >= 0.0 and f.parts[FAILED_10M] >= least:
        mean, variance = usual(f.actor, f.population, ACTOR_FAILURES, FAILURES, _FLOOR)
        tell_range(f, FAILED_10M, mean, variance, 1.0)


@compiled
def _failures(f: Frame) -> float:
    gap_s = max(0.0, f.now[N_NOW_US] - f.actor[FAILURE_US]) / US
    return float(f.actor[FAILURE_COUNT] * exp(-gap_s / _WINDOW_S))


@compiled
def remember(f: Frame) -> None:
    """Count a failed login; note an access from a country or device never learned of a known actor."""
    if f.event[E_ACTOR] == 0.0:
        return
    actor, now_us = f.actor, f.now[N_NOW_US]
    if f.event[E_KIND] == FAILED:
        actor[FAILURE_COUNT] = _failures(f) + 1.0
        actor[FAILURE_US] = max(actor[FAILURE_US], now_us)
    elif actor[LEARNED] >= _KNOWN_AFTER and (f.values[COUNTRY_NEW] == 1.0 or f.values[DEVICE_NEW] == 1.0):
        actor[NEW_ACCESS_US] = max(actor[NEW_ACCESS_US], now_us)


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn places, devices, hours and the usual number of failed logins."""
    if f.event[E_ACTOR] == 0.0:
        return
    if f.event[E_FAMILY] == ACCESS and f.now[N_LATE] == 0.0:
        absorb(f.actor, ACTOR_FAILURES, log10(1.0 + f.values[FAILED_10M]), rate)
    if f.event[E_KIND] == FAILED:
        return
    for place in range(_PLACES):
        if f.event[_KEY[place]] != 0.0:
            move_rate(f.actor, _RATE[place], f.values[_FEATURE[place]], rate)
            imprint(f.actor, _AT[place], _SLOTS[place], f.event[_KEY[place]])
    hours.count(f.actor, ACTOR_HOURS, int(f.now[N_HOUR]), int(f.now[N_DAY]))


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn how often known actors come from new places, and how often logins fail."""
    if f.event[E_ACTOR] == 0.0 or f.actor[LEARNED] < _KNOWN_AFTER:
        return
    for place in range(_PLACES):
        if f.event[_KEY[place]] != 0.0:
            move_rate(record, _PRIOR[place], f.values[_FEATURE[place]], rate)
    if f.event[E_FAMILY] == ACCESS and f.now[N_LATE] == 0.0:
        absorb(record, FAILURES, log10(1.0 + f.values[FAILED_10M]), rate)
