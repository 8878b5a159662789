"""Bounded pools of fixed-size records in one arena, and the compiled ways to find and claim one.

Rules enforced here:
- Memory is bounded whatever arrives: accounts by a limit, everything an outsider can invent (destinations, actors,
  assets, groups, devices, networks) by a set-associative index that gives up the least valuable record of a set: one
  that only the claiming account ever used, else one seen once, else the one seen longest ago; what people judged last.
- Slots are given out in order of arrival, so memory is touched densely and an empty pool costs nothing.
- Where a record stands depends on ids and the order of the sequence alone, never on hash seeds or addresses.
- ``find`` never changes anything; only ``claim`` makes room. A word of the index is 39 bits of the fingerprint and the
  slot; the record's own fingerprint decides.
"""

from typing import Final, NamedTuple

from rules.arrays import F8, I8
from rules.baseline.layout import (
    DESTINATION_REPUTATION,
    FINGERPRINT,
    FORMAT,
    LAST_US,
    PAYERS,
    REMEMBERED,
    VERSION,
    Kind,
)
from rules.compiled import entry, prefetch

POOLS: Final = (
    Kind.ACCOUNT,
    Kind.DESTINATION,
    Kind.ACTOR,
    Kind.ASSET,
    Kind.PEER_GROUP,
    Kind.DEVICE,
    Kind.NETWORK,
)
"""The kinds of records that are kept in pools, by pool number."""

ACCOUNTS: Final = 0
DESTINATIONS: Final = 1
ACTORS: Final = 2
ASSETS: Final = 3
GROUPS: Final = 4
DEVICES: Final = 5
NETWORKS: Final = 6

CAPACITY: Final = {
    Kind.DESTINATION: 1 << 20,
    Kind.ACTOR: 1 << 18,
    Kind.ASSET: 1 << 12,
    Kind.PEER_GROUP: 1 << 10,
    Kind.DEVICE: 1 << 18,
    Kind.NETWORK: 1 << 17,
}
"""Most records of each kind that outsiders can invent. Fixed: what is given up must not depend on settings."""

M_INDEX: Final = 0
M_MASK: Final = 1
M_START: Final = 2
M_WIDTH: Final = 3
M_USED: Final = 4
M_LIMIT: Final = 5
M_KIND: Final = 6
META_WIDTH: Final = 8
"""Words of a pool's row in ``Places.meta``: first index word, mask, first arena word, words a record, slots used, limit."""

BLANK_WORDS: Final = 256
"""The arena begins with a record that nobody writes to."""

WAYS: Final = 8
NONE: Final = -1
FULL: Final = -2
SLOT_BITS: Final = 24
_SLOT_MASK: Final = (1 << SLOT_BITS) - 1
LINE: Final = 8
"""Words of a line of memory."""
_TAG_SHIFT: Final = 13
_REPUTATION_BADS: Final = DESTINATION_REPUTATION + 3


class Places(NamedTuple):
    """Where records stand.

    ``slots`` is the index. ``dirty`` holds (pool, slot) of what was claimed, as pool * 2**24 + slot; ``meta[len(POOLS), 0]``
    counts them. ``ahead`` holds slots that were looked up for later rows (``rules.ahead``): a line a row, a word a pool.
    They are only guesses; a record's own fingerprint decides.
    """

    arena: F8
    slots: I8
    meta: I8
    dirty: I8
    ahead: I8


def format_word(kind: Kind) -> float:
    """What word 0 of a record of this kind holds."""
    return float(kind * 256 + VERSION)


@entry
def find(places: Places, pool: int, key: float) -> int:
    """The slot of a fingerprint in a pool, or ``NONE``."""
    if key == 0.0:
        return NONE
    meta = places.meta
    first, mask, start, wide = meta[pool, M_INDEX], meta[pool, M_MASK], meta[pool, M_START], meta[pool, M_WIDTH]
    bits = int(key)
    tag = (bits >> _TAG_SHIFT) << SLOT_BITS
    if pool == ACCOUNTS:
        at = bits & mask
        while True:
            word = places.slots[first + at]
            if word == 0:
                return NONE
            if word & ~_SLOT_MASK == tag:
                slot = int((word & _SLOT_MASK) - 1)
                if places.arena[start + slot * wide + FINGERPRINT] == key:
                    return slot
            at = (at + 1) & mask
    line = first + (bits & mask) * WAYS
    for way in range(WAYS):
        word = places.slots[line + way]
        if word == 0:
            return NONE
        if word & ~_SLOT_MASK == tag:
            slot = int((word & _SLOT_MASK) - 1)
            if places.arena[start + slot * wide + FINGERPRINT] == key:
                return slot
    return NONE


@entry
def expect(places: Places, pool: int, key: float) -> None:
    """Ask memory for where the index will be read for a fingerprint."""
    if key != 0.0:
        line = int(key) & places.meta[pool, M_MASK]
        prefetch(places.slots, places.meta[pool, M_INDEX] + (line if pool == ACCOUNTS else line * WAYS))


