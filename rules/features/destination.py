"""Where to: how new a destination is for this account, who else pays it, dust tests, look-alikes, never used assets.

Newness is measured against how often this account pays new destinations: for a hot wallet that pays strangers all day
it says nothing, for a cold wallet it says a lot. A destination stays new for a day after anyone first paid it, whether
that payment was learned or not, unless people cleared one: a thief's first transfer must not vouch for his second.
Fan-in counts accounts that paid a young destination within an hour.
A destination that the platform itself vouches for (internal; or whitelisted, with no change of credentials, whitelist
or policy near it within a week) is trusted: it lowers the weight of the score, and the score alone never holds it.
"""

from math import exp, isnan, log10

from rules.baseline.layout import (
    CLEARED,
    FAN_IN,
    FIRST_US,
    KNOWN_ASSET_SLOTS,
    KNOWN_ASSETS,
    KNOWN_DESTINATION_SETS,
    KNOWN_DESTINATIONS,
    LARGEST_SEEN_USD,
    LAST_US,
    LEARNED,
    LEARNED_FIRST_US,
    LEARNED_LARGEST_USD,
    LOOK_SETS,
    LOOKS,
    NEW_ASSET,
    NEW_DESTINATION,
    PAYER_SLOTS,
    PAYERS,
    REMEMBERED,
    VALUE_1H,
    View,
)
from rules.baseline.statistics import CAP, imprint, move_rate, rate_surprisal, recall, words
from rules.baseline.tables import fingerprint
from rules.features.declared import UNSCORED, declare, dollars, duration, plain, yes_no
from rules.features.frame import DAY_S, HOUR_S, US, Frame
from rules.features.linkage import CHANGE_AGE

_YOUNG_US = DAY_S * US
_DUST_USD = 200.0
_DUST_WITHIN_US = 2 * DAY_S * US
_DUST_FREE = 2.0
_RATE_OF_FAN_IN = 0.02
_TRUSTED_WEIGHT = 0.2
_PAIR = 2
_LOOK_CHARACTERS = 4
_SHORTEST_ADDRESS = 24
_SHARED_PREFIXES = ("0x", "bc1q", "bc1p", "tb1q", "tb1p", "ltc1q")

NEW = declare(
    "destination_new",
    unit="yes or no",
    reads="destinations learned of the account, and their age (new for a day unless cleared), against its rate of new ones",
    null_when="no account or no destination",
    show=yes_no,
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
    show=plain,
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
    show=plain,
)
LOOKALIKE = declare(
    "lookalike_destination",
    unit="yes or no",
    reads="first and last four characters against destinations learned of the account",
    null_when="no account or no destination",
    show=yes_no,
)
ASSET_NEW = declare(
    "asset_new",
    unit="yes or no",
    reads="assets learned of the account, against its rate of new ones",
    null_when="no account or no asset",
    show=yes_no,
)
TRUSTED = declare(
    "destination_trusted",
    unit="yes or no",
    reads="destination_kind, and changes of credentials, whitelist or policy within a week",
    null_when="never, when money moves",
    group=UNSCORED,
    show=yes_no,
)


def measure(frame: Frame) -> None:
    """Weigh the destination and the asset.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", destination="eip155:1:0xabc")["destination_new"]
    1.0
    """
    frame.trusted = _vouched(frame)
    frame.values[TRUSTED] = 1.0 if frame.trusted else 0.0
    if frame.trusted:
        frame.weight = _TRUSTED_WEIGHT
    if frame.destination_key:
        _measure_destination(frame)
    if frame.account_key and frame.asset_key:
        account = frame.account
        new = not recall(account, KNOWN_ASSETS, KNOWN_ASSET_SLOTS, frame.asset_key)
        frame.values[ASSET_NEW] = 1.0 if new else 0.0
        frame.usual[ASSET_NEW] = account[NEW_ASSET]
        if new:
            frame.surprise[ASSET_NEW] = rate_surprisal(account[LEARNED], account[NEW_ASSET], 0.3)


def _vouched(frame: Frame) -> bool:
    kind = frame.observation.destination_kind
    return kind == "internal" or (kind == "whitelisted" and isnan(frame.values[CHANGE_AGE]))


def _measure_destination(frame: Frame) -> None:
    destination, values, now_us = frame.destination, frame.values, frame.now_us
    paid_before = destination[REMEMBERED] > 0.0
    age_us = max(0.0, now_us - destination[FIRST_US]) if paid_before else 0.0
    values[AGE] = age_us / US
    if not isnan(frame.usd):
        values[DESTINATION_VALUE] = _left(frame) + frame.usd
        largest = destination[LARGEST_SEEN_USD]
        if paid_before and 0.0 < largest <= _DUST_USD and age_us <= _DUST_WITHIN_US and frame.usd > 0.0:
            values[DUST] = frame.usd / largest
            frame.usual[DUST] = 1.0
            frame.surprise[DUST] = min(CAP, max(0.0, log10(values[DUST]) - _DUST_FREE))
    if not frame.account_key:
        return
    values[FAN] = _fan_in(frame)
    frame.usual[FAN] = 1.0
    if values[FAN] > 1.0 and age_us <= _YOUNG_US:
        one = rate_surprisal(frame.population[LEARNED], frame.population[FAN_IN], _RATE_OF_FAN_IN)
        frame.surprise[FAN] = min(CAP, one * (values[FAN] - 1.0))
    _measure_new(frame)


