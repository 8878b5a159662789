"""Where an actor was a moment ago: impossible travel, and sessions that wander or were never seen.

A place is a country's centre; what two countries reach towards each other is taken off the distance, so that a border is
no journey. A session that suddenly comes from another network or country was probably copied. Attempts that failed move
nobody, everything else is remembered even when it alerted: the rightful owner's next access is then the odd one.
"""

from math import sqrt
from typing import Final

from rules.arrays import F8
from rules.baseline.layout import (
    ACTOR_FAST_TRAVEL,
    ACTOR_SESSION_MOVE,
    FAST_TRAVEL,
    LEARNED,
    PLACE_AT,
    PLACE_US,
    SESSION_MOVE,
    SESSION_SLOTS,
    SESSION_WORDS,
    SESSIONS,
)
from rules.baseline.statistics import move_rate
from rules.compiled import compiled
from rules.event import E_ACTOR, E_COUNTRY, E_COUNTRY_AT, E_KIND, E_NETWORK, E_SESSION, KIND_AT
from rules.features import rarity
from rules.features.declared import FACT, UNSCORED, Group, declare, speed
from rules.features.frame import HOUR_US, N_NOW_US, Frame
from rules.features.weighing import tell_fact
from rules.lists.countries import PLACES

_FAILED: Final = KIND_AT["access.login_failed"]
_EARTH_KM: Final = 6371.0
_HALF_TURN: Final = 3.141592653589793
_ARC: Final = (
    -0.0012624911, 0.0066700901, -0.0170881256, 0.0308918810, -0.0501743046, 0.0889789874, -0.2145988016, 1.5707963050,
)  # fmt: skip
"""An angle over sqrt(1 - its cosine), as a polynomial in the cosine: off by a metre at most (Hastings 1955, sheet 38)."""
_FASTEST_KMH: Final = 1000.0
_SHORTEST_H: Final = 1.0 / 60.0
_LEAST_RATE: Final = 0.005
_PLACE: Final = Group("place", 0.1)

SPEED = declare(
    "travel_speed_kmh",
    unit="km/h",
    reads="country of this and the actor's last access, great circle between their borders, time between (at least 1 min)",
    null_when="no actor, no known country, or no earlier one; scored above 1,000 km/h",
    group=_PLACE,
    show=speed,
)
SESSION_MOVED = declare(
    "session_moved",
    unit="yes or no",
    reads="network and country of the session against those of its last activity",
    null_when="no actor, no session, or a session never seen",
    group=_PLACE,
    show=FACT,
)
SESSION_NEW = declare(
    "session_new",
    unit="yes or no",
    reads="session against the actor's last 6",
    null_when="no actor or no session",
    group=UNSCORED,
    show=FACT,
)


@compiled
def measure(f: Frame) -> None:
    """Weigh the way from the last place, and the session.

    >>> from rules.trial import trial
    >>> trial("access.api_key_used", actor="alice", session="s1")["session_new"]
    1.0
    """
    if f.event[E_ACTOR] == 0.0 or f.event[E_KIND] == _FAILED:
        return
    if f.event[E_COUNTRY_AT] >= 0.0 and f.actor[PLACE_US] > 0.0:
        _measure_speed(f)
    if f.event[E_SESSION] != 0.0:
        _measure_session(f)


@compiled
def _measure_speed(f: Frame) -> None:
    km = _distance_km(int(f.event[E_COUNTRY_AT]), int(f.actor[PLACE_AT]))
    hours = max(_SHORTEST_H, (f.now[N_NOW_US] - f.actor[PLACE_US]) / HOUR_US)
    f.values[SPEED] = km / hours
    f.low[SPEED] = 0.0
    f.high[SPEED] = _FASTEST_KMH
    if f.values[SPEED] > _FASTEST_KMH:
        prior = max(_LEAST_RATE, f.population[FAST_TRAVEL])
        rarity.note_rate(f, rarity.FAST_TRAVEL, f.actor[LEARNED], f.actor[ACTOR_FAST_TRAVEL], prior)


