"""When: the time since the account last paid, and the hour of the week."""

from math import log10

from rules.baseline.layout import DAYS, GAP, HOURS, OUT_US
from rules.baseline.statistics import hour_surprisal, learn_hour, words
from rules.features.declared import Shown, declare, duration, from_log10, hour_of_week
from rules.features.frame import DAY_S, US, Frame
from rules.features.weighing import weigh

_FLOOR = 0.3
_DORMANT_S = 7 * DAY_S

SINCE_LAST = declare(
    "seconds_since_last",
    unit="s",
    reads="the account's own event time; surprising only when it was dormant for a week or more",
    null_when="the account never paid before",
    show=Shown(duration, from_log10(duration, less=1.0)),
)
HOUR = declare(
    "hour_of_week",
    unit="hour 0..167 from Monday 00h UTC",
    reads="event time against the account's hours and days",
    null_when="no account",
    group="hour",
    show=Shown(hour_of_week, lambda hour: f"mostly around {int(hour):02d}h UTC"),
)


def measure(frame: Frame) -> None:
    """Weigh the gap and the hour.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", occurred_at_us=0)["hour_of_week"]
    72.0
    """
    if not frame.account_key:
        return
    account = frame.account
    hour, day = frame.hour, frame.day
    frame.values[HOUR] = day * 24.0 + hour
    frame.surprise[HOUR] = surprise = hour_surprisal(account, HOURS, hour, day)
    if surprise > 0.0:
        hours = words(account, HOURS, DAYS - HOURS)
        frame.usual[HOUR] = float(hours.index(max(hours)))
    if account[OUT_US] <= 0.0:
        return
    gap_s = max(0.0, (frame.now_us - account[OUT_US]) / US)
    size = log10(1.0 + gap_s)
    frame.values[SINCE_LAST] = gap_s
    weigh(frame, SINCE_LAST, GAP, size, _FLOOR)
    if gap_s <= _DORMANT_S:
        frame.surprise[SINCE_LAST] = 0.0


def learn(frame: Frame, _rate: float) -> None:
    """Learn the hour and the day."""
    if frame.account_key:
        learn_hour(frame.account, HOURS, frame.hour, frame.day)
