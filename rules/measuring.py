"""Bind an event to its records, measure it, and say what its score alone decides. Changes no record.

Rules: event time is monotone per account (per actor where there is no account) and at most five minutes ahead of
receipt. A level is only drawn when enough scores calibrate it; the score alone never holds an entity without history or
a destination that the platform vouches for. A fixed level needs a least raw surprise as well, so that the quietest
stream's least quiet event is no alarm; a budget has its own bound instead (``baseline.budget``).
"""

from math import nan
from typing import Final

from rules.ahead import ask_when_bound, ask_when_measured
from rules.arrays import F8
from rules.baseline import budget
from rules.baseline.layout import FINGERPRINT, GROUP, LAST_US, LEARNED, WIDTH, Kind
from rules.baseline.peers import shrink
from rules.baseline.shared import (
    S_ALERT_FLOOR,
    S_ALERT_P,
    S_ALERTS_HIGH,
    S_ALERTS_MEDIUM,
    S_ALERTS_PER_DAY,
    S_ENOUGH,
    S_HOLD_FLOOR,
    S_HOLD_P,
    Shared,
)
from rules.baseline.tables import (
    ACCOUNTS,
    ACTORS,
    ASSETS,
    DESTINATIONS,
    DEVICES,
    GROUPS,
    LINE,
    NETWORKS,
    NONE,
    Places,
    find,
    start_of,
)
from rules.binding import ROWS_AHEAD
from rules.compiled import compiled
from rules.event import (
    E_ACCOUNT,
    E_ACTOR,
    E_ASSET,
    E_AT_US,
    E_DESTINATION,
    E_DEVICE,
    E_FAMILY,
    E_GROUP,
    E_NETWORK,
    E_RECEIVED_US,
    OTHER,
    SIGNING,
)
from rules.features import catalogue
from rules.features.frame import (
    N_ANY_HABIT,
    N_BALANCE_TOLD_US,
    N_BALANCE_USD,
    N_DAY,
    N_GROUP,
    N_HOUR,
    N_KNOWN,
    N_LISTED,
    N_NOW_US,
    N_OWN_HABIT,
    N_SCORED,
    N_SLOTS,
    N_TRUSTED,
    N_USD,
    N_WEIGHT,
    R_CALIBRATED,
    R_HISTORY,
    R_LEVEL,
    R_P,
    R_RAW,
    Frame,
)
from rules.features.names import COUNT
from rules.fusion import fuse
from rules.opinion import judge

AHEAD_US: Final = 300.0 * 1e6
_ACCOUNT: Final = WIDTH[Kind.ACCOUNT]
_ACTOR: Final = WIDTH[Kind.ACTOR]
_DESTINATION: Final = WIDTH[Kind.DESTINATION]
_ASSET: Final = WIDTH[Kind.ASSET]
_DEVICE: Final = WIDTH[Kind.DEVICE]
_NETWORK: Final = WIDTH[Kind.NETWORK]
_PEER_GROUP: Final = WIDTH[Kind.PEER_GROUP]
_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 86_400_000_000


@compiled
def _found(p: Places, f: Frame, pool: int, word: int, guess: int) -> int:
    """Where the record of the entity in a word of the event begins, and note its slot, given what was looked up ahead."""
    key, slot = f.event[word], guess
    start = start_of(p, pool, slot)
    if key == 0.0 or p.arena[start + FINGERPRINT] != key:
        slot = find(p, pool, key)
        start = start_of(p, pool, slot)
    f.now[N_SLOTS + pool] = slot
    return start


@compiled
def bound(p: Places, s: Shared, f: Frame, row: int) -> Frame:
    """The frame with the records of its event's entities; those that do not exist are blank."""
    event, arena = f.event, p.arena
    ahead = p.ahead.reshape((ROWS_AHEAD, LINE))[row % ROWS_AHEAD]
    at = _found(p, f, ACCOUNTS, E_ACCOUNT, ahead[ACCOUNTS])
    account = arena[at : at + _ACCOUNT]
    prior = s.population
    group = find(p, GROUPS, event[E_GROUP] if event[E_GROUP] != 0.0 else account[GROUP])
    if group >= 0 and event[E_FAMILY] <= SIGNING:
        at = start_of(p, GROUPS, group)
        prior = f.prior
        shrink(prior, arena[at : at + _PEER_GROUP], s.population)
    actor = _found(p, f, ACTORS, E_ACTOR, ahead[ACTORS])
    destination = _found(p, f, DESTINATIONS, E_DESTINATION, ahead[DESTINATIONS])
    asset = _found(p, f, ASSETS, E_ASSET, NONE)
    device = _found(p, f, DEVICES, E_DEVICE, ahead[DEVICES])
    network = _found(p, f, NETWORKS, E_NETWORK, ahead[NETWORKS])
    return Frame(
        event,
        f.now,
        f.values,
        f.surprise,
        f.low,
        f.high,
        f.parts,
        f.measured,
        f.counts,
        f.sums,
        f.evidence,
        f.stands,
        f.result,
        account,
        arena[actor : actor + _ACTOR],
        arena[destination : destination + _DESTINATION],
        arena[asset : asset + _ASSET],
        arena[device : device + _DEVICE],
        arena[network : network + _NETWORK],
        prior,
        s.population,
    )


