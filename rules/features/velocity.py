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

from rules.arithmetic import log10_of_normal
from rules.arrays import F8
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
from rules.baseline.statistics import (
    PRIOR_STRENGTH,
    clipped,
    counting_since,
    oddness,
    stamping,
    surprisal_above,
    surprisal_of,
)
from rules.compiled import compiled, lowest
from rules.event import E_ACCOUNT, E_AMOUNT_USD, E_ASSET
from rules.features.balance import put_back
from rules.features.declared import Group, declare, dollars, duration
from rules.features.fading import WINDOWS_S, measure_windows
from rules.features.frame import (
    B_MEANS,
    B_ODD,
    B_SIZES,
    B_VARIANCES,
    N_CLIP,
    N_CLIPPED_USD,
    N_LATE,
    N_LEFT,
    N_LISTED,
    N_NOW_US,
    N_PARTS,
    N_USD,
    US,
    Frame,
)
from rules.features.weighing import tell_range, weigh, worth

HOUR_WINDOW: Final = 2
_NAMES: Final = ("1m", "10m", "1h", "24h", "7d", "30d")
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
_COUNT: Final = COUNT[0]
_VALUE: Final = VALUE[0]
_MEANS: Final = 1
_VARIANCES: Final = 1 + WINDOWS
_assets_since: Final = counting_since(RECENT_ASSETS, RECENT_ASSET_SLOTS)
_stamp_asset: Final = stamping(RECENT_ASSETS, RECENT_ASSET_SLOTS)
ASSETS_10M = declare(
    "assets_10m",
    unit=f"distinct assets, up to {RECENT_ASSET_SLOTS + 1}",
    reads="assets of the account's transfers within 10 minutes",
    null_when="no account or no asset",
    group=Group(weight=0.1),
)


@compiled
def _six(words: F8) -> tuple[float, float, float, float, float, float]:
    """The first six words. What is read before anything is written can be worked on at once."""
    return words[0], words[1], words[2], words[3], words[4], words[5]


@compiled
def measure(f: Frame) -> None:
    """Weigh the windows with this transfer counted in.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", amount_usd=5.0)["value_1h"]
    5.0
    """
    if f.event[E_ACCOUNT] == 0.0:
        return
    _measure_counts(f)
    if f.now[N_USD] > 0.0:
        _measure_values(f)
    if f.event[E_ASSET] != 0.0:
        since_us = f.now[N_NOW_US] - _ASSETS_WINDOW_US
        assets = 1.0 + _assets_since(f.account, since_us, f.event[E_ASSET])
        f.values[ASSETS_10M] = assets
        weigh(f, ASSETS_10M, ASSETS, _LOG10_OF[int(assets)], 0.0, _ASSETS_FLOOR)


@compiled
def _measure_counts(f: Frame) -> None:
    left, held = _six(f.now[N_LEFT:]), _six(f.account[WINDOW_COUNTS:])
    for at in range(WINDOWS):
        f.values[_COUNT + at] = 1.0 + held[at] * left[at]
    for at in range(WINDOWS):
        f.counts[B_SIZES + at] = log10_of_normal(1.0 + held[at] * left[at])
    _weigh(f.account[COUNTS:], f.prior[COUNTS:], f.counts)
    odd = _six(f.counts[B_ODD:])
    for at in range(WINDOWS):
        f.surprise[_COUNT + at] = surprisal_of(odd[at])


@compiled
def _measure_values(f: Frame) -> None:
    left, usd, clipped_usd = _six(f.now[N_LEFT:]), f.now[N_USD], f.now[N_CLIPPED_USD]
    values, kept = _six(f.account[WINDOW_VALUES:]), _six(f.account[WINDOW_CLIPPED:])
    more = 0
    for at in range(WINDOWS):
        f.values[_VALUE + at] = values[at] * left[at] + usd
    for at in range(WINDOWS):
        f.sums[B_SIZES + at] = log10_of_normal(1.0 + (kept[at] * left[at] + clipped_usd))
    for at in range(WINDOWS):
        more |= (1 << at) if values[at] * left[at] + usd > kept[at] * left[at] + clipped_usd else 0
    _weigh(f.account[VALUES:], f.prior[VALUES:], f.sums)
    odd = _six(f.sums[B_ODD:])
    for at in range(WINDOWS):
        f.surprise[_VALUE + at] = surprisal_of(odd[at])
    while more != 0:
        at = lowest(more)
        more &= more - 1
        f.evidence[_VALUE + at] = f.surprise[_VALUE + at]
        size = log10_of_normal(1.0 + f.values[_VALUE + at])
        f.surprise[_VALUE + at] = surprisal_above(size, f.sums[B_MEANS + at], f.sums[B_VARIANCES + at])


