"""Where each number stands in a baseline record.

Rules enforced here:
- A record is a flat vector of IEEE 754 binary64 words in little-endian order, of one fixed width per kind, at most
  2 kB. Integers up to 2**53 (times in microseconds, 52-bit fingerprints) are exact in it.
- Word 0 is ``kind * 256 + version``; a reader refuses any other value. A changed layout raises ``VERSION``.
- Words that every payment touches stand in few neighbouring lines of eight: memory is what a large installation costs.

Words 0..5 mean the same in every kind. Peer groups and the population use the account's layout up to
``NEW_CHAIN``, so that one function shrinks an account towards either. "Remembered" words change with everything that
happens, "learned" words only with what the engine may learn from.
"""

from enum import IntEnum
from typing import Final

VERSION: Final = 6


class Kind(IntEnum):
    """Kinds of records, as stored."""

    ACCOUNT = 1
    DESTINATION = 2
    ACTOR = 3
    ASSET = 4
    PEER_GROUP = 5
    POPULATION = 6
    CALIBRATION = 7
    FROZEN = 8
    VERDICT = 10
    DEVICE = 11
    NETWORK = 12
    SUPPRESSION = 13
    TABLE = 14
    BUDGET = 15


WIDTH: Final = {
    Kind.ACCOUNT: 248,
    Kind.DESTINATION: 48,
    Kind.ACTOR: 104,
    Kind.ASSET: 16,
    Kind.PEER_GROUP: 160,
    Kind.POPULATION: 160,
    Kind.DEVICE: 40,
    Kind.NETWORK: 72,
    Kind.VERDICT: 8,
}
"""Words per record of each fixed-size kind of entity."""

TOUCHED: Final = {Kind.ACCOUNT: 184, Kind.DESTINATION: 40, Kind.ACTOR: 80, Kind.DEVICE: 32, Kind.NETWORK: 48}
"""Words from the start of a record that most payments touch: memory is asked for them ahead."""

FORMAT: Final = 0
FINGERPRINT: Final = 1
FIRST_US: Final = 2
LAST_US: Final = 3
LEARNED: Final = 4
REMEMBERED: Final = 5

# Account: its peer group (fingerprint), the time of the last outflow, decayed recent surprise and its time.
GROUP: Final = 6
OUT_US: Final = 7

# Account, peer group, population: learned rates in [0, 1], largest amount.
NEW_DESTINATION: Final = 8
NEW_ASSET: Final = 9
LARGEST_USD: Final = 10
# Account: remembered.
SKIP_SCORED_US: Final = 11
GOVERNANCE_US: Final = 12
CREDENTIAL_US: Final = 13
SURPRISE: Final = 14
SURPRISE_US: Final = 15

# Account, peer group, population: learned statistics, each (count, mean, variance). Those of counts and values tell of six
# windows each, which are always learned together: their count, six means, six variances.
WINDOWS: Final = 6
AMOUNT: Final = 16
SHARE: Final = 19
GAP: Final = 22
COUNTS: Final = 25
VALUES: Final = 38
WINDOW_WORDS: Final = 1 + 2 * WINDOWS
ASSETS: Final = 51

# Account: the usual fan-out (statistic); remembered windows: counts, USD, and USD with each payment clipped to what is
# usual for the account.
FAN_OUTS: Final = 54
WINDOW_COUNTS: Final = 57
WINDOW_VALUES: Final = 63
WINDOW_CLIPPED: Final = 69

# Account, peer group, population: the amount's model in USD: weight, mean, squared relative residuals; the account's
# fast mean and its weight; chances of being in a short, middle and long spell of oddness. Groups and the population
# keep the sum of squares and the residuals' own weight where an account keeps its fast mean.
MODEL_WEIGHT: Final = 75
MODEL_MEAN: Final = 76
MODEL_RESIDUALS: Final = 77
MODEL_FAST: Final = 78
MODEL_FAST_WEIGHT: Final = 79
MODEL_SQUARE: Final = 78
MODEL_RESIDUALS_WEIGHT: Final = 79
SPELLS: Final = 80

# Account: decayed new destinations within an hour; learned rate of new chains, learned chains.
FAN_OUT: Final = 83
NEW_CHAIN: Final = 84
KNOWN_CHAINS: Final = 85
KNOWN_CHAIN_SLOTS: Final = 3

# Account: learned hours of the day, days of the week and their total, two counts a word (``features.hours``).
HOURS: Final = 88

