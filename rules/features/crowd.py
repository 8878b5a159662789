"""Who else is there: many users on one device, many on one network, many failing from one network at once.

Networks are counted by linear counting (Whang, Vander-Zanden and Taylor 1990) over cells that hold the latest time of
any user who falls into them: exact for a few, within a tenth or so for many, and nobody can fill it by inventing names.
"""

from math import log as _natural
from typing import Final

from rules.arithmetic import log10
from rules.arrays import F8
from rules.baseline.layout import (
    FAILING_CELL_COUNT,
    FAILING_CELLS,
    LEARNED,
    NETWORK_USERS,
    SHARED_DEVICE,
    SPRAYING,
    USER_CELL_COUNT,
    USER_CELLS,
    USER_SLOTS,
    USERS,
    USUAL_USERS,
)
from rules.baseline.statistics import (
    CAP,
    absorb,
    counting_since,
    filling,
    finding,
    move_rate,
    rate_surprisal,
    stamping,
    surprisal_above,
    usual,
)
from rules.compiled import compiled
from rules.event import ACCESS, E_ACCOUNT, E_ACTOR, E_DEVICE, E_FAMILY, E_KIND, E_NETWORK, KIND_AT
from rules.features.declared import Group, declare
from rules.features.frame import DAY_US, N_LATE, N_LOG10_USERS, N_NOW_US, US, Frame
from rules.features.weighing import tell_range

_FAILED: Final = KIND_AT["access.login_failed"]
_WINDOW_US: Final = 600.0 * US
_MONTH_US: Final = 30.0 * DAY_US
_FLOOR: Final = 0.2
_LEAST_RATE: Final = 0.005
_HALF: Final = 0.5
_RATE: Final = 1.0 / 64.0
_CROWD: Final = Group("crowd", 0.1)
_users_since: Final = counting_since(USERS, USER_SLOTS)
_slot_of_user: Final = finding(USERS, USER_SLOTS)
_users_of_network: Final = filling(USER_CELLS, USER_CELL_COUNT)
_failing_on_network: Final = filling(FAILING_CELLS, FAILING_CELL_COUNT)
_stamp_user: Final = stamping(USERS, USER_SLOTS)


def _counted(cells: int) -> tuple[float, ...]:
    """How many distinct users are likely when so many of the cells are filled, in whole numbers."""
    told = [float(round(-cells * _natural(1.0 - filled / cells))) for filled in range(cells)]
    return (*told, told[-1] + cells)


_OF_USERS: Final = _counted(USER_CELL_COUNT)
_OF_FAILING: Final = _counted(FAILING_CELL_COUNT)

FAILED_ACTORS = declare(
    "failed_actors_10m",
    unit="actors, about",
    reads="distinct actors whose logins failed from this network within 10 minutes",
    null_when="not an access, no actor or no network",
    group=_CROWD,
)
DEVICE_ACCOUNTS = declare(
    "device_accounts_30d",
    unit="users, up to 13",
    reads="distinct actors (accounts where no actor is told) on this device within 30 days; scored for one new on it",
    null_when="no device, or neither actor nor account",
    group=_CROWD,
)
NETWORK_ACTORS = declare(
    "network_actors_24h",
    unit="users, about",
    reads="distinct actors (accounts where no actor is told) on this network within 24 h, against its usual number",
    null_when="no network, or neither actor nor account",
    group=_CROWD,
)


@compiled
def measure(f: Frame) -> None:
    """Count users.

    >>> from rules.trial import trial
    >>> trial("access.login_failed", actor="alice", ip="203.0.113.9")["failed_actors_10m"]
    1.0
    """
    user = _user(f)
    if user == 0.0:
        return
    if f.event[E_DEVICE] != 0.0:
        _measure_device(f, user)
    if f.event[E_NETWORK] != 0.0:
        _measure_network(f, user)


@compiled
def _user(f: Frame) -> float:
    return float(f.event[E_ACTOR] if f.event[E_ACTOR] != 0.0 else f.event[E_ACCOUNT])