@compiled
def _weigh(own: F8, prior: F8, block: F8) -> None:
    """Set what is usual in each window and how odd its size is: as ``statistics.usual``, six at once."""
    weight = own[0] / (own[0] + PRIOR_STRENGTH)
    own_means, own_variances = _six(own[_MEANS:]), _six(own[_VARIANCES:])
    means, variances, sizes = _six(prior[_MEANS:]), _six(prior[_VARIANCES:]), _six(block)
    for at in range(WINDOWS):
        apart = own_means[at] - means[at]
        variance = weight * own_variances[at] + (1.0 - weight) * (variances[at] + weight * apart * apart)
        block[B_VARIANCES + at] = max(_FLOOR * _FLOOR, variance)
        block[B_MEANS + at] = means[at] + weight * apart
    for at in range(WINDOWS):
        block[B_ODD + at] = oddness(sizes[at], block[B_MEANS + at], block[B_VARIANCES + at])


@compiled
def tell_ranges(f: Frame, least: float) -> None:
    """Set the usual ranges of windows that have at least ``least`` of the score; only what is listed has any of it."""
    if least <= 0.0:
        for feature in range(_COUNT, _VALUE + WINDOWS):
            _tell_range(f, feature)
        return
    for part in range(int(f.now[N_PARTS])):
        feature = int(f.now[N_LISTED + part])
        if _COUNT <= feature < _VALUE + WINDOWS and f.parts[feature] >= least:
            _tell_range(f, feature)


@compiled
def _tell_range(f: Frame, feature: int) -> None:
    if not f.values[feature] >= 0.0:
        return
    if feature < _VALUE:
        at = feature - _COUNT
        tell_range(f, feature, f.counts[B_MEANS + at], f.counts[B_VARIANCES + at], 0.0)
    else:
        at = feature - _VALUE
        tell_range(f, feature, f.sums[B_MEANS + at], f.sums[B_VARIANCES + at], 1.0)


@compiled
def remember(f: Frame) -> None:
    """Count this transfer into the windows and its asset among the recent ones."""
    if f.event[E_ACCOUNT] == 0.0:
        return
    account, left = f.account, _six(f.now[N_LEFT:])
    usd = worth(f)
    clipped_usd = f.now[N_CLIPPED_USD] if usd > 0.0 else 0.0
    for at in range(WINDOWS):
        account[WINDOW_COUNTS + at] = account[WINDOW_COUNTS + at] * left[at] + 1.0
        account[WINDOW_VALUES + at] = account[WINDOW_VALUES + at] * left[at] + usd
        account[WINDOW_CLIPPED + at] = account[WINDOW_CLIPPED + at] * left[at] + clipped_usd
    account[OUT_US] = max(account[OUT_US], f.now[N_NOW_US])
    if f.event[E_ASSET] != 0.0:
        _stamp_asset(account, f.event[E_ASSET], f.now[N_NOW_US])


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn the clipped sizes of the windows; a late payment is not in them as they are now."""
    if f.event[E_ACCOUNT] == 0.0 or f.now[N_LATE] != 0.0:
        return
    _clip(f.counts, f.now[N_CLIP])
    _absorb(f.account[COUNTS:], f.counts, rate)
    if f.now[N_USD] > 0.0:
        _clip(f.sums, f.now[N_CLIP])
        _absorb(f.account[VALUES:], f.sums, rate)


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn the same sizes anywhere."""
    if f.event[E_ACCOUNT] == 0.0 or f.now[N_LATE] != 0.0:
        return
    _absorb(record[COUNTS:], f.counts, rate)
    if f.now[N_USD] > 0.0:
        _absorb(record[VALUES:], f.sums, rate)


@compiled
def _clip(block: F8, most: float) -> None:
    sizes = _six(block)
    for at in range(WINDOWS):
        block[B_SIZES + at] = clipped(sizes[at], block[B_MEANS + at], block[B_VARIANCES + at], most)


@compiled
def _absorb(view: F8, block: F8, rate: float) -> None:
    """Learn the sizes of six windows: as ``statistics.absorb``, six at once."""
    count = view[0] + 1.0
    if rate * count < 1.0:
        rate = 1.0 / count
    means, variances, sizes = _six(view[_MEANS:]), _six(view[_VARIANCES:]), _six(block)
    view[0] = count
    for at in range(WINDOWS):
        apart = sizes[at] - means[at]
        view[_MEANS + at] = means[at] + rate * apart
        view[_VARIANCES + at] = (1.0 - rate) * (variances[at] + rate * apart * apart)


@compiled
def give_back(f: Frame) -> None:
    """Take a failed or cancelled transfer out of the value windows, as far as it is still in them; it did not leave."""
    amount, account = f.event[E_AMOUNT_USD], f.account
    if not amount >= 0.0 or f.event[E_ACCOUNT] == 0.0:
        return
    measure_windows(f)
    for at in range(WINDOWS):
        left = f.now[N_LEFT + at]
        account[WINDOW_COUNTS + at] *= left
        account[WINDOW_VALUES + at] = max(0.0, account[WINDOW_VALUES + at] * left - amount)
        account[WINDOW_CLIPPED + at] = max(0.0, account[WINDOW_CLIPPED + at] * left - amount)
    account[FAN_OUT] *= f.now[N_LEFT + HOUR_WINDOW]
    put_back(f, amount)
    account[OUT_US] = max(account[OUT_US], f.now[N_NOW_US])
    account[LAST_US] = max(account[LAST_US], f.now[N_NOW_US])