@compiled
def _distance_km(here: int, there: int) -> float:
    if here == there:
        return 0.0
    cosine = (
        PLACES[here, 0] * PLACES[there, 0] + PLACES[here, 1] * PLACES[there, 1] + PLACES[here, 2] * PLACES[there, 2]
    )
    x = min(1.0, abs(cosine))
    series = _ARC[0]
    for term in range(1, len(_ARC)):
        series = series * x + _ARC[term]
    angle = sqrt(1.0 - x) * series
    if cosine < 0.0:
        angle = _HALF_TURN - angle
    return float(max(0.0, angle * _EARTH_KM - PLACES[here, 3] - PLACES[there, 3]))


@compiled
def _slot(f: Frame) -> int:
    for slot in range(SESSIONS, SESSIONS + SESSION_SLOTS * SESSION_WORDS, SESSION_WORDS):
        if f.actor[slot] == f.event[E_SESSION]:
            return slot
    return -1


@compiled
def _measure_session(f: Frame) -> None:
    slot = _slot(f)
    tell_fact(f, SESSION_NEW, 1.0 if slot < 0 else 0.0, 0.0)
    if slot < 0:
        return
    moved = _differs(f.actor[slot + 1], f.event[E_NETWORK]) or _differs(f.actor[slot + 2], f.event[E_COUNTRY])
    rate = f.actor[ACTOR_SESSION_MOVE]
    tell_fact(f, SESSION_MOVED, 1.0 if moved else 0.0, rate)
    if moved:
        prior = max(_LEAST_RATE, f.population[SESSION_MOVE])
        rarity.note_rate(f, rarity.SESSION_MOVE, f.actor[LEARNED], rate, prior)


@compiled
def _differs(known: float, told: float) -> bool:
    return known * told != 0.0 and known != told


@compiled
def remember(f: Frame) -> None:
    """Remember the place and the session."""
    if f.event[E_ACTOR] == 0.0 or f.event[E_KIND] == _FAILED:
        return
    now_us = f.now[N_NOW_US]
    if f.event[E_COUNTRY_AT] >= 0.0:
        f.actor[PLACE_AT] = f.event[E_COUNTRY_AT]
        f.actor[PLACE_US] = max(f.actor[PLACE_US], now_us)
    if f.event[E_SESSION] != 0.0:
        _remember_session(f, now_us)


@compiled
def _remember_session(f: Frame, now_us: float) -> None:
    actor, slot = f.actor, _slot(f)
    if slot < 0:
        slot = SESSIONS
        for other in range(SESSIONS, SESSIONS + SESSION_SLOTS * SESSION_WORDS, SESSION_WORDS):
            if actor[other + 3] < actor[slot + 3]:
                slot = other
        actor[slot] = f.event[E_SESSION]
        actor[slot + 1] = actor[slot + 2] = 0.0
    if f.event[E_NETWORK] != 0.0:
        actor[slot + 1] = f.event[E_NETWORK]
    if f.event[E_COUNTRY] != 0.0:
        actor[slot + 2] = f.event[E_COUNTRY]
    actor[slot + 3] = now_us


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn how often this actor seems to fly, and his sessions wander."""
    if f.values[SPEED] >= 0.0:
        move_rate(f.actor, ACTOR_FAST_TRAVEL, 1.0 if f.values[SPEED] > _FASTEST_KMH else 0.0, rate)
    if f.values[SESSION_MOVED] >= 0.0:
        move_rate(f.actor, ACTOR_SESSION_MOVE, f.values[SESSION_MOVED], rate)


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn how often anybody does."""
    if f.values[SPEED] >= 0.0:
        move_rate(record, FAST_TRAVEL, 1.0 if f.values[SPEED] > _FASTEST_KMH else 0.0, rate)
    if f.values[SESSION_MOVED] >= 0.0:
        move_rate(record, SESSION_MOVE, f.values[SESSION_MOVED], rate)
