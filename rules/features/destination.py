"""Where to: how new a destination is for this account, who else pays it, dust tests, look-alikes.

Newness is measured against how often this account pays new destinations: for a hot wallet that pays strangers all day
it says nothing, for a cold wallet it says a lot. A destination stays new for a day after anyone first paid it, whether
that payment was learned or not, unless people cleared one: a thief's first transfer must not vouch for his second.
Fan-in counts accounts that paid a young destination within an hour, fan-out the destinations of an account that it did
not know. A destination that the platform itself vouches for (internal; or whitelisted, with no change of credentials,
whitelist or policy near it within a week) is trusted: it lowers the weight of the score, and the score alone never holds
it.
"""

from typing import Final

from rules.arithmetic import log10
from rules.arrays import F8
from rules.baseline.layout import (
    CLEARED,
    FAN_IN,
    FAN_OUT,
    FAN_OUTS,
    FIRST_US,
    KNOWN_DESTINATION_SETS,
    KNOWN_DESTINATIONS,
    LARGEST_SEEN_USD,
    LAST_US,
    LEARNED,
    LEARNED_FIRST_US,
    LEARNED_LARGEST_USD,
    LOOK_SETS,
    LOOKS,
    NEW_DESTINATION,
    PAYER_SLOTS,
    PAYERS,
    POPULATION_FAN_OUTS,
    REMEMBERED,
    VALUE_1H,
)
from rules.baseline.statistics import (
    CAP,
    absorb,
    counting_since,
    imprint,
    move_rate,
    rate_surprisal,
    recall,
    stamping,
    surprisal_above,
    usual,
)
from rules.compiled import compiled
from rules.event import DESTINATION_KINDS, E_ACCOUNT, E_DESTINATION, E_DESTINATION_KIND, E_LOOK
from rules.features import rarity
from rules.features.declared import FACT, UNSCORED, Group, declare, dollars, duration
from rules.features.frame import (
    DAY_US,
    HOUR_US,
    N_FAN_OUT,
    N_LATE,
    N_LEFT,
    N_NOW_US,
    N_TRUSTED,
    N_USD,
    N_VALUE_LEFT,
    N_WEIGHT,
    US,
    Frame,
)
from rules.features.linkage import CHANGE_AGE
from rules.features.velocity import HOUR_WINDOW
from rules.features.weighing import tell_fact, tell_range, worth

_DUST_USD: Final = 200.0
_LEAST_DUST_USD: Final = 0.01
_DUST_WITHIN_US: Final = 2 * DAY_US
_DUST_FREE: Final = 2.0
_RATE_OF_FAN_IN: Final = 0.02
_FLOOR: Final = 0.2
_TRUSTED_WEIGHT: Final = 0.2
_PAIR: Final = 2
_INTERNAL: Final = DESTINATION_KINDS.index("internal")
_WHITELISTED: Final = DESTINATION_KINDS.index("whitelisted")
_DESTINATION: Final = Group("destination", 0.03)
_payers_since: Final = counting_since(PAYERS, PAYER_SLOTS)
_stamp_payer: Final = stamping(PAYERS, PAYER_SLOTS)

NEW = declare(
    "destination_new",
    unit="yes or no",
    reads="destinations learned of the account, and their age (new for a day unless cleared), against its rate of new ones",
    null_when="no account or no destination",
    group=_DESTINATION,
    show=FACT,
)
AGE = declare(
    "destination_age_s",
    unit="s",
    reads="time since any account first paid the destination",
    null_when="no destination",
    group=UNSCORED,
    show=duration,
)
FAN = declare(
    "fan_in_accounts",
    unit="accounts, up to 8",
    reads="distinct accounts that paid the destination within an hour; scored while it is younger than a day",
    null_when="no account or no destination",
    group=_DESTINATION,
)
FAN_OUT_1H = declare(
    "fan_out_1h",
    unit="destinations, decayed",
    reads="destinations not known of the account that it paid, time constant 1 h",
    null_when="no account or no destination",
    group=_DESTINATION,
)
DESTINATION_VALUE = declare(
    "destination_value_1h",
    unit="USD, decayed",
    reads="amounts all accounts paid the destination, time constant 1 h",
    null_when="no destination, or the amount is null",
    group=UNSCORED,
    show=dollars,
)
DUST = declare(
    "dust_ratio",
    unit="ratio",
    reads="the amount over the largest so far, when all so far was dust (up to 200 USD) within 2 days",
    null_when="the destination was never paid, or not with dust only, or the amount is null",
    group=Group(weight=0.1),
)
LOOKALIKE = declare(
    "lookalike_destination",
    unit="yes or no",
    reads="first and last four characters against destinations learned of the account",
    null_when="no account or no destination",
    group=Group(weight=1.0),
    show=FACT,
)
TRUSTED = declare(
    "destination_trusted",
    unit="yes or no",
    reads="destination_kind, and changes of credentials, whitelist or policy within a week",
    null_when="never, when money moves",
    group=UNSCORED,
    show=FACT,
)


