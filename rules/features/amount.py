"""How much leaves: the amount in US dollars and its share of the balance, against the account's own history.

A missing USD amount is priced from the asset's own recent ratio and is itself a reason; an amount that cannot be priced
is a reason too, because "cannot tell" is not "small". A ratio off by three is a signal of a broken or forged price.

An amount above 1e18 USD counts as that much: a forged number must not overflow what is remembered.

Amount, share and the value windows of ``velocity`` are one group: one large payment is one fact, however many scales
show it.

An amount that this very destination was learned to receive (twice or more, over a week or more) is ordinary whatever
the account's other payments are: that is the treasury's top-up.
"""

from math import isnan, log10

from rules.baseline.layout import (
    AMOUNT,
    FINGERPRINT,
    LARGEST_USD,
    LEARNED,
    LEARNED_FIRST_US,
    LEARNED_LARGEST_USD,
    RATIO,
    SHARE,
)
from rules.baseline.statistics import CAP, absorb
from rules.features.balance import recall_balance
from rules.features.declared import UNSCORED, Shown, declare, dollars, duration, from_log10, percent, plain, yes_no
from rules.features.frame import DAY_S, US, Frame
from rules.features.weighing import weigh

_FLOOR = 0.2
_PRICED_AFTER = 5.0
_OFF = 3.0
_LARGEST_USD = 1e18
_FAMILIAR_PAYMENTS = 2.0
_FAMILIAR_DAYS = 7.0
_FAMILIAR_GROWTH = 1.5
_SMALLEST_SHARE = 1e-9
_LARGEST_SHARE = 1e3

AMOUNT_USD = declare(
    "amount_usd",
    unit="USD",
    reads="amount_usd, or amount_units times the asset's recent USD per unit",
    null_when="neither is known",
    group="size",
    show=Shown(dollars, from_log10(dollars)),
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
    group="size",
    show=Shown(percent, from_log10(percent)),
)
UNPRICED = declare(
    "unpriced",
    unit="yes or no",
    reads="amount_usd, amount_units, the asset's record",
    null_when="never, when money moves",
    show=yes_no,
)
PRICED_FROM_ASSET = declare(
    "priced_from_asset",
    unit="yes or no",
    reads="amount_usd, amount_units, the asset's record",
    null_when="never, when money moves",
    show=yes_no,
)
PRICE_RATIO_OFF = declare(
    "price_ratio_off",
    unit="factor",
    reads="amount_usd, amount_units, the asset's record",
    null_when="either amount is unknown or the asset was priced fewer than 5 times",
    show=plain,
)


def measure(frame: Frame) -> None:
    """Price the amount, then weigh it and its share of the balance.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", amount_usd=10.0, balance_usd=100.0)["share_of_balance"]
    0.1
    """
    _price(frame)
    usd = frame.usd
    if isnan(usd):
        return
    account, values = frame.account, frame.values
    values[AMOUNT_USD] = usd
    if account[LARGEST_USD] > 0.0:
        values[OVER_LARGEST] = usd / account[LARGEST_USD]
    familiar = _familiar(frame)
    size = log10(max(0.01, usd))
    weigh(frame, AMOUNT_USD, AMOUNT, size, _FLOOR)
    recall_balance(frame)
    balance = frame.balance_usd
    if balance > 0.0:
        share = min(_LARGEST_SHARE, max(_SMALLEST_SHARE, usd / balance))
        values[SHARE_OF_BALANCE] = share
        weigh(frame, SHARE_OF_BALANCE, SHARE, log10(share), _FLOOR)
    if familiar:
        frame.surprise[AMOUNT_USD] = frame.surprise[SHARE_OF_BALANCE] = 0.0


def measure_if_told(frame: Frame) -> None:
    """As ``measure``, for activities that need not move money: without any amount nothing is said."""
    if frame.observation.amount_usd is not None or frame.observation.amount_units is not None:
        measure(frame)


def balance_note(frame: Frame) -> str:
    """What a share is a share of, when that balance was not told with the activity but remembered; else nothing."""
    if isnan(frame.balance_told_us):
        return ""
    ago = duration(max(0.0, frame.now_us - frame.balance_told_us) / US)
    return f" of about {dollars(frame.balance_usd)}, as last told {ago} before and moved since"


def _familiar(frame: Frame) -> bool:
    destination = frame.destination
    return (
        destination[LEARNED] >= _FAMILIAR_PAYMENTS
        and frame.now_us - destination[LEARNED_FIRST_US] >= _FAMILIAR_DAYS * DAY_S * US
        and frame.usd <= _FAMILIAR_GROWTH * destination[LEARNED_LARGEST_USD]
    )


def _price(frame: Frame) -> None:
    usd, units = frame.observation.amount_usd, frame.observation.amount_units
    values, asset = frame.values, frame.asset
    values[UNPRICED] = values[PRICED_FROM_ASSET] = 0.0
    known = asset[RATIO] >= _PRICED_AFTER and asset[FINGERPRINT] > 0.0
    if usd is not None:
        frame.usd = min(usd, _LARGEST_USD)
        if known and units and usd > 0.0:
            off = abs(log10(usd) - log10(units) - asset[RATIO + 1])
            values[PRICE_RATIO_OFF] = 10.0 ** min(off, 300.0)
            frame.usual[PRICE_RATIO_OFF] = 1.0
            frame.surprise[PRICE_RATIO_OFF] = min(CAP, 4.0 * off) if values[PRICE_RATIO_OFF] >= _OFF else 0.0
    elif units is not None and known:
        size = log10(units) + asset[RATIO + 1] if units > 0.0 else -300.0
        frame.usd = 10.0 ** max(-300.0, min(size, log10(_LARGEST_USD)))
        values[PRICED_FROM_ASSET] = 1.0
        frame.usual[PRICED_FROM_ASSET] = 0.0
        frame.surprise[PRICED_FROM_ASSET] = 1.0
    else:
        values[UNPRICED] = 1.0
        frame.usual[UNPRICED] = 0.0
        frame.surprise[UNPRICED] = 2.0


def learn(frame: Frame, rate: float) -> None:
    """Learn the largest amount and the asset's ratio; the statistics themselves are learned from ``measured``."""
    usd = frame.usd
    if isnan(usd):
        return
    account, asset, units = frame.account, frame.asset, frame.observation.amount_units
    faded = account[LARGEST_USD] * (1.0 - 0.1 * rate)
    account[LARGEST_USD] = max(faded, usd)
    if frame.observation.amount_usd and units and asset[FINGERPRINT] > 0.0:
        absorb(asset, RATIO, log10(frame.observation.amount_usd) - log10(units), 0.05)
        asset[LEARNED] += 1.0
