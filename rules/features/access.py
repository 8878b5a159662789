"""Who comes from where: new country, network or device for this actor, his hours, bursts of failed logins.

Failed logins count for the actor that they were tried on; their places are never learned. An unusual access is
remembered for a day (see ``linkage``), whether it alerted or not.
"""

from math import exp, isnan, log10

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
    View,
)
from rules.baseline.statistics import (
    absorb,
    hour_surprisal,
    imprint,
    learn_hour,
    move_rate,
    rate_surprisal,
    recall,
    tail_surprisal,
    usual,
    words,
)
from rules.features.declared import Shown, declare, hour_of_week, plain, yes_no
from rules.features.frame import US, Frame

FAILED = "access.login_failed"
_PREFIX = "access."
_WINDOW_S = 600.0
_FLOOR = 0.25
_KNOWN_AFTER = 5.0

COUNTRY_NEW = declare(
    "new_country",
    unit="yes or no",
    reads="country against those learned of the actor",
    null_when="no actor or no country",
    show=yes_no,
)
NETWORK_NEW = declare(
    "new_network",
    unit="yes or no",
    reads="asn (or ip when there is none) against those learned of the actor",
    null_when="no actor, or neither asn nor ip",
    show=yes_no,
)
DEVICE_NEW = declare(
    "new_device",
    unit="yes or no",
    reads="device against those learned of the actor",
    null_when="no actor or no device",
    show=yes_no,
)
FAILED_10M = declare(
    "failed_logins_10m",
    unit="attempts, decayed",
    reads="times of failed logins of the actor, time constant 10 min",
    null_when="no actor, or not an access",
    show=plain,
)
ACTOR_HOUR = declare(
    "actor_hour",
    unit="hour 0..167 from Monday 00h UTC",
    reads="event time against the actor's hours and days",
    null_when="no actor",
    group="hour",
    show=Shown(hour_of_week, lambda hour: f"mostly around {int(hour):02d}h UTC"),
)
_PLACES = (
    (COUNTRY_NEW, COUNTRIES, COUNTRY_SLOTS, ACTOR_NEW_COUNTRY, NEW_COUNTRY),
    (NETWORK_NEW, NETWORKS, NETWORK_SLOTS, ACTOR_NEW_NETWORK, NEW_NETWORK),
    (DEVICE_NEW, DEVICES, DEVICE_SLOTS, ACTOR_NEW_DEVICE, NEW_DEVICE),
)


def measure(frame: Frame) -> None:
    """Weigh place, device, hour and failed logins.

    >>> from rules.trial import trial
    >>> trial("access.login_succeeded", actor="alice", country="SG")["new_country"]
    1.0
    """
    if not frame.actor_key:
        return
    actor, values = frame.actor, frame.values
    for key, (feature, at, slots, rate, prior) in zip(_keys(frame), _PLACES, strict=True):
        if not key:
            continue
        new = not recall(actor, at, slots, key)
        values[feature] = 1.0 if new else 0.0
        frame.usual[feature] = actor[rate]
        if new:
            frame.surprise[feature] = rate_surprisal(actor[LEARNED], actor[rate], max(0.02, frame.population[prior]))
    hour, day = frame.hour, frame.day
    values[ACTOR_HOUR] = day * 24.0 + hour
    frame.surprise[ACTOR_HOUR] = surprise = hour_surprisal(actor, ACTOR_HOURS, hour, day)
    if surprise > 0.0:
        hours = words(actor, ACTOR_HOURS, 24)
        frame.usual[ACTOR_HOUR] = float(hours.index(max(hours)))
    if frame.observation.kind.startswith(_PREFIX):
        _measure_failures(frame)


def _keys(frame: Frame) -> tuple[float, float, float]:
    return frame.country_key, frame.network_key, frame.device_key


def _measure_failures(frame: Frame) -> None:
    failed = _failures(frame) + (1.0 if frame.observation.kind == FAILED else 0.0)
    frame.values[FAILED_10M] = failed
    size = log10(1.0 + failed)
    mean, spread = usual(frame.actor, _failure_prior(frame), ACTOR_FAILURES, _FLOOR)
    frame.usual[FAILED_10M] = max(0.0, 10.0**mean - 1.0)
    if size > mean and failed > 1.0:
        frame.surprise[FAILED_10M] = tail_surprisal((size - mean) / spread)


def _failure_prior(frame: Frame) -> View:
    return frame.population[FAILURES - ACTOR_FAILURES :]


def _failures(frame: Frame) -> float:
    actor = frame.actor
    gap_s = max(0.0, frame.now_us - actor[FAILURE_US]) / US
    return actor[FAILURE_COUNT] * exp(-gap_s / _WINDOW_S)


def remember(frame: Frame) -> None:
    """Count a failed login; note an access from a country or device never learned of a known actor."""
    if not frame.actor_key:
        return
    actor = frame.actor
    if frame.observation.kind == FAILED:
        actor[FAILURE_COUNT] = _failures(frame) + 1.0
        actor[FAILURE_US] = max(actor[FAILURE_US], frame.now_us)
    elif actor[LEARNED] >= _KNOWN_AFTER and (frame.values[COUNTRY_NEW] == 1.0 or frame.values[DEVICE_NEW] == 1.0):
        actor[NEW_ACCESS_US] = max(actor[NEW_ACCESS_US], frame.now_us)


def learn(frame: Frame, rate: float) -> None:
    """Learn places, devices, hours and the usual number of failed logins."""
    if not frame.actor_key:
        return
    actor, values = frame.actor, frame.values
    if not isnan(values[FAILED_10M]):
        absorb(actor, ACTOR_FAILURES, log10(1.0 + values[FAILED_10M]), rate)
    if frame.observation.kind == FAILED:
        return
    for key, (feature, at, slots, word, _) in zip(_keys(frame), _PLACES, strict=True):
        if key:
            move_rate(actor, word, values[feature], rate)
            imprint(actor, at, slots, key)
    learn_hour(actor, ACTOR_HOURS, frame.hour, frame.day)


def learn_population(frame: Frame, record: View, rate: float) -> None:
    """Learn how often known actors come from new places, and how often logins fail."""
    if not frame.actor_key or frame.actor[LEARNED] < _KNOWN_AFTER:
        return
    for key, (feature, _, _, _, word) in zip(_keys(frame), _PLACES, strict=True):
        if key and not isnan(frame.values[feature]):
            move_rate(record, word, frame.values[feature], rate)
    if not isnan(frame.values[FAILED_10M]):
        absorb(record, FAILURES, log10(1.0 + frame.values[FAILED_10M]), rate)