# Account: what it often paid (``features.habit``): the lowest place, what old and young weights are worth, their places.
HABIT_LOWEST: Final = 104
HABIT_OLD: Final = 105
HABIT_YOUNG: Final = 106
HABITS: Final = 107
HABIT_PLACES: Final = 32

# Account: learned assets, remembered assets (fingerprint, time), remembered balances (asset, time told, USD told, USD left).
KNOWN_ASSETS: Final = 140
KNOWN_ASSET_SLOTS: Final = 8
RECENT_ASSETS: Final = 148
RECENT_ASSET_SLOTS: Final = 8
BALANCES: Final = 164
BALANCE_SLOTS: Final = 4

# Account, of which a payment touches little: learned destinations (fingerprints, in sets of two), learned looks of
# destinations (fingerprints of look and destination), learned shares of signing facts and their count, its reputation.
KNOWN_DESTINATIONS: Final = 180
KNOWN_DESTINATION_SETS: Final = 18
LOOKS: Final = 216
LOOK_SETS: Final = 9
SIGNING_FACTS: Final = 234
SIGNINGS: Final = 237
REPUTATION: Final = 238

# Population and peer group only: learned rates and statistics across entities.
FAN_IN: Final = 128
CREDENTIAL_CHANGE: Final = 129
NEW_COUNTRY: Final = 130
NEW_NETWORK: Final = 131
NEW_DEVICE: Final = 132
GOVERNANCE: Final = 133
FAILURES: Final = 134
POPULATION_FAN_OUTS: Final = 138
FAST_TRAVEL: Final = 141
SESSION_MOVE: Final = 142
SHARED_DEVICE: Final = 143
SPRAYING: Final = 144
NETWORK_USERS: Final = 145
STRENGTH_WEIGHT: Final = 148
STRENGTH_SQUARE: Final = 149
STRENGTH_INVERSE: Final = 150
STRENGTH_NOISE: Final = 151

# Destination: remembered, then learned, then remembered payers and whitelisters (fingerprint, time), then its reputation.
LARGEST_SEEN_USD: Final = 6
VALUE_1H: Final = 7
LEARNED_LARGEST_USD: Final = 8
LEARNED_FIRST_US: Final = 9
CLEARED: Final = 10
PAYERS: Final = 16
PAYER_SLOTS: Final = 8
WHITELISTERS: Final = 32
WHITELISTER_SLOTS: Final = 4
DESTINATION_REPUTATION: Final = 40

# Actor: learned rates, statistic, remembered counters and times, hours as the account's, known places and devices.
ACTOR_NEW_COUNTRY: Final = 8
ACTOR_NEW_NETWORK: Final = 9
ACTOR_NEW_DEVICE: Final = 10
ACTOR_GOVERNANCE: Final = 11
ACTOR_FAILURES: Final = 12
ACTOR_SURPRISE: Final = 6
ACTOR_SURPRISE_US: Final = 7
FAILURE_COUNT: Final = 16
FAILURE_US: Final = 17
CHANGE_COUNT: Final = 18
CHANGE_US: Final = 19
CHANGE_TIMES: Final = 20
CHANGE_KINDS: Final = 8
NEW_ACCESS_US: Final = 28
ACTOR_SKIP_SCORED_US: Final = 29
LATEST_CHANGE_US: Final = 30
ACTOR_HOURS: Final = 32
COUNTRIES: Final = 48
COUNTRY_SLOTS: Final = 4
NETWORKS: Final = 52
NETWORK_SLOTS: Final = 8
DEVICES: Final = 60
DEVICE_SLOTS: Final = 8
PLACE_AT: Final = 68
PLACE_US: Final = 69
ACTOR_FAST_TRAVEL: Final = 70
ACTOR_SESSION_MOVE: Final = 71
SESSIONS: Final = 72
SESSION_SLOTS: Final = 6
SESSION_WORDS: Final = 4
ACTOR_REPUTATION: Final = 96

# Device and network: decayed recent surprise and its time. A device: distinct users (fingerprint, time), its reputation.
# A network: the usual number of users (statistic), cells of users and of actors that failed, each the latest time, its
# reputation.
PLACE_SURPRISE: Final = 6
PLACE_SURPRISE_US: Final = 7
USERS: Final = 8
USER_SLOTS: Final = 12
DEVICE_REPUTATION: Final = 32
USUAL_USERS: Final = 8
USER_CELLS: Final = 16
USER_CELL_COUNT: Final = 32
FAILING_CELLS: Final = 48
FAILING_CELL_COUNT: Final = 16
NETWORK_REPUTATION: Final = 64

# Asset: learned log10 of USD per whole unit.
RATIO: Final = 8
