"""How often and how much in a while: counts and values over four windows, and many assets at once.

Each window is an exponentially decayed sum, so that it takes two words whatever arrives. What was refused or failed
counts as an attempt; failed and cancelled transfers leave the value sums (D10).
"""

from math import exp, isnan, log10

from rules.baseline.layout import (
    ASSETS,
    COUNTS,
    LAST_US,
    OUT_US,
    RECENT_ASSET_SLOTS,
    RECENT_ASSETS,
    VALUES,
    WINDOW_COUNTS,
    WINDOW_VALUES,
)
from rules.baseline.statistics import words
from rules.features.balance import put_back
from rules.features.declared import Shown, declare, dollars, duration, from_log10, plain
from rules.features.frame import DAY_S, HOUR_S, US, Frame
from rules.features.weighing import weigh

WINDOWS_S = (60.0, 600.0, HOUR_S, DAY_S)
_NAMES = ("1m", "10m", "1h", "24h")
_FLOOR = 0.2
_ASSETS_FLOOR = 0.12
_ASSETS_WINDOW_US = 600.0 * US

COUNT = [
    declare(
        f"count_{name}",
        unit="transfers, decayed",
        reads=f"times of the account's transfers, time constant {duration(seconds)}",
        null_when="no account",
        group="velocity_count",
        show=Shown(plain, from_log10(plain)),
    )
    for name, seconds in zip(_NAMES, WINDOWS_S, strict=True)
]
VALUE = [
    declare(
        f"value_{name}",
        unit="USD, decayed",
        reads=f"amounts and times of the account's transfers, time constant {duration(seconds)}",
        null_when="no account, or the amount is null",
        group="size",
        show=Shown(dollars, from_log10(dollars, less=1.0)),
    )
    for name, seconds in zip(_NAMES, WINDOWS_S, strict=True)
]
ASSETS_10M = declare(
    "assets_10m",
    unit="distinct assets, up to 16",
    reads="assets of the account's transfers within 10 minutes",
    null_when="no account or no asset",
    show=Shown(plain, from_log10(plain)),
)


def decayed(frame: Frame) -> list[float]:
    """What is left of each window at the frame's time: the factor by which it decays."""
    gap_s = max(0.0, (frame.now_us - frame.account[OUT_US]) / US)
    return [exp(-gap_s / window) for window in WINDOWS_S]


def measure(frame: Frame) -> None:
    """Weigh the windows with this transfer counted in.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", amount_usd=5.0)["value_1h"]
    5.0
    """
    if not frame.account_key:
        return
    account, values = frame.account, frame.values
    usd = 0.0 if isnan(frame.usd) else frame.usd
    frame.left = decayed(frame)
    for index, left in enumerate(frame.left):
        happened = account[WINDOW_COUNTS + index] * left + 1.0
        weigh(frame, COUNT[index], COUNTS + 3 * index, log10(happened), _FLOOR)
        values[COUNT[index]] = happened
        if usd > 0.0:
            moved = account[WINDOW_VALUES + index] * left + usd
            weigh(frame, VALUE[index], VALUES + 3 * index, log10(1.0 + moved), _FLOOR)
            values[VALUE[index]] = moved
    if frame.asset_key:
        assets = _assets(frame)
        values[ASSETS_10M] = assets
        weigh(frame, ASSETS_10M, ASSETS, log10(assets), _ASSETS_FLOOR)


def _assets(frame: Frame) -> float:
    since = frame.now_us - _ASSETS_WINDOW_US
    recent = words(frame.account, RECENT_ASSETS, 2 * RECENT_ASSET_SLOTS)
    found = 1
    for slot in range(0, 2 * RECENT_ASSET_SLOTS, 2):
        if recent[slot + 1] > since and recent[slot] not in {0.0, frame.asset_key}:
            found += 1
    return float(found)


def remember(frame: Frame) -> None:
    """Count this transfer into the windows and its asset among the recent ones."""
    if not frame.account_key:
        return
    account = frame.account
    usd = 0.0 if isnan(frame.usd) else frame.usd
    for index, left in enumerate(frame.left):
        account[WINDOW_COUNTS + index] = account[WINDOW_COUNTS + index] * left + 1.0
        account[WINDOW_VALUES + index] = account[WINDOW_VALUES + index] * left + usd
    account[OUT_US] = max(account[OUT_US], frame.now_us)
    if frame.asset_key:
        _remember_asset(frame)


def _remember_asset(frame: Frame) -> None:
    account = frame.account
    recent = words(account, RECENT_ASSETS, 2 * RECENT_ASSET_SLOTS)
    keys, times = recent[::2], recent[1::2]
    slot = keys.index(frame.asset_key) if frame.asset_key in keys else times.index(min(times))
    account[RECENT_ASSETS + 2 * slot] = frame.asset_key
    account[RECENT_ASSETS + 2 * slot + 1] = frame.now_us


def give_back(frame: Frame) -> None:
    """Take a failed or cancelled transfer out of the value windows, as far as it is still in them; it did not leave."""
    amount, account = frame.observation.amount_usd, frame.account
    if amount is None or not frame.account_key:
        return
    elapsed = decayed(frame)
    for index, left in enumerate(elapsed):
        account[WINDOW_COUNTS + index] *= left
        account[WINDOW_VALUES + index] = max(0.0, account[WINDOW_VALUES + index] * left - amount)
    put_back(frame, amount)
    account[OUT_US] = max(account[OUT_US], frame.now_us)
    account[LAST_US] = max(account[LAST_US], frame.now_us)
