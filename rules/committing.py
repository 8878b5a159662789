"""Write what an operation says into the records.

Rules enforced here:
- What happened is always remembered; what is usual is learned only on LEARN and LATE_LEARN; learned values are clipped.
- An observation that was counted before changes nothing, save that a failed transfer is taken back and a deposit received.
- Every score is counted for calibration once, except that skipped ones count once per entity and hour: an attack of a
  thousand transfers must not make its own size ordinary.
- What the account is odd about is learned with the weight of its being ordinary: an attacker's payments hardly teach
  what is usual.
"""

from math import nan
from typing import Final

from rules.arrays import F8
from rules.baseline import budget, tails
from rules.baseline.layout import (
    ACTOR_SKIP_SCORED_US,
    AMOUNT,
    FIRST_US,
    LAST_US,
    LEARNED,
    REMEMBERED,
    SHARE,
    SKIP_SCORED_US,
    SPELLS,
)
from rules.baseline.shared import (
    ANY_EVIDENCE,
    ANY_SIZE,
    C_FAST,
    C_SLOW,
    FIRST_FEATURE,
    OWN_EVIDENCE,
    OWN_SIZE,
    S_ALERTS_HIGH,
    S_ALERTS_MEDIUM,
    S_ALERTS_PER_DAY,
    S_CLIP,
    S_ENOUGH,
    S_HALF_LIFE_US,
    S_HOLD_P,
    S_MEMORY_US,
    Shared,
    advance,
)
from rules.baseline.statistics import absorb
from rules.baseline.tables import (
    ACCOUNTS,
    ACTORS,
    ASSETS,
    DESTINATIONS,
    DEVICES,
    FULL,
    GROUPS,
    NETWORKS,
    Places,
    claim,
    start_of,
)
from rules.binding import MARK_BUDGETS, MARK_CLOCK, MARK_FINAL, MARK_FREE, MARK_POPULATION, MARK_TAILS
from rules.compiled import compiled
from rules.event import (
    E_ACCOUNT,
    E_ACTOR,
    E_ASSET,
    E_COUNTS,
    E_DESTINATION,
    E_DEVICE,
    E_FAMILY,
    E_FROZEN,
    E_KIND,
    E_NETWORK,
    KIND_AT,
    SIGNING,
)
from rules.features import catalogue
from rules.features.frame import (
    HOUR_US,
    M_MEAN,
    M_SPREAD,
    M_VALUE,
    M_WORD,
    N_ANY_EVIDENCE,
    N_ANY_ODD,
    N_GROUP,
    N_LATE,
    N_LIKELIHOOD,
    N_LOG2_USD,
    N_MEASURED,
    N_NOW_US,
    N_ODD,
    N_OWN_Z,
    N_RATE,
    N_RAW_EVIDENCE,
    N_SCORED,
    R_CALIBRATED,
    R_CLASS,
    R_EQUAL,
    R_LEVEL,
    R_OPERATION,
    R_P,
    R_RAW,
    Frame,
)
from rules.features.names import COUNT, INDEX
from rules.fusion import TOUCHED, spell

LEARN: Final = 0
SKIP: Final = 1
LATE_LEARN: Final = 2

_ONE_IN_TEN: Final = 0.1
_ONE_IN_HUNDRED: Final = 0.01
_HOLD: Final = 2.0
_FASTEST: Final = 1.0 / 64.0
_SEASONED: Final = 4096.0
_SAMPLE: Final = 8
_FAILED: Final = KIND_AT["withdrawal.failed"]
_CANCELLED: Final = KIND_AT["withdrawal.cancelled"]
_DEPOSIT: Final = KIND_AT["deposit.confirmed"]
_FAILED_LOGINS: Final = INDEX["failed_logins_10m"]
_AMOUNT: Final = INDEX["amount_usd"]
_POPULATION: Final = INDEX["amount_population"]


@compiled
def _claim(p: Places, f: Frame, pool: int, key: float) -> int:
    """Where the record of an entity begins; the blank one's place when none is told."""
    return 0 if key == 0.0 else start_of(p, pool, claim(p, pool, key, f.event[E_ACCOUNT]))