def _measure_new(frame: Frame) -> None:
    account, values = frame.account, frame.values
    at = KNOWN_DESTINATIONS + _PAIR * _set(frame)
    known = frame.destination_key in {account[at], account[at + 1]}
    young = values[AGE] * US < _YOUNG_US and not frame.destination[CLEARED]
    new = not known or young
    values[NEW] = 1.0 if new else 0.0
    frame.usual[NEW] = account[NEW_DESTINATION]
    if new:
        prior = min(0.9, max(0.05, frame.prior[NEW_DESTINATION]))
        frame.surprise[NEW] = rate_surprisal(account[LEARNED], account[NEW_DESTINATION], prior)
    look = not known and _imitates(frame)
    values[LOOKALIKE] = 1.0 if look else 0.0
    frame.usual[LOOKALIKE] = 0.0
    if look:
        frame.surprise[LOOKALIKE] = CAP


def look_of(destination: str) -> str | None:
    """The first and last four characters that a person compares, or ``None`` for ids too short to be an address.

    Prefixes that all addresses of a chain share (BIP-173, BIP-350, EIP-55) do not count as characters compared.

    >>> look_of("eip155:1:0xabcd000000000000000000000000000000009876")
    'abcd 9876'
    >>> look_of("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
    'w508 f3t4'
    >>> look_of("main/warm-1") is None
    True
    """
    address = destination[destination.rfind(":") + 1 :].lower()
    for prefix in _SHARED_PREFIXES:
        address = address.removeprefix(prefix)
    if len(address) < _SHORTEST_ADDRESS:
        return None
    return address[:_LOOK_CHARACTERS] + " " + address[-_LOOK_CHARACTERS:]


def _imitates(frame: Frame) -> bool:
    """Whether the account learned another destination that looks the same."""
    look = look_of(frame.observation.destination or "")
    if look is None:
        return False
    frame.look_key = fingerprint(look, frame.salt)
    at = LOOKS + _PAIR * (int(frame.look_key) % LOOK_SETS)
    return frame.account[at] == frame.look_key and frame.account[at + 1] != frame.destination_key


def _set(frame: Frame) -> int:
    return int(frame.destination_key) % KNOWN_DESTINATION_SETS


def _left(frame: Frame) -> float:
    destination = frame.destination
    gap_s = max(0.0, frame.now_us - destination[LAST_US]) / US
    return destination[VALUE_1H] * exp(-gap_s / HOUR_S)


def _fan_in(frame: Frame) -> float:
    if frame.destination[REMEMBERED] == 0.0:
        return 1.0
    since = frame.now_us - HOUR_S * US
    payers = words(frame.destination, PAYERS, 2 * PAYER_SLOTS)
    others = sum(
        1
        for at in range(0, 2 * PAYER_SLOTS, 2)
        if payers[at + 1] > since and payers[at] not in {0.0, frame.account_key}
    )
    return float(min(PAYER_SLOTS, others + 1))


def remember(frame: Frame) -> None:
    """Note the payment in the destination's record: payer, amount, time."""
    if not frame.destination_key:
        return
    destination = frame.destination
    usd = 0.0 if isnan(frame.usd) else frame.usd
    destination[VALUE_1H] = _left(frame) + usd
    if destination[REMEMBERED] == 0.0:
        destination[FIRST_US] = frame.now_us
    destination[REMEMBERED] += 1.0
    destination[LARGEST_SEEN_USD] = max(usd, destination[LARGEST_SEEN_USD])
    destination[LAST_US] = max(frame.now_us, destination[LAST_US])
    if not frame.account_key:
        return
    payers = words(destination, PAYERS, 2 * PAYER_SLOTS)
    keys, times = payers[::2], payers[1::2]
    slot = keys.index(frame.account_key) if frame.account_key in keys else times.index(min(times))
    destination[PAYERS + 2 * slot] = frame.account_key
    destination[PAYERS + 2 * slot + 1] = frame.now_us


def learn(frame: Frame, rate: float) -> None:
    """Learn the destination, its look and the asset of this account."""
    account, values = frame.account, frame.values
    if frame.destination_key:
        destination = frame.destination
        if destination[LEARNED] == 0.0:
            destination[LEARNED_FIRST_US] = frame.now_us
        destination[LEARNED] += 1.0
        if frame.late:
            destination[CLEARED] = 1.0
        if not isnan(frame.usd):
            destination[LEARNED_LARGEST_USD] = max(frame.usd, destination[LEARNED_LARGEST_USD])
    if not frame.account_key:
        return
    if frame.destination_key:
        move_rate(account, NEW_DESTINATION, values[NEW], rate)
        imprint(account, KNOWN_DESTINATIONS + _PAIR * _set(frame), _PAIR, frame.destination_key)
        if frame.look_key:
            at = LOOKS + _PAIR * (int(frame.look_key) % LOOK_SETS)
            account[at], account[at + 1] = frame.look_key, frame.destination_key
    if frame.asset_key:
        move_rate(account, NEW_ASSET, values[ASSET_NEW], rate)
        imprint(account, KNOWN_ASSETS, KNOWN_ASSET_SLOTS, frame.asset_key)


def learn_population(frame: Frame, record: View, rate: float) -> None:
    """Learn how often destinations are new and fan-in happens anywhere."""
    if isnan(frame.values[NEW]):
        return
    move_rate(record, NEW_DESTINATION, frame.values[NEW], rate)
    young = frame.values[AGE] <= DAY_S
    move_rate(record, FAN_IN, 1.0 if young and frame.values[FAN] > 1.0 else 0.0, rate)