@compiled
def _clear(f: Frame) -> None:
    for feature in range(COUNT):
        f.values[feature] = nan
        f.surprise[feature] = 0.0
        f.low[feature] = nan
        f.high[feature] = nan
        f.parts[feature] = 0.0
        f.evidence[feature] = nan
    f.now[:N_SLOTS] = 0.0
    f.now[N_OWN_HABIT:N_LISTED] = 0.0
    f.result[:] = 0.0
    f.now[N_USD] = nan
    f.now[N_BALANCE_USD] = nan
    f.now[N_BALANCE_TOLD_US] = nan
    f.now[N_OWN_HABIT] = nan
    f.now[N_ANY_HABIT] = nan
    f.now[N_WEIGHT] = 1.0


@compiled
def _tell_time(f: Frame, s: Shared) -> None:
    event, now = f.event, f.now
    of_account = event[E_ACCOUNT] != 0.0
    last_us = f.account[LAST_US] if of_account else f.actor[LAST_US]
    now_us = max(min(event[E_AT_US], event[E_RECEIVED_US] + AHEAD_US), last_us)
    now[N_NOW_US] = now_us
    whole = int(now_us)
    day = whole // _DAY_US
    now[N_HOUR] = (whole - day * _DAY_US) // _HOUR_US
    now[N_DAY] = (day + 3) % 7
    now[N_GROUP] = event[E_GROUP] if event[E_GROUP] != 0.0 else f.account[GROUP]
    by_account = of_account and event[E_FAMILY] <= SIGNING
    known = f.account[LEARNED] if by_account or (of_account and event[E_ACTOR] == 0.0) else f.actor[LEARNED]
    now[N_KNOWN] = 1.0 if known >= s.settings[S_ENOUGH] else 0.0
    now[N_SCORED] = 1.0 if event[E_FAMILY] < OTHER else 0.0


@compiled
def measured(p: Places, s: Shared, blank: Frame, events: F8, row: int) -> Frame:
    """Measure the row in ``blank.event``, which has a number: the frame with every feature, the score and its level."""
    f = bound(p, s, blank, row)
    ask_when_bound(p, events, row)
    _clear(f)
    _tell_time(f, s)
    result = f.result
    result[R_HISTORY] = f.now[N_KNOWN]
    scored = f.now[N_SCORED] != 0.0
    if scored:
        catalogue.measure(f)
    ask_when_measured(p, events, row)
    if scored:
        fuse(f, s)
        judge(f, s)
        result[R_LEVEL] = _level(f, s)
    else:
        result[R_P] = 1.0
    return f


@compiled
def _asked(s: Shared, at: int, a_day: float, now_us: float, otherwise: float) -> float:
    if a_day <= 0.0:
        return otherwise
    return budget.level(s.budgets[at], a_day, now_us)


@compiled
def _level(f: Frame, s: Shared) -> float:
    settings, result = s.settings, f.result
    if result[R_CALIBRATED] == 0.0:
        return 0.0
    now_us = f.now[N_NOW_US]
    p, raw = result[R_P], result[R_RAW]
    if p > max(budget.MOST, settings[S_ALERT_P], budget.most_held(settings[S_HOLD_P])):
        return 0.0
    level = _asked(s, 0, settings[S_ALERTS_PER_DAY], now_us, settings[S_ALERT_P])
    level = min(level, _asked(s, 1, settings[S_ALERTS_MEDIUM], now_us, 1.0))
    held = budget.hold_level(s.budgets[3], settings[S_HOLD_P])
    held = min(held, _asked(s, 2, settings[S_ALERTS_HIGH], now_us, 1.0))
    free = settings[S_ALERTS_PER_DAY] > 0.0 or raw >= settings[S_ALERT_FLOOR]
    if p > max(level, held) or not free:
        return 0.0
    if p > held or raw < settings[S_HOLD_FLOOR] or f.now[N_KNOWN] == 0.0 or f.now[N_TRUSTED] == 1.0:
        return 1.0 if p <= level else 0.0
    return 2.0
