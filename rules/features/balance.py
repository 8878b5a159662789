"""The balance last told of an account's asset, for activities that tell none themselves.

Rules enforced here:
- Platforms that webhook a transfer without its balance are common; "not told now" is not "never told". The last told
  balance of the asset stays usable for 30 days, and whoever shows it says that it is remembered.
- It moves with what is known to come and go since. Outflows lower it to half of what was told at most: refills that no
  activity tells of are ordinary for a hot wallet, and must not turn a usual payment into "all of it".
- A balance is one asset's, as it is told: ten thousand dollars of a small token say nothing about the account's ether.
  An activity without an asset speaks of the account as a whole and is remembered as such.
- Eight assets are remembered per account; the one told longest ago makes room.
"""

from math import isnan

from rules.baseline.layout import (
    BALANCE_ASSETS,
    BALANCE_LEFT_USD,
    BALANCE_SLOTS,
    BALANCE_TOLD_US,
    BALANCE_TOLD_USD,
)
from rules.baseline.statistics import words
from rules.features.frame import DAY_S, US, Frame

_USABLE_US = 30 * DAY_S * US
_LEAST_LEFT = 0.5
_MOST_USD = 1e18
_WHOLE = -1.0


def recall_balance(frame: Frame) -> None:
    """Set the frame's balance: as told now, else as remembered; NaN when neither."""
    told = frame.observation.balance_usd
    if told is not None:
        frame.balance_usd = told
        return
    slot = _slot(frame)
    if slot < 0 or frame.now_us - frame.account[BALANCE_TOLD_US + slot] > _USABLE_US:
        return
    told_usd = frame.account[BALANCE_TOLD_USD + slot]
    frame.balance_usd = max(frame.account[BALANCE_LEFT_USD + slot], _LEAST_LEFT * told_usd)
    frame.balance_told_us = frame.account[BALANCE_TOLD_US + slot]


def remember(frame: Frame) -> None:
    """Remember the balance told with an outflow (as it stood before), or take the outflow from the remembered one."""
    if not frame.account_key:
        return
    usd = 0.0 if isnan(frame.usd) else frame.usd
    told = frame.observation.balance_usd
    if told is not None:
        _tell(frame, told, max(0.0, told - usd))
        return
    slot = _slot(frame)
    if slot >= 0:
        at = BALANCE_LEFT_USD + slot
        frame.account[at] = max(0.0, frame.account[at] - usd)


def receive(frame: Frame) -> None:
    """Add a deposit to the remembered balance, or remember the balance told with it."""
    told, usd = frame.observation.balance_usd, frame.observation.amount_usd
    if told is not None:
        _tell(frame, told, told)
    elif usd is not None:
        put_back(frame, usd)


def put_back(frame: Frame, usd: float) -> None:
    """Add what came, or what did not leave after all, to the remembered balance."""
    slot = _slot(frame)
    if slot >= 0:
        account = frame.account
        left = account[BALANCE_LEFT_USD + slot] = min(_MOST_USD, account[BALANCE_LEFT_USD + slot] + usd)
        account[BALANCE_TOLD_USD + slot] = max(account[BALANCE_TOLD_USD + slot], left)


def _slot(frame: Frame) -> int:
    known = words(frame.account, BALANCE_ASSETS, BALANCE_SLOTS)
    key = frame.asset_key or _WHOLE
    return known.index(key) if key in known else -1


def _tell(frame: Frame, told: float, left: float) -> None:
    account, slot = frame.account, _slot(frame)
    if slot < 0:
        times = words(account, BALANCE_TOLD_US, BALANCE_SLOTS)
        slot = times.index(min(times))
    account[BALANCE_ASSETS + slot] = frame.asset_key or _WHOLE
    account[BALANCE_TOLD_US + slot] = frame.now_us
    account[BALANCE_TOLD_USD + slot] = min(_MOST_USD, told)
    account[BALANCE_LEFT_USD + slot] = min(_MOST_USD, left)