@compiled
def measure(f: Frame) -> None:
    """Weigh the destination.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", destination="eip155:1:0xabc")["destination_new"]
    1.0
    """
    kind, change_age = f.event[E_DESTINATION_KIND], f.values[CHANGE_AGE]
    unchanged = not change_age >= 0.0
    trusted = kind == _INTERNAL or (kind == _WHITELISTED and unchanged)
    f.now[N_TRUSTED] = f.values[TRUSTED] = 1.0 if trusted else 0.0
    if trusted:
        f.now[N_WEIGHT] = _TRUSTED_WEIGHT
    if f.event[E_DESTINATION] == 0.0:
        return
    paid_before = f.destination[REMEMBERED] > 0.0
    age_us = max(0.0, f.now[N_NOW_US] - f.destination[FIRST_US]) if paid_before else 0.0
    f.values[AGE] = age_us / US
    if f.now[N_USD] >= 0.0:
        f.values[DESTINATION_VALUE] = f.destination[VALUE_1H] * f.now[N_VALUE_LEFT] + f.now[N_USD]
        if paid_before and age_us <= _DUST_WITHIN_US and f.now[N_USD] > 0.0:
            _measure_dust(f)
    if f.event[E_ACCOUNT] != 0.0:
        _measure_fan_in(f, age_us)
        _measure_new(f, age_us)


@compiled
def _measure_dust(f: Frame) -> None:
    largest = f.destination[LARGEST_SEEN_USD]
    if 0.0 < largest <= _DUST_USD:
        f.values[DUST] = f.now[N_USD] / max(_LEAST_DUST_USD, largest)
        f.low[DUST] = f.high[DUST] = 1.0
        f.surprise[DUST] = min(CAP, max(0.0, log10(max(1.0, f.values[DUST])) - _DUST_FREE))


@compiled
def _measure_fan_in(f: Frame, age_us: float) -> None:
    since_us = f.now[N_NOW_US] - HOUR_US
    payers = 1.0 + _payers_since(f.destination, since_us, f.event[E_ACCOUNT])
    f.values[FAN] = min(float(PAYER_SLOTS), payers)
    f.low[FAN] = f.high[FAN] = 1.0
    if payers > 1.0 and age_us <= DAY_US:
        one = rate_surprisal(f.population[LEARNED], f.population[FAN_IN], _RATE_OF_FAN_IN)
        f.surprise[FAN] = min(CAP, one * (f.values[FAN] - 1.0))


@compiled
def _measure_new(f: Frame, age_us: float) -> None:
    account = f.account
    known = recall(account, KNOWN_DESTINATIONS + _PAIR * _set(f), _PAIR, f.event[E_DESTINATION])
    new = not known or (age_us < DAY_US and f.destination[CLEARED] == 0.0)
    tell_fact(f, NEW, 1.0 if new else 0.0, account[NEW_DESTINATION])
    if new:
        prior = min(0.9, max(0.05, f.prior[NEW_DESTINATION]))
        rarity.note_rate(f, rarity.NEW_DESTINATION, account[LEARNED], account[NEW_DESTINATION], prior)
    imitates = not known and _imitates(f)
    tell_fact(f, LOOKALIKE, 1.0 if imitates else 0.0, 0.0)
    if imitates:
        f.surprise[LOOKALIKE] = CAP
    fan_out = account[FAN_OUT] * f.now[N_LEFT + HOUR_WINDOW] + (0.0 if known else 1.0)
    f.values[FAN_OUT_1H] = fan_out
    f.now[N_FAN_OUT] = log10(1.0 + fan_out)
    if not known:
        mean, variance = usual(account, f.prior, FAN_OUTS, POPULATION_FAN_OUTS, _FLOOR)
        f.surprise[FAN_OUT_1H] = surprisal_above(f.now[N_FAN_OUT], mean, variance)