@entry
def likely(places: Places, pool: int, key: float) -> int:
    """The slot that the index most likely means by a fingerprint, without looking at its record, or ``NONE``."""
    meta = places.meta
    bits = int(key)
    tag = (bits >> _TAG_SHIFT) << SLOT_BITS
    at = bits & meta[pool, M_MASK]
    first = meta[pool, M_INDEX] + (at if pool == ACCOUNTS else at * WAYS)
    for way in range(min(WAYS, len(places.slots) - first)):
        word = places.slots[first + way]
        if word != 0 and word & ~_SLOT_MASK == tag:
            return int((word & _SLOT_MASK) - 1)
    return NONE


@entry
def fetch(places: Places, start: int, words: int) -> None:
    """Ask memory for so many words of the arena, line by line."""
    for word in range(start, start + words, LINE):
        prefetch(places.arena, word)


@entry
def start_of(places: Places, pool: int, slot: int) -> int:
    """Where a slot's record begins in the arena, which itself begins with a blank one for what does not exist."""
    return 0 if slot < 0 else int(places.meta[pool, M_START] + slot * places.meta[pool, M_WIDTH])


@entry
def put(places: Places, pool: int, key: float, slot: int) -> bool:
    """Enter a slot into a pool's index. False when its set is full. The key must not be there yet."""
    first, mask = places.meta[pool, M_INDEX], places.meta[pool, M_MASK]
    bits = int(key)
    word = ((bits >> _TAG_SHIFT) << SLOT_BITS) | (slot + 1)
    if pool == ACCOUNTS:
        at = bits & mask
        while places.slots[first + at] != 0:
            at = (at + 1) & mask
        places.slots[first + at] = word
        return True
    line = first + (bits & mask) * WAYS
    for way in range(WAYS):
        if places.slots[line + way] == 0:
            places.slots[line + way] = word
            return True
    return False


@entry
def _worth(places: Places, pool: int, at: int, claimant: float) -> float:
    """How much would be lost with a record: the smallest goes first."""
    arena = places.arena
    worth = arena[at + LAST_US]
    if pool != DESTINATIONS:
        return float(worth + (1e17 if arena[at + REMEMBERED] > 1.0 else 0.0))
    if arena[at + _REPUTATION_BADS] > 0.0:
        return float(worth + 3e17)
    if claimant != 0.0 and arena[at + PAYERS] == claimant and arena[at + PAYERS + 2] == 0.0:
        return float(worth)
    return float(worth + (2e17 if arena[at + REMEMBERED] > 1.0 else 1e17))


@entry
def _victim(places: Places, pool: int, key: float, claimant: float) -> int:
    meta = places.meta
    line = meta[pool, M_INDEX] + (int(key) & meta[pool, M_MASK]) * WAYS
    best = 0
    least = 0.0
    for way in range(WAYS):
        slot = int((places.slots[line + way] & _SLOT_MASK) - 1)
        worth = _worth(places, pool, meta[pool, M_START] + slot * meta[pool, M_WIDTH], claimant)
        if way == 0 or worth < least:
            best = way
            least = worth
    return int(line + best)


@entry
def claim(places: Places, pool: int, key: float, claimant: float) -> int:
    """The slot of a fingerprint, made if need be; ``FULL`` when there is no room for one more account.

    ``claimant`` is the account on whose behalf it is made, 0 when there is none.
    """
    meta = places.meta
    slot = find(places, pool, key)
    if slot < 0:
        slot = int(meta[pool, M_USED])
        if slot >= meta[pool, M_LIMIT] and pool == ACCOUNTS:
            return FULL
        if slot < meta[pool, M_LIMIT] and put(places, pool, key, slot):
            meta[pool, M_USED] = slot + 1
        else:
            at = _victim(places, pool, key, claimant)
            slot = int((places.slots[at] & _SLOT_MASK) - 1)
            places.slots[at] = ((int(key) >> _TAG_SHIFT) << SLOT_BITS) | (slot + 1)
        wide = meta[pool, M_WIDTH]
        start = meta[pool, M_START] + slot * wide
        places.arena[start : start + wide] = 0.0
        places.arena[start + FORMAT] = meta[pool, M_KIND] * 256.0 + VERSION
        places.arena[start + FINGERPRINT] = key
    touch(places, pool, slot)
    return slot


@entry
def touch(places: Places, pool: int, slot: int) -> None:
    """Note that a record changes. Beyond the room for notes only their number goes on: then everything counts as changed."""
    noted = places.meta[len(POOLS), 0]
    if noted < len(places.dirty):
        places.dirty[noted] = (pool << SLOT_BITS) | slot
    places.meta[len(POOLS), 0] = noted + 1
