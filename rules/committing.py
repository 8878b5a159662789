"""Write what an operation says into the records.

Rules enforced here:
- What happened is always remembered; what is usual is learned only on LEARN and LATE_LEARN; learned values are clipped.
- An observation that was counted before changes nothing, save that a failed transfer is taken back and a deposit received.
- What the account is odd about is learned with the weight of its being ordinary: an attacker's payments hardly teach
  what is usual.
"""

from math import inf, nan
from typing import Final

from rules.ahead import ask_when_counted, ask_when_remembered
from rules.arrays import F8
from rules.baseline.layout import (
    AMOUNT,
    FIRST_US,
    LAST_US,
    LEARNED,
    REMEMBERED,
    SHARE,
    SPELLS,
)
from rules.baseline.shared import (
    S_CLIP,
    S_ENOUGH,
    S_MEMORY_US,
    Shared,
)
from rules.baseline.statistics import absorb, clipped
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
    touch,
)
from rules.binding import MARK_POPULATION
from rules.compiled import compiled
from rules.counting import count
from rules.event import (
    E_ACCOUNT,
    E_ACTOR,
    E_ASSET,
    E_COUNTS,
    E_DESTINATION,
    E_DEVICE,
    E_FAMILY,
    E_KIND,
    E_NETWORK,
    KIND_AT,
    SIGNING,
)
from rules.features import catalogue
from rules.features.frame import (
    M_MEAN,
    M_VALUE,
    M_VARIANCE,
    M_WORD,
    N_CLIP,
    N_GROUP,
    N_LATE,
    N_LIKELIHOOD,
    N_MEASURED,
    N_NOW_US,
    N_OWN_Z,
    N_RATE,
    N_SCORED,
    N_SLOTS,
    N_SPELLS,
    R_OPERATION,
    Frame,
)
from rules.features.names import INDEX
from rules.fusion import TOUCHED

LEARN: Final = 0
SKIP: Final = 1
LATE_LEARN: Final = 2

_FASTEST: Final = 1.0 / 64.0
_SEASONED: Final = 4096.0
_SAMPLE: Final = 8
_FAILED: Final = KIND_AT["withdrawal.failed"]
_CANCELLED: Final = KIND_AT["withdrawal.cancelled"]
_DEPOSIT: Final = KIND_AT["deposit.confirmed"]
_FAILED_LOGINS: Final = INDEX["failed_logins_10m"]


@compiled
def _claim(p: Places, f: Frame, pool: int, key: float) -> int:
    """Where the record of an entity begins, made if it was not found; the blank one's place when none is told."""
    if key == 0.0:
        return 0
    slot = int(f.now[N_SLOTS + pool])
    if slot < 0:
        slot = claim(p, pool, key, f.event[E_ACCOUNT])
        f.now[N_SLOTS + pool] = slot
    else:
        touch(p, pool, slot)
    return start_of(p, pool, slot)


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
        f.counts,
        f.sums,
        f.evidence,
        f.stands,
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
def commit(p: Places, s: Shared, measured: Frame, operation: int, events: F8, row: int) -> bool:
    """Commit a measured event of a row. False, and nothing is written, when there is no room for its account."""
    event = measured.event
    measured.result[R_OPERATION] = operation
    measured.now[N_LATE] = 1.0 if operation == LATE_LEARN else 0.0
    if operation != LATE_LEARN and (event[E_COUNTS] == 0.0 or measured.now[N_SCORED] == 0.0):
        if _settles(measured):
            f = _with_records(p, measured)
            catalogue.settle(f)
        return True
    if event[E_ACCOUNT] != 0.0 and measured.now[N_SLOTS + ACCOUNTS] < 0.0:
        slot = claim(p, ACCOUNTS, event[E_ACCOUNT], 0.0)
        if slot == FULL:
            return False
        measured.now[N_SLOTS + ACCOUNTS] = slot
    f = _with_records(p, measured)
    _begin(f)
    if operation != LATE_LEARN:
        count(s, f, operation == SKIP)
        ask_when_counted(p, events, row)
        _remember_spells(f)
        catalogue.remember(f)
    ask_when_remembered(p, events, row)
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
def _remember_spells(f: Frame) -> None:
    """Update the chances that the account is in a spell by what was just seen."""
    if f.event[E_ACCOUNT] == 0.0 or f.now[N_OWN_Z] != f.now[N_OWN_Z]:
        return
    one, two, three = f.now[N_SPELLS], f.now[N_SPELLS + 1], f.now[N_SPELLS + 2]
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
        at = start_of(p, GROUPS, claim(p, GROUPS, f.now[N_GROUP], event[E_ACCOUNT]))
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
    clip = s.settings[S_CLIP] if f.account[LEARNED] >= s.settings[S_ENOUGH] else inf
    f.now[N_CLIP] = clip
    kept = 0
    for at in range(int(f.now[N_MEASURED])):
        row = f.measured[at]
        if late and row[M_WORD] not in (AMOUNT, SHARE):
            continue
        f.measured[kept, M_WORD] = row[M_WORD]
        f.measured[kept, M_VALUE] = clipped(row[M_VALUE], row[M_MEAN], row[M_VARIANCE], clip)
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