@compiled
def tell_range_of_fan_out(f: Frame, least: float) -> None:
    """Set how many new destinations the account usually pays within an hour."""
    if f.values[FAN_OUT_1H] >= 0.0 and f.parts[FAN_OUT_1H] >= least:
        mean, variance = usual(f.account, f.prior, FAN_OUTS, POPULATION_FAN_OUTS, _FLOOR)
        tell_range(f, FAN_OUT_1H, mean, variance, 1.0)


@compiled
def _imitates(f: Frame) -> bool:
    """Whether the account learned another destination that looks the same."""
    if f.event[E_LOOK] == 0.0:
        return False
    at = LOOKS + _PAIR * (int(f.event[E_LOOK]) % LOOK_SETS)
    return bool(f.account[at] == f.event[E_LOOK] and f.account[at + 1] != f.event[E_DESTINATION])


@compiled
def _set(f: Frame) -> int:
    return int(f.event[E_DESTINATION]) % KNOWN_DESTINATION_SETS


@compiled
def remember(f: Frame) -> None:
    """Note the payment in the destination's record: payer, amount, time; and a new one in the account's."""
    if f.event[E_ACCOUNT] != 0.0:
        fan_out = f.values[FAN_OUT_1H]
        f.account[FAN_OUT] = fan_out if fan_out >= 0.0 else f.account[FAN_OUT] * f.now[N_LEFT + HOUR_WINDOW]
    if f.event[E_DESTINATION] == 0.0:
        return
    destination, now_us = f.destination, f.now[N_NOW_US]
    usd = worth(f)
    destination[VALUE_1H] = destination[VALUE_1H] * f.now[N_VALUE_LEFT] + usd
    if destination[REMEMBERED] == 0.0:
        destination[FIRST_US] = now_us
    destination[REMEMBERED] += 1.0
    destination[LARGEST_SEEN_USD] = max(usd, destination[LARGEST_SEEN_USD])
    destination[LAST_US] = max(now_us, destination[LAST_US])
    if f.event[E_ACCOUNT] != 0.0:
        _stamp_payer(destination, f.event[E_ACCOUNT], now_us)


@compiled
def learn(f: Frame, rate: float) -> None:
    """Learn the destination, its look, and how often and how many new ones this account pays."""
    if f.event[E_DESTINATION] == 0.0:
        return
    _learn_destination(f)
    if f.event[E_ACCOUNT] == 0.0:
        return
    account = f.account
    move_rate(account, NEW_DESTINATION, f.values[NEW], rate)
    imprint(account, KNOWN_DESTINATIONS + _PAIR * _set(f), _PAIR, f.event[E_DESTINATION])
    if f.event[E_LOOK] != 0.0 and f.values[LOOKALIKE] == 0.0:
        at = LOOKS + _PAIR * (int(f.event[E_LOOK]) % LOOK_SETS)
        account[at] = f.event[E_LOOK]
        account[at + 1] = f.event[E_DESTINATION]
    if f.now[N_LATE] == 0.0:
        absorb(account, FAN_OUTS, f.now[N_FAN_OUT], rate)


@compiled
def _learn_destination(f: Frame) -> None:
    destination = f.destination
    if destination[LEARNED] == 0.0:
        destination[LEARNED_FIRST_US] = f.now[N_NOW_US]
    destination[LEARNED] += 1.0
    if f.now[N_LATE] != 0.0:
        destination[CLEARED] = 1.0
    destination[LEARNED_LARGEST_USD] = max(destination[LEARNED_LARGEST_USD], worth(f))


@compiled
def learn_population(f: Frame, record: F8, rate: float) -> None:
    """Learn how often destinations are new, fan-in happens, and how many new ones accounts pay, anywhere."""
    if not f.values[NEW] >= 0.0:
        return
    move_rate(record, NEW_DESTINATION, f.values[NEW], rate)
    young = f.values[AGE] * US <= DAY_US
    move_rate(record, FAN_IN, 1.0 if young and f.values[FAN] > 1.0 else 0.0, rate)
    if f.now[N_LATE] == 0.0:
        absorb(record, POPULATION_FAN_OUTS, f.now[N_FAN_OUT], rate)
