"""How often and how much in a while: counts and values over six windows, and many assets at once.

Each window is an exponentially decayed sum, so that it takes two words whatever arrives. What was refused or failed
counts as an attempt; failed and cancelled transfers leave the value sums (D10).

What is usual is learned of sums in which every payment is clipped to what is usual for the account. The surprise that
rules read is that of the sum as it is; the score takes that of the clipped sum, because the size of a single payment is
weighed as such already and must not count again for a month.
"""

from decimal import Decimal
from typing import Final

import numpy as np

from rules.arithmetic import exp, log10
from rules.baseline.layout import (
    ASSETS,
    COUNTS,
    FAN_OUT,
    LAST_US,
    OUT_US,
    RECENT_ASSET_SLOTS,
    RECENT_ASSETS,
    VALUES,
    WINDOW_CLIPPED,
    WINDOW_COUNTS,
    WINDOW_VALUES,
    WINDOWS,
)
from rules.baseline.statistics import count_since, stamp, surprisal_above
from rules.compiled import compiled
from rules.event import E_ACCOUNT, E_AMOUNT_USD, E_ASSET
from rules.features.balance import put_back
from rules.features.declared import Group, declare, dollars, duration
from rules.features.frame import DAY_S, HOUR_S, N_CLIPPED_USD, N_LEFT, N_NOW_US, N_USD, US, Frame
from rules.features.weighing import weigh, worth

WINDOWS_S: Final = (60.0, 600.0, HOUR_S, DAY_S, 7 * DAY_S, 30 * DAY_S)
HOUR_WINDOW: Final = 2
_NAMES: Final = ("1m", "10m", "1h", "24h", "7d", "30d")
_GONE: Final = 40.0
_FLOOR: Final = 0.2
_ASSETS_FLOOR: Final = 0.12
_ASSETS_WINDOW_US: Final = 600.0 * US
_LOG10_OF: Final = np.array([float(Decimal(max(1, count)).log10()) for count in range(RECENT_ASSET_SLOTS + 2)])
_VELOCITY: Final = Group("velocity", 0.03)

COUNT: Final = tuple(
    declare(
        f"count_{name}",
        unit="transfers, decayed",
        reads=f"times of the account's transfers, time constant {duration(seconds)}",
        null_when="no account",
        group=_VELOCITY,
    )
    for name, seconds in zip(_NAMES, WINDOWS_S, strict=True)
)
VALUE: Final = tuple(
    declare(
        f"value_{name}",
        unit="USD, decayed",
        reads=f"amounts and times of the account's transfers, time constant {duration(seconds)}",
        null_when="no account, or the amount is null or 0",
        group=_VELOCITY,
        show=dollars,
    )
    for name, seconds in zip(_NAMES, WINDOWS_S, strict=True)
)
ASSETS_10M = declare(
    "assets_10m",
    unit=f"distinct assets, up to {RECENT_ASSET_SLOTS + 1}",
    reads="assets of the account's transfers within 10 minutes",
    null_when="no account or no asset",
    group=Group(weight=0.1),
)


@compiled
def decay(f: Frame) -> None:
    """Set what is left of each window at the frame's time."""
    gap_s = max(0.0, (f.now[N_NOW_US] - f.account[OUT_US]) / US)
    for at in range(WINDOWS):
        spent = gap_s / WINDOWS_S[at]
        f.now[N_LEFT + at] = exp(-spent) if spent < _GONE else 0.0


@compiled
def measure(f: Frame) -> None:
    """Weigh the windows with this transfer counted in.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", amount_usd=5.0)["value_1h"]
    5.0
    """
    if f.event[E_ACCOUNT] == 0.0:
        return
    decay(f)
    for at in range(WINDOWS):
        before = f.account[WINDOW_COUNTS + at] * f.now[N_LEFT + at]
        f.values[COUNT[at]] = 1.0 + before
        weigh(f, COUNT[at], COUNTS + 3 * at, log10(1.0 + before) if before > 0.0 else 0.0, 0.0, _FLOOR)
    if f.now[N_USD] > 0.0:
        for at in range(WINDOWS):
            _measure_value(f, at)
    if f.event[E_ASSET] != 0.0:
        since_us = f.now[N_NOW_US] - _ASSETS_WINDOW_US
        assets = 1.0 + count_since(f.account, RECENT_ASSETS, RECENT_ASSET_SLOTS, since_us, f.event[E_ASSET])
        f.values[ASSETS_10M] = assets
        weigh(f, ASSETS_10M, ASSETS, _LOG10_OF[int(assets)], 0.0, _ASSETS_FLOOR)


@compiled
def _measure_value(f: Frame, at: int) -> None:
    left = f.now[N_LEFT + at]
    moved = f.account[WINDOW_VALUES + at] * left + f.now[N_USD]
    clipped = f.account[WINDOW_CLIPPED + at] * left + f.now[N_CLIPPED_USD]
    f.values[VALUE[at]] = moved
    mean, variance = weigh(f, VALUE[at], VALUES + 3 * at, log10(1.0 + clipped), 1.0, _FLOOR)
    if moved > clipped:
        f.evidence[VALUE[at]] = f.surprise[VALUE[at]]
        f.surprise[VALUE[at]] = surprisal_above(log10(1.0 + moved), mean, variance)


@compiled
def remember(f: Frame) -> None:
    """Count this transfer into the windows and its asset among the recent ones."""
    if f.event[E_ACCOUNT] == 0.0:
        return
    account = f.account
    usd = worth(f)
    clipped = f.now[N_CLIPPED_USD] if usd > 0.0 else 0.0
    for at in range(WINDOWS):
        left = f.now[N_LEFT + at]
        account[WINDOW_COUNTS + at] = account[WINDOW_COUNTS + at] * left + 1.0
        account[WINDOW_VALUES + at] = account[WINDOW_VALUES + at] * left + usd
        account[WINDOW_CLIPPED + at] = account[WINDOW_CLIPPED + at] * left + clipped
    account[OUT_US] = max(account[OUT_US], f.now[N_NOW_US])
    if f.event[E_ASSET] != 0.0:
        stamp(account, RECENT_ASSETS, RECENT_ASSET_SLOTS, f.event[E_ASSET], f.now[N_NOW_US])


@compiled
def give_back(f: Frame) -> None:
    """Take a failed or cancelled transfer out of the value windows, as far as it is still in them; it did not leave."""
    amount, account = f.event[E_AMOUNT_USD], f.account
    if not amount >= 0.0 or f.event[E_ACCOUNT] == 0.0:
        return
    decay(f)
    for at in range(WINDOWS):
        left = f.now[N_LEFT + at]
        account[WINDOW_COUNTS + at] *= left
        account[WINDOW_VALUES + at] = max(0.0, account[WINDOW_VALUES + at] * left - amount)
        account[WINDOW_CLIPPED + at] = max(0.0, account[WINDOW_CLIPPED + at] * left - amount)
    account[FAN_OUT] *= f.now[N_LEFT + HOUR_WINDOW]
    put_back(f, amount)
    account[OUT_US] = max(account[OUT_US], f.now[N_NOW_US])
    account[LAST_US] = max(account[LAST_US], f.now[N_NOW_US])
