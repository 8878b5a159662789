"""Where each number stands in a baseline record.

Rules enforced here:
- A record is a flat vector of IEEE 754 binary64 words in little-endian order, of one fixed width per kind, at most
  2 kB. Integers up to 2**53 (times in microseconds, 52-bit fingerprints) are exact in it.
- Word 0 is ``kind * 256 + version``; a reader refuses any other value. A changed layout raises ``VERSION``.
- Flat vectors are what a compiled kernel takes unchanged: the functions in ``rules/features`` only index and assign.

Words 0..5 mean the same in every kind. Peer groups and the population use the account's layout, so that one function
shrinks an account towards either. "Remembered" words change with everything that happens, "learned" words only with
what the engine may learn from.
"""

from enum import IntEnum
from typing import Final, TypeAlias

View: TypeAlias = "memoryview[float]"
"""One record: a writable view of its words."""

VERSION: Final = 2


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
    MEMBERSHIP = 9
    VERDICT = 10


WIDTH: Final = {
    Kind.ACCOUNT: 256,
    Kind.DESTINATION: 32,
    Kind.ACTOR: 96,
    Kind.ASSET: 16,
    Kind.PEER_GROUP: 128,
    Kind.POPULATION: 128,
    Kind.CALIBRATION: 216,
    Kind.VERDICT: 8,
}
"""Words per record of each fixed-size kind."""

FORMAT: Final = 0
FINGERPRINT: Final = 1
FIRST_US: Final = 2
LAST_US: Final = 3
LEARNED: Final = 4
REMEMBERED: Final = 5

# Account, peer group, population: learned statistics, each (count, mean, variance).
AMOUNT: Final = 8
SHARE: Final = 11
GAP: Final = 14
COUNTS: Final = 17
VALUES: Final = 29
ASSETS: Final = 41
STATISTICS_END: Final = 44

# Account, peer group, population: learned rates in [0, 1].
NEW_DESTINATION: Final = 44
NEW_ASSET: Final = 45
SIGNING_FACTS: Final = 46
SIGNINGS: Final = 49
LARGEST_USD: Final = 50

# Account: remembered.
WINDOW_COUNTS: Final = 52
WINDOW_VALUES: Final = 56
GOVERNANCE_US: Final = 60
CREDENTIAL_US: Final = 61
SKIP_SCORED_US: Final = 62
OUT_US: Final = 63

# Account, peer group, population: learned hours of the day, days of the week, their total.
HOURS: Final = 64
DAYS: Final = 88
HOURS_TOTAL: Final = 95

# Account: learned destinations, remembered assets (fingerprint, time), learned assets, learned looks of destinations
# (fingerprints of look and destination), remembered balances (asset, time told, USD told, USD left since).
KNOWN_DESTINATIONS: Final = 96
KNOWN_DESTINATION_SETS: Final = 24
RECENT_ASSETS: Final = 144
RECENT_ASSET_SLOTS: Final = 16
KNOWN_ASSETS: Final = 176
KNOWN_ASSET_SLOTS: Final = 16
LOOKS: Final = 192
LOOK_SETS: Final = 16
BALANCE_ASSETS: Final = 224
BALANCE_TOLD_US: Final = 232
BALANCE_TOLD_USD: Final = 240
BALANCE_LEFT_USD: Final = 248
BALANCE_SLOTS: Final = 8

# Population and peer group only: learned rates across entities.
FAN_IN: Final = 96
CREDENTIAL_CHANGE: Final = 97
NEW_COUNTRY: Final = 98
NEW_NETWORK: Final = 99
NEW_DEVICE: Final = 100
GOVERNANCE: Final = 101
FAILURES: Final = 102
ACCESSES: Final = 105

# Destination: remembered, then learned, then remembered payers (fingerprint, time).
LARGEST_SEEN_USD: Final = 6
VALUE_1H: Final = 7
LEARNED_LARGEST_USD: Final = 8
LEARNED_FIRST_US: Final = 9
CLEARED: Final = 10
PAYERS: Final = 16
PAYER_SLOTS: Final = 8

# Actor: learned rates, statistic, remembered counters and times, hours as the account's, known places and devices.
ACTOR_NEW_COUNTRY: Final = 8
ACTOR_NEW_NETWORK: Final = 9
ACTOR_NEW_DEVICE: Final = 10
ACTOR_GOVERNANCE: Final = 11
ACTOR_FAILURES: Final = 12
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
COUNTRIES: Final = 64
COUNTRY_SLOTS: Final = 4
NETWORKS: Final = 68
NETWORK_SLOTS: Final = 8
DEVICES: Final = 76
DEVICE_SLOTS: Final = 8

# Asset: learned log10 of USD per whole unit.
RATIO: Final = 8
