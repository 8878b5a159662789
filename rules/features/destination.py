"""Where to: how new a destination is for this account, who else pays it, dust tests, look-alikes, never used assets.

Newness is measured against how often this account pays new destinations: for a hot wallet that pays strangers all day
it says nothing, for a cold wallet it says a lot. Fan-in counts accounts that paid a young destination within an hour.
A destination that the platform itself vouches for (internal; or whitelisted, with no change of credentials, whitelist
or policy near it within a week) is trusted: it lowers the weight of the score, and the score alone never holds it.
"""

from math import exp, isnan, log10

from rules.baseline.layout import (
    CREDENTIAL_US,
    FAN_IN,
    FIRST_US,
    GOVERNANCE_US,
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
)
from rules.baseline.statistics import CAP, imprint, move_rate, rate_surprisal, recall
from rules.features.declared import declare, dollars, duration, plain, yes_no
from rules.features.frame import DAY_S, HOUR_S, US, Frame

_YOUNG_US = DAY_S * US
_VOUCHED_US = 7 * DAY_S * US
_DUST_USD = 200.0
_DUST_WITHIN_US = 2 * DAY_S * US
_DUST_FREE = 2.0
_RATE_OF_FAN_IN = 0.02
_TRUSTED_WEIGHT = 0.2
_PAIR = 2

NEW = declare(
    "destination_new",
    unit="yes or no",
    reads="destinations learned of the account, against its rate of new ones",
    null_when="no account or no destination",
    show=yes_no,
)
AGE = declare(
    "destination_age_s",
    unit="s",
    reads="time since any account first paid the destination",
    null_when="no destination",
    scored=False,
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
    scored=False,
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
    scored=False,
    show=yes_no,
)


def measure(frame: Frame) -> None:
    """Weigh the destination and the asset.

    >>> from rules.features.trial import trial
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
        new = account[LEARNED] == 0.0 or not recall(account, *_known_asset(frame))
        frame.values[ASSET_NEW] = 1.0 if new else 0.0
        frame.usual[ASSET_NEW] = account[NEW_ASSET]
        if new:
            frame.surprise[ASSET_NEW] = rate_surprisal(account[LEARNED], account[NEW_ASSET], 0.3)


def _vouched(frame: Frame) -> bool:
    kind = frame.observation.destination_kind
    if kind == "internal":
        return True
    last_change = max(frame.account[GOVERNANCE_US], frame.account[CREDENTIAL_US])
    return kind == "whitelisted" and frame.now_us - last_change > _VOUCHED_US and not _actor_changed(frame)


def _actor_changed(frame: Frame) -> bool:
    from rules.baseline.layout import CHANGE_KINDS, CHANGE_TIMES  # noqa: PLC0415 -- replaced below

    return frame.now_us - max(frame.actor[CHANGE_TIMES : CHANGE_TIMES + CHANGE_KINDS]) <= _VOUCHED_US


def _known_asset(frame: Frame) -> tuple[int, int, float]:
    raise NotImplementedError