@compiled
def _with_records(p: Places, f: Frame) -> Frame:
    """The frame with records of its own for every entity that is told; the account has room."""
    event, arena = f.event, p.arena
    account = _claim(p, f, ACCOUNTS, event[E_ACCOUNT])
    actor = _claim(p, f, ACTORS, event[E_ACTOR])
    destination = _claim(p, f, DESTINATIONS, event[E_DESTINATION])
    asset = _claim(p, f, ASSETS, event[E_ASSET])
    device = _claim(p, f, DEVICES, event[E_DEVICE])
    network = _claim(p, f, NETWORKS, event[E_NETWORK])
    return Frame(
        event,
        f.now,
        f.values,
        f.surprise,
        f.low,
        f.high,
        f.parts,
        f.measured,
        f.evidence,
        f.result,
        arena[account : account + len(f.account)],
        arena[actor : actor + len(f.actor)],
        arena[destination : destination + len(f.destination)],
        arena[asset : asset + len(f.asset)],
        arena[device : device + len(f.device)],
        arena[network : network + len(f.network)],
        f.prior,
        f.population,
    )


@compiled
def commit(p: Places, s: Shared, measured: Frame, operation: int) -> bool:
    """Commit a measured event. False, and nothing is written, when there is no room for its account."""
    event = measured.event
    measured.result[R_OPERATION] = operation
    measured.now[N_LATE] = 1.0 if operation == LATE_LEARN else 0.0
    if operation != LATE_LEARN and (event[E_COUNTS] == 0.0 or measured.now[N_SCORED] == 0.0):
        if _settles(measured):
            f = _with_records(p, measured)
            catalogue.settle(f)
        return True
    if event[E_ACCOUNT] != 0.0 and claim(p, ACCOUNTS, event[E_ACCOUNT], 0.0) == FULL:
        return False
    f = _with_records(p, measured)
    _begin(f)
    if operation != LATE_LEARN:
        _count(s, f, operation)
        _remember_spells(f)
        catalogue.remember(f)
    if operation != SKIP:
        _learn(p, s, f)
    _finish(f)
    return True


@compiled
def _settles(f: Frame) -> bool:
    if f.event[E_ACCOUNT] == 0.0 or f.account[REMEMBERED] == 0.0:
        return False
    kind = f.event[E_KIND]
    return kind in (_FAILED, _CANCELLED) or (kind == _DEPOSIT and f.event[E_COUNTS] != 0.0)


@compiled
def _begin(f: Frame) -> None:
    now_us = f.now[N_NOW_US]
    if f.event[E_ACCOUNT] != 0.0 and f.account[FIRST_US] == 0.0:
        f.account[FIRST_US] = now_us
    if f.event[E_ACTOR] != 0.0 and f.actor[FIRST_US] == 0.0:
        f.actor[FIRST_US] = now_us
    if f.event[E_DEVICE] != 0.0 and f.device[FIRST_US] == 0.0:
        f.device[FIRST_US] = now_us
    if f.event[E_NETWORK] != 0.0 and f.network[FIRST_US] == 0.0:
        f.network[FIRST_US] = now_us


@compiled
def _seen(view: F8, now_us: float, once: float) -> None:
    view[REMEMBERED] += once
    view[LAST_US] = max(view[LAST_US], now_us)


@compiled
def _finish(f: Frame) -> None:
    now_us = f.now[N_NOW_US]
    once = 1.0 - f.now[N_LATE]
    if f.event[E_ACCOUNT] != 0.0:
        _seen(f.account, now_us, once)
    if f.event[E_ACTOR] != 0.0:
        _seen(f.actor, now_us, once)
    if f.event[E_DEVICE] != 0.0:
        _seen(f.device, now_us, once)
    if f.event[E_NETWORK] != 0.0:
        _seen(f.network, now_us, once)
    if f.event[E_ASSET] != 0.0:
        _seen(f.asset, now_us, once)


