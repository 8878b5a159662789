"""The balance last told of an account's asset, for activities that tell none themselves.

Rules enforced here:
- Platforms that webhook a transfer without its balance are common; "not told now" is not "never told". The last told
  balance of the asset stays usable for 30 days, and whoever shows it says that it is remembered.
- It moves with what is known to come and go since. Outflows lower it to half of what was told at most: refills that no
  activity tells of are ordinary for a hot wallet, and must not turn a usual payment into "all of it".
- A balance is one asset's, as it is told: ten thousand dollars of a small token say nothing about the account's ether.
  An activity without an asset speaks of the account as a whole and is remembered as such.
- A few assets are remembered per account; the one told longest ago makes room.
"""

from typing import Final

from rules.baseline.layout import BALANCE_SLOTS, BALANCES
from rules.compiled import compiled
from rules.event import E_ACCOUNT, E_AMOUNT_USD, E_ASSET, E_BALANCE_USD
from rules.features.frame import DAY_US, N_BALANCE_TOLD_US, N_BALANCE_USD, N_NOW_US, Frame
from rules.features.weighing import worth

_USABLE_US: Final = 30 * DAY_US
_LEAST_LEFT: Final = 0.5
_MOST_USD: Final = 1e18
_WHOLE: Final = -1.0
_WORDS: Final = 4
_END: Final = BALANCES + _WORDS * BALANCE_SLOTS
TOLD_US: Final = 1
TOLD_USD: Final = 2
LEFT_USD: Final = 3
"""What stands after the asset's fingerprint in a slot: when it was told, what was told, what is left of it."""


@compiled
def recall_balance(f: Frame) -> None:
    """Set the frame's balance: as told now, else as remembered; NaN when neither."""
    told = f.event[E_BALANCE_USD]
    if told >= 0.0:
        f.now[N_BALANCE_USD] = told
        return
    slot = _slot(f)
    if slot < 0 or f.now[N_NOW_US] - f.account[slot + TOLD_US] > _USABLE_US:
        return
    f.now[N_BALANCE_USD] = max(f.account[slot + LEFT_USD], _LEAST_LEFT * f.account[slot + TOLD_USD])
    f.now[N_BALANCE_TOLD_US] = f.account[slot + TOLD_US]


@compiled
def remember(f: Frame) -> None:
    """Remember the balance told with an outflow (as it stood before), or take the outflow from the remembered one."""
    if f.event[E_ACCOUNT] == 0.0:
        return
    usd = worth(f)
    told = f.event[E_BALANCE_USD]
    if told >= 0.0:
        _tell(f, told, max(0.0, told - usd))
        return
    slot = _slot(f)
    if slot >= 0:
        f.account[slot + LEFT_USD] = max(0.0, f.account[slot + LEFT_USD] - usd)


@compiled
def receive(f: Frame) -> None:
    """Add a deposit to the remembered balance, or remember the balance told with it."""
    if f.event[E_BALANCE_USD] >= 0.0:
        _tell(f, f.event[E_BALANCE_USD], f.event[E_BALANCE_USD])
    elif f.event[E_AMOUNT_USD] >= 0.0:
        put_back(f, f.event[E_AMOUNT_USD])


@compiled
def put_back(f: Frame, usd: float) -> None:
    """Add what came, or what did not leave after all, to the remembered balance."""
    slot = _slot(f)
    if slot >= 0:
        left = min(_MOST_USD, f.account[slot + LEFT_USD] + usd)
        f.account[slot + LEFT_USD] = left
        f.account[slot + TOLD_USD] = max(f.account[slot + TOLD_USD], left)


@compiled
def _key(f: Frame) -> float:
    return f.event[E_ASSET] if f.event[E_ASSET] != 0.0 else _WHOLE


@compiled
def _slot(f: Frame) -> int:
    key = _key(f)
    for slot in range(BALANCES, _END, _WORDS):
        if f.account[slot] == key:
            return slot
    return -1


@compiled
def _tell(f: Frame, told: float, left: float) -> None:
    account, slot = f.account, _slot(f)
    if slot < 0:
        slot = BALANCES
        for other in range(BALANCES, _END, _WORDS):
            if account[other + TOLD_US] < account[slot + TOLD_US]:
                slot = other
    account[slot] = _key(f)
    account[slot + TOLD_US] = f.now[N_NOW_US]
    account[slot + TOLD_USD] = min(_MOST_USD, told)
    account[slot + LEFT_USD] = min(_MOST_USD, left)