@compiled
def _measure_device(f: Frame, user: float) -> None:
    others = _users_since(f.device, f.now[N_NOW_US] - _MONTH_US, user)
    f.values[DEVICE_ACCOUNTS] = others + 1.0
    f.low[DEVICE_ACCOUNTS] = f.high[DEVICE_ACCOUNTS] = 1.0
    if others > 0.0 and _slot_of_user(f.device, user) < 0:
        prior = max(_LEAST_RATE, f.population[SHARED_DEVICE])
        f.surprise[DEVICE_ACCOUNTS] = min(CAP, _HALF * (1.0 + others) * -log10(prior))


@compiled
def _measure_network(f: Frame, user: float) -> None:
    now_us = f.now[N_NOW_US]
    users = _OF_USERS[_users_of_network(f.network, now_us - DAY_US, user)]
    f.values[NETWORK_ACTORS] = users
    mean, variance = usual(f.network, f.population, USUAL_USERS, NETWORK_USERS, _FLOOR)
    f.now[N_LOG10_USERS] = log10(users)
    f.surprise[NETWORK_ACTORS] = surprisal_above(f.now[N_LOG10_USERS], mean, variance)
    if f.event[E_FAMILY] == ACCESS and f.event[E_ACTOR] != 0.0:
        _measure_failing(f, user)


@compiled
def tell_range_of_network(f: Frame, least: float) -> None:
    """Set how many users the network usually has."""
    if f.values[NETWORK_ACTORS] >= 1.0 and f.parts[NETWORK_ACTORS] >= least:
        mean, variance = usual(f.network, f.population, USUAL_USERS, NETWORK_USERS, _FLOOR)
        tell_range(f, NETWORK_ACTORS, mean, variance, 0.0)


@compiled
def _measure_failing(f: Frame, user: float) -> None:
    since_us = max(0.0, f.now[N_NOW_US] - _WINDOW_US)
    filled = _failing_on_network(f.network, since_us, user)
    own = f.network[FAILING_CELLS + int(user) % FAILING_CELL_COUNT] > since_us
    failed = f.event[E_KIND] == _FAILED
    f.values[FAILED_ACTORS] = _OF_FAILING[filled if own or failed else filled - 1]
    f.low[FAILED_ACTORS] = 0.0
    f.high[FAILED_ACTORS] = 1.0
    if f.values[FAILED_ACTORS] > 1.0:
        one = rate_surprisal(f.population[LEARNED], f.population[SPRAYING], _LEAST_RATE)
        f.surprise[FAILED_ACTORS] = min(CAP, _HALF * one * (f.values[FAILED_ACTORS] - 1.0))


@compiled
def remember(f: Frame) -> None:
    """Note the user on the device and the network, and where a login failed."""
    user, now_us = _user(f), f.now[N_NOW_US]
    if user == 0.0:
        return
    if f.event[E_DEVICE] != 0.0:
        _stamp_user(f.device, user, now_us)
    if f.event[E_NETWORK] == 0.0:
        return
    if f.event[E_KIND] == _FAILED:
        if f.event[E_ACTOR] != 0.0:
            f.network[FAILING_CELLS + int(user) % FAILING_CELL_COUNT] = now_us
    else:
        f.network[USER_CELLS + int(user) % USER_CELL_COUNT] = now_us


@compiled
def learn(f: Frame) -> None:
    """Learn how many users the network usually has, at its own pace: a new actor is no reason to forget it."""
    if f.values[NETWORK_ACTORS] >= 1.0 and f.now[N_LATE] == 0.0:
        absorb(f.network, USUAL_USERS, f.now[N_LOG10_USERS], _RATE)


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn how often devices are shared, logins of several actors fail, and how many users networks have."""
    if f.now[N_LATE] != 0.0:
        return
    if f.values[DEVICE_ACCOUNTS] >= 1.0:
        move_rate(record, SHARED_DEVICE, 1.0 if f.values[DEVICE_ACCOUNTS] > 1.0 else 0.0, rate)
    if f.values[FAILED_ACTORS] >= 0.0:
        move_rate(record, SPRAYING, 1.0 if f.values[FAILED_ACTORS] > 1.0 else 0.0, rate)
    if f.values[NETWORK_ACTORS] >= 1.0:
        absorb(record, NETWORK_USERS, f.now[N_LOG10_USERS], rate)