@compiled
def _again(view: F8, at: int, now_us: float) -> bool:
    """Whether a skipped score of this entity was counted within the hour; else it is now."""
    if view[at] > 0.0 and now_us - view[at] < HOUR_US:
        return True
    view[at] = now_us
    return False


@compiled
def _count(s: Shared, f: Frame, operation: int) -> None:
    """Count the score for calibration and what it was made of for the population's tails; keep the budgets."""
    now_us = f.now[N_NOW_US]
    alerted = 1.0 if operation == SKIP and f.event[E_FROZEN] == 0.0 else 0.0
    _spend(s, f, alerted)
    if operation == SKIP:
        if f.event[E_ACCOUNT] != 0.0:
            if _again(f.account, SKIP_SCORED_US, now_us):
                return
        elif f.event[E_ACTOR] != 0.0 and _again(f.actor, ACTOR_SKIP_SCORED_US, now_us):
            return
    deflated = advance(s.clock, s.tails, s.free, s.final, s.settings[S_HALF_LIFE_US], now_us)
    s.marks[MARK_CLOCK] = 1
    if deflated & 1:
        s.marks[MARK_TAILS : MARK_TAILS + len(s.tails)] = 1
    if deflated & 2:
        s.marks[MARK_FREE : MARK_FINAL + len(s.final)] = 1
    own = int(f.result[R_CLASS])
    fast = s.clock[C_FAST]
    tails.count(s.free[own], f.result[R_RAW], fast, 1.0)
    final = s.final[own]
    tails.count(final, f.result[R_EQUAL], fast, 1.0)
    if f.result[R_P] <= _ONE_IN_TEN:
        final[tails.T_UP_TO_10] += fast
    if f.result[R_P] <= _ONE_IN_HUNDRED:
        final[tails.T_UP_TO_1] += fast
    s.marks[MARK_FREE + own] = 1
    s.marks[MARK_FINAL + own] = 1
    _count_features(s, f)


@compiled
def _spend(s: Shared, f: Frame, alerted: float) -> None:
    settings, now_us, level = s.settings, f.now[N_NOW_US], f.result[R_LEVEL]
    half = settings[S_HALF_LIFE_US]
    medium = alerted if level == 1.0 else 0.0
    high = alerted if level == _HOLD else 0.0
    budget.spend(s.budgets[0], settings[S_ALERTS_PER_DAY], now_us, half, alerted)
    budget.spend(s.budgets[1], settings[S_ALERTS_MEDIUM], now_us, half, medium)
    budget.spend(s.budgets[2], settings[S_ALERTS_HIGH], now_us, half, high)
    if f.result[R_CALIBRATED] == 1.0:
        budget.spend_hold(s.budgets[3], settings[S_HOLD_P], high)
    s.marks[MARK_BUDGETS] = 1


@compiled
def _count_features(s: Shared, f: Frame) -> None:
    slow = s.clock[C_SLOW]
    if f.now[N_OWN_Z] == f.now[N_OWN_Z]:
        tails.count(s.tails[OWN_SIZE], f.now[N_OWN_Z], slow, 1.0 - f.now[N_ODD])
        tails.count(s.tails[ANY_SIZE], f.now[N_LOG2_USD], slow, 1.0 - 0.95 * f.now[N_ANY_ODD])
        tails.count(s.tails[OWN_EVIDENCE], f.now[N_RAW_EVIDENCE], slow, 1.0)
        tails.count(s.tails[ANY_EVIDENCE], f.now[N_ANY_EVIDENCE], slow, 1.0)
        s.marks[MARK_TAILS : MARK_TAILS + FIRST_FEATURE] = 1
    for feature in range(COUNT):
        if catalogue.GROUPS[feature] < 0 or f.values[feature] != f.values[feature]:
            continue
        if feature in (_AMOUNT, _POPULATION):
            continue
        tail = s.tails[FIRST_FEATURE + feature]
        value = f.evidence[feature]
        if value == value:  # noqa: PLR0124 -- false only for NaN
            tails.count(tail, value, slow, 1.0)
        elif f.surprise[feature] == 0.0:
            tails.ignore(tail, slow)
        else:
            tails.count(tail, f.surprise[feature], slow, 1.0)
        s.marks[MARK_TAILS + FIRST_FEATURE + feature] = 1


