"""When: the time since the account last paid or did anything, and the hour of the week."""

from typing import Final

from rules.arithmetic import log10
from rules.arrays import F8
from rules.baseline.layout import GAP, HOURS, LAST_US, OUT_US
from rules.compiled import compiled
from rules.event import E_ACCOUNT
from rules.features import hours, rarity
from rules.features.declared import HOURS as SHOWN_HOURS
from rules.features.declared import UNSCORED, Group, days, declare, duration
from rules.features.frame import DAY_S, DAY_US, N_DAY, N_HOUR, N_NOW_US, US, Frame
from rules.features.weighing import weigh

_FLOOR: Final = 0.3
_DORMANT_S: Final = 7 * DAY_S

SINCE_LAST = declare(
    "seconds_since_last",
    unit="s",
    reads="the account's own event time; surprising only when it was dormant for a week or more",
    null_when="the account never paid before",
    group=Group("timing", 0.03),
    show=duration,
)
DORMANT = declare(
    "dormant_days",
    unit="d",
    reads="time since the account's last activity of any kind",
    null_when="the account was never seen before",
    group=UNSCORED,
    show=days,
)
HOUR = declare(
    "hour_of_week",
    unit="hour 0..167 from Monday 00h UTC",
    reads="event time against the account's hours and days",
    null_when="no account",
    group=Group("timing", 0.015),
    show=SHOWN_HOURS,
)


@compiled
def measure(f: Frame) -> None:
    """Weigh the gap and the hour.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", occurred_at_us=0)["hour_of_week"]
    72.0
    """
    if f.event[E_ACCOUNT] == 0.0:
        return
    account, now_us = f.account, f.now[N_NOW_US]
    weigh_hour(f, HOUR, rarity.ACCOUNT_HOUR, account, HOURS)
    if account[LAST_US] > 0.0:
        f.values[DORMANT] = max(0.0, now_us - account[LAST_US]) / DAY_US
    if account[OUT_US] <= 0.0:
        return
    gap_s = max(0.0, now_us - account[OUT_US]) / US
    f.values[SINCE_LAST] = gap_s
    weigh(f, SINCE_LAST, GAP, log10(1.0 + gap_s), 1.0, _FLOOR)
    if gap_s <= _DORMANT_S:
        f.surprise[SINCE_LAST] = 0.0


@compiled
def weigh_hour(f: Frame, feature: int, place: int, record: F8, at: int) -> None:
    """Weigh the event's hour and day against those at ``at`` of a record."""
    hour, day = int(f.now[N_HOUR]), int(f.now[N_DAY])
    f.values[feature] = day * 24.0 + hour
    by_hour, by_day = hours.chances(record, at, hour, day)
    rarity.note(f, place, by_hour)
    rarity.note(f, place + 1, by_day)


@compiled
def tell_hour(f: Frame, feature: int, record: F8, at: int) -> None:
    """Set when most happens, of an hour that is not usual."""
    if f.surprise[feature] > 0.0:
        f.low[feature] = f.high[feature] = float(hours.busiest(record, at))


@compiled
def tell_hours(f: Frame, least: float) -> None:
    """Set when the account mostly pays."""
    if f.event[E_ACCOUNT] != 0.0 and f.parts[HOUR] >= least:
        tell_hour(f, HOUR, f.account, HOURS)


@compiled
def learn(f: Frame) -> None:
    """Learn the hour and the day."""
    if f.event[E_ACCOUNT] != 0.0:
        hours.count(f.account, HOURS, int(f.now[N_HOUR]), int(f.now[N_DAY]))
