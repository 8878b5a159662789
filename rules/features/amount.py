"""How much leaves: the amount in US dollars and its share of the balance, against the account's own history.

A missing USD amount is priced from the asset's own recent ratio and is itself a reason; an amount that cannot be priced
is a reason too, because "cannot tell" is not "small". A ratio off by three is a signal of a broken or forged price.

An amount above 1e18 USD counts as that much: a forged number must not overflow what is remembered.

Amount, share and the population's view of the amount are one group: one large payment is one fact, however many scales
show it.

An amount that this very destination was learned to receive (twice or more, over a week or more) from this account, and
from no other, is ordinary whatever the account's other payments are: that is the treasury's top-up.
"""

from math import nan
from typing import Final

from rules.arithmetic import exp10, log2, log10
from rules.arrays import F8
from rules.baseline.layout import (
    AMOUNT,
    LARGEST_USD,
    LEARNED,
    LEARNED_FIRST_US,
    LEARNED_LARGEST_USD,
    PAYERS,
    RATIO,
    SHARE,
)
from rules.baseline.statistics import CAP, absorb
from rules.compiled import compiled
from rules.event import E_ACCOUNT, E_AMOUNT_UNITS, E_AMOUNT_USD, E_ASSET
from rules.features import peers, size
from rules.features.balance import recall_balance
from rules.features.declared import FACT, UNSCORED, Group, declare, dollars, percent
from rules.features.frame import (
    DAY_US,
    N_BALANCE_USD,
    N_LOG2_USD,
    N_NOW_US,
    N_OWN_Z,
    N_SIZE,
    N_USD,
    Frame,
)
from rules.features.weighing import tell_fact, tell_range, weigh

_FLOOR: Final = 0.2
_PRICED_AFTER: Final = 5.0
_OFF: Final = 3.0
_LARGEST_USD: Final = 1e18
_LOG_LARGEST: Final = 18.0
_LEAST_LOG: Final = -300.0
_SMALLEST_USD: Final = 0.01
_LOG10_2: Final = 0.3010299956639812
_FAMILIAR_PAYMENTS: Final = 2.0
_FAMILIAR_DAYS: Final = 7.0
_FAMILIAR_GROWTH: Final = 1.5
_SMALLEST_SHARE: Final = 1e-9
_LARGEST_SHARE: Final = 1e3
_FADING: Final = 0.1
_RATIO_RATE: Final = 0.05
_SIZE: Final = Group("size", 1.0)
_PRICE: Final = Group("price", 0.1)

AMOUNT_USD = declare(
    "amount_usd",
    unit="USD",
    reads="amount_usd, or amount_units times the asset's recent USD per unit",
    null_when="neither is known",
    group=_SIZE,
    show=dollars,
)
OVER_LARGEST = declare(
    "amount_over_largest",
    unit="ratio",
    reads="the amount and the largest amount learned of the account",
    null_when="the amount is null or nothing was learned",
    group=UNSCORED,
)
SHARE_OF_BALANCE = declare(
    "share_of_balance",
    unit="share of 1",
    reads="the amount and balance_usd, or else the balance of the asset told last within 30 days, moved since",
    null_when="either is unknown, or the balance is 0",
    group=_SIZE,
    show=percent,
)
POPULATION = declare(
    "amount_population",
    unit="USD",
    reads="the amount against recent amounts of all accounts, each as it stands in its peer group",
    null_when="the amount is null",
    group=_SIZE,
    show=dollars,
)
UNPRICED = declare(
    "unpriced",
    unit="yes or no",
    reads="amount_usd, amount_units, the asset's record",
    null_when="never, when money moves",
    group=_PRICE,
    show=FACT,
)
PRICED_FROM_ASSET = declare(
    "priced_from_asset",
    unit="yes or no",
    reads="amount_usd, amount_units, the asset's record",
    null_when="never, when money moves",
    group=_PRICE,
    show=FACT,
)
PRICE_RATIO_OFF = declare(
    "price_ratio_off",
    unit="factor",
    reads="amount_usd, amount_units, the asset's record",
    null_when="either amount is unknown or the asset was priced fewer than 5 times",
    group=_PRICE,
)