@compiled
def _remember_spells(f: Frame) -> None:
    """Update the chances that the account is in a spell by what was just seen."""
    if f.event[E_ACCOUNT] == 0.0 or f.now[N_OWN_Z] != f.now[N_OWN_Z]:
        return
    one, two, three = spell(f, 0), spell(f, 1), spell(f, 2)
    grown = (1.0 - TOUCHED) + TOUCHED * f.now[N_LIKELIHOOD]
    whole = 1.0 - one - two - three + (one + two + three) * grown
    f.account[SPELLS] = one * grown / whole
    f.account[SPELLS + 1] = two * grown / whole
    f.account[SPELLS + 2] = three * grown / whole


@compiled
def _rate(s: Shared, view: F8, now_us: float) -> float:
    gap_us = max(0.0, now_us - view[LAST_US]) if view[LAST_US] != 0.0 else 0.0
    return float(max(1.0 / (view[LEARNED] + 1.0), min(_FASTEST, gap_us / s.settings[S_MEMORY_US])))


@compiled
def _learn(p: Places, s: Shared, f: Frame) -> None:
    _clip(s, f)
    event = f.event
    by_account = event[E_FAMILY] <= SIGNING and event[E_ACCOUNT] != 0.0
    rate = 0.0
    if event[E_ACCOUNT] != 0.0 or event[E_ACTOR] != 0.0:
        rate = _rate(s, f.account if by_account else f.actor, f.now[N_NOW_US])
    f.now[N_RATE] = rate
    if event[E_ACCOUNT] != 0.0:
        _absorb(f, f.account, rate)
    catalogue.learn(f, rate)
    _learn_record(s, f, s.population)
    s.marks[MARK_POPULATION] = 1
    if f.now[N_GROUP] != 0.0:
        at = _claim(p, f, GROUPS, f.now[N_GROUP])
        _learn_record(s, f, p.arena[at : at + len(s.population)])
    if event[E_ACCOUNT] != 0.0:
        f.account[LEARNED] += 1.0
    if event[E_ACTOR] != 0.0:
        f.actor[LEARNED] += 1.0


@compiled
def _clip(s: Shared, f: Frame) -> None:
    """Leave in ``measured`` what is learned: clipped for a seasoned account, and of a late one only sizes."""
    late = f.now[N_LATE] == 1.0
    if late:
        f.values[_FAILED_LOGINS] = nan
    seasoned = f.account[LEARNED] >= s.settings[S_ENOUGH]
    kept = 0
    for at in range(int(f.now[N_MEASURED])):
        row = f.measured[at]
        if late and row[M_WORD] not in (AMOUNT, SHARE):
            continue
        value = row[M_VALUE]
        if seasoned:
            limit = s.settings[S_CLIP] * row[M_SPREAD]
            value = min(max(value, row[M_MEAN] - limit), row[M_MEAN] + limit)
        f.measured[kept, M_WORD] = row[M_WORD]
        f.measured[kept, M_VALUE] = value
        kept += 1
    f.now[N_MEASURED] = kept


@compiled
def _absorb(f: Frame, view: F8, rate: float) -> None:
    for at in range(int(f.now[N_MEASURED])):
        absorb(view, int(f.measured[at, M_WORD]), f.measured[at, M_VALUE], rate)


@compiled
def _learn_record(s: Shared, f: Frame, view: F8) -> None:
    """Learn into a group's or the population's record; of many events one in ``_SAMPLE``."""
    view[REMEMBERED] += 1.0
    if view[REMEMBERED] > _SEASONED and int(view[REMEMBERED]) % _SAMPLE != 0:
        return
    rate = _rate(s, view, f.now[N_NOW_US])
    _absorb(f, view, rate)
    catalogue.learn_population(f, view, rate)
    view[LEARNED] += 1.0
    view[LAST_US] = max(view[LAST_US], f.now[N_NOW_US])