@compiled
def measure(f: Frame) -> None:
    """Price the amount, then weigh it and its share of the balance.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", amount_usd=10.0, balance_usd=100.0)["share_of_balance"]
    0.1
    """
    _price(f)
    usd = f.now[N_USD]
    if not usd >= 0.0:
        return
    f.values[AMOUNT_USD] = f.values[POPULATION] = usd
    if f.account[LARGEST_USD] > 0.0:
        f.values[OVER_LARGEST] = usd / max(_SMALLEST_USD, f.account[LARGEST_USD])
    familiar = _familiar(f)
    shown = max(_SMALLEST_USD, usd)
    f.now[N_LOG2_USD] = log2(shown)
    f.now[N_SIZE] = f.now[N_LOG2_USD] * _LOG10_2
    weigh(f, AMOUNT_USD, AMOUNT, f.now[N_SIZE], 0.0, _FLOOR)
    peers.measure(f)
    size.measure(f)
    recall_balance(f)
    balance = f.now[N_BALANCE_USD]
    if balance > 0.0:
        share = max(_SMALLEST_SHARE, usd / balance) if usd / _LARGEST_SHARE < balance else _LARGEST_SHARE
        f.values[SHARE_OF_BALANCE] = share
        weigh(f, SHARE_OF_BALANCE, SHARE, log10(share), 0.0, _FLOOR)
    if familiar:
        f.surprise[AMOUNT_USD] = f.surprise[SHARE_OF_BALANCE] = 0.0
        f.now[N_OWN_Z] = f.now[N_LOG2_USD] = nan


@compiled
def measure_if_told(f: Frame) -> None:
    """As ``measure``, for activities that need not move money: without any amount nothing is said."""
    if f.event[E_AMOUNT_USD] >= 0.0 or f.event[E_AMOUNT_UNITS] >= 0.0:
        measure(f)


@compiled
def tell_range_anywhere(f: Frame, least: float) -> None:
    """Set the usual range of others' amounts: nine tenths of all payments, of the peer group as far as that knows."""
    if f.values[POPULATION] >= 0.0 and f.parts[POPULATION] >= least:
        tell_range(f, POPULATION, f.prior[AMOUNT + 1], max(_FLOOR * _FLOOR, f.prior[AMOUNT + 2]), 0.0)


@compiled
def _familiar(f: Frame) -> bool:
    return bool(
        f.destination[PAYERS] == f.event[E_ACCOUNT]
        and f.destination[PAYERS + 2] == 0.0
        and f.destination[LEARNED] >= _FAMILIAR_PAYMENTS
        and f.now[N_NOW_US] - f.destination[LEARNED_FIRST_US] >= _FAMILIAR_DAYS * DAY_US
        and f.now[N_USD] <= _FAMILIAR_GROWTH * f.destination[LEARNED_LARGEST_USD]
    )


@compiled
def _price(f: Frame) -> None:
    usd, units = f.event[E_AMOUNT_USD], f.event[E_AMOUNT_UNITS]
    known = f.event[E_ASSET] != 0.0 and f.asset[RATIO] >= _PRICED_AFTER
    tell_fact(f, UNPRICED, 0.0, 0.0)
    tell_fact(f, PRICED_FROM_ASSET, 0.0, 0.0)
    if usd >= 0.0:
        f.now[N_USD] = min(usd, _LARGEST_USD)
        if known and units > 0.0 and usd > 0.0:
            _compare(f, abs(log10(usd) - log10(units) - f.asset[RATIO + 1]))
    elif units >= 0.0 and known:
        priced = log10(units) + f.asset[RATIO + 1] if units > 0.0 else _LEAST_LOG
        f.now[N_USD] = exp10(max(_LEAST_LOG, min(priced, _LOG_LARGEST)))
        f.values[PRICED_FROM_ASSET] = 1.0
        f.surprise[PRICED_FROM_ASSET] = 1.0
    else:
        f.values[UNPRICED] = 1.0
        f.surprise[UNPRICED] = 2.0


@compiled
def _compare(f: Frame, off: float) -> None:
    f.values[PRICE_RATIO_OFF] = exp10(min(off, 300.0))
    f.low[PRICE_RATIO_OFF] = f.high[PRICE_RATIO_OFF] = 1.0
    f.surprise[PRICE_RATIO_OFF] = min(CAP, 4.0 * off) if f.values[PRICE_RATIO_OFF] >= _OFF else 0.0


@compiled
def remember(f: Frame) -> None:
    """Let what is known of sizes fade."""
    if f.event[E_ACCOUNT] != 0.0 and f.now[N_USD] >= 0.0:
        size.remember(f)


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn the largest amount, the asset's ratio and the model of sizes; ``measured`` is the kernel's to learn."""
    usd = f.now[N_USD]
    if not usd >= 0.0:
        return
    if f.event[E_ACCOUNT] != 0.0:
        f.account[LARGEST_USD] = max(f.account[LARGEST_USD] * (1.0 - _FADING * rate), usd)
        size.learn(f)
    told, units = f.event[E_AMOUNT_USD], f.event[E_AMOUNT_UNITS]
    if told > 0.0 and units > 0.0 and f.event[E_ASSET] != 0.0:
        absorb(f.asset, RATIO, log10(told) - log10(units), _RATIO_RATE)
        f.asset[LEARNED] += 1.0


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn sizes anywhere."""
    if f.now[N_USD] >= 0.0 and f.event[E_ACCOUNT] != 0.0:
        size.learn_population(f, record, rate)
