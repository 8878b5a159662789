"""Bounded pools of fixed-size records.

Rules enforced here:
- Memory is bounded whatever arrives: accounts by a limit, everything an outsider can invent (destinations, actors,
  assets, groups) by a set-associative table that forgets the entity seen longest ago in its set.
- A table is anonymous memory that the system hands out page by page: an empty one costs nothing.
- Where a record stands depends on its id and the order of the sequence alone, never on hash seeds or addresses.
- ``find`` never changes anything; only ``claim`` makes room.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from mmap import mmap
from typing import Final, Protocol

from rules.baseline.layout import FINGERPRINT, FORMAT, LAST_US, VERSION, WIDTH, Kind, View
from rules.errors import CapacityError, StateFormatError

WORD: Final = 8
_CHUNK: Final = 256


@lru_cache(maxsize=16)
def _key(salt: str) -> bytes:
    return hashlib.blake2b(salt.encode(), digest_size=16).digest()


@lru_cache(maxsize=32_768)
def fingerprint(text: str, salt: str) -> float:
    """A 52-bit BLAKE2b fingerprint of an id (RFC 7693), keyed by the salt, as an exact float; never 0."""
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=_key(salt), person=b"portcullis-fp-v1").digest()
    return float((int.from_bytes(digest, "little") >> 12) or 1)


def blank(kind: Kind) -> View:
    """A record with nothing in it but its format word."""
    view = memoryview(bytearray(WIDTH[kind] * WORD)).cast("d")
    view[FORMAT] = format_word(kind)
    return view


def format_word(kind: Kind) -> float:
    """What word 0 of a record of this kind holds."""
    return float(kind * 256 + VERSION)


def checked(kind: Kind, state: bytes) -> View:
    """The words of stored bytes. Raises :class:`StateFormatError` when they are not of this kind and version."""
    if len(state) != WIDTH[kind] * WORD:
        raise StateFormatError(f"{kind.name} record has {len(state)} bytes, expected {WIDTH[kind] * WORD}: replay it")
    view = memoryview(state).cast("d")
    if view[FORMAT] != format_word(kind):
        raise StateFormatError(f"{kind.name} record has format {view[FORMAT]}, expected {format_word(kind)}: replay it")
    return view


class Pool(Protocol):
    """What the engine needs of a pool of records of one kind."""

    def entity(self, slot: int) -> str: ...
    def view(self, slot: int) -> View: ...
    def load(self, entity: str, state: bytes) -> None: ...
    def slots(self) -> Iterator[int]: ...


class Table:
    """A set-associative table of records keyed by fingerprint. ``sets`` is a power of two."""

    def __init__(self, kind: Kind, sets: int, ways: int = 4) -> None:
        self._kind = kind
        self._width = WIDTH[kind]
        self._ways = ways
        self._mask = sets - 1
        self._words = memoryview(mmap(-1, sets * ways * self._width * WORD)).cast("d")
        self._slots: dict[float, int] = {}

    def find(self, key: float) -> int:
        """The slot of a fingerprint, or -1."""
        return self._slots.get(key, -1)

    def claim(self, key: float) -> int:
        """The slot of a fingerprint, made if need be in the place of the one seen longest ago in its set."""
        slot = self._slots.get(key, -1)
        if slot >= 0:
            return slot
        first = (int(key) & self._mask) * self._ways
        slot = min(range(first, first + self._ways), key=self._age)
        view = self.view(slot)
        if view[FORMAT]:
            del self._slots[view[FINGERPRINT]]
            view[:] = memoryview(bytes(self._width * WORD)).cast("d")
        view[FORMAT] = format_word(self._kind)
        view[FINGERPRINT] = key
        self._slots[key] = slot
        return slot

    def _age(self, slot: int) -> tuple[float, int]:
        at = slot * self._width
        return (self._words[at + LAST_US] + 1.0 if self._words[at + FORMAT] else 0.0, slot)

    def view(self, slot: int) -> View:
        """The record in a slot."""
        return self._words[slot * self._width : (slot + 1) * self._width]

    def entity(self, slot: int) -> str:
        """The name under which a slot is stored: its number, so that forgetting overwrites the row."""
        return str(slot)

    def load(self, entity: str, state: bytes) -> None:
        """Put stored bytes into their slot. Raises :class:`StateFormatError`."""
        words = checked(self._kind, state)
        slot = int(entity) if entity.isdecimal() else -1
        if not 0 <= slot * self._width < len(self._words):
            raise StateFormatError(f"{self._kind.name} slot {entity!r} does not exist: replay the sequence")
        view = self.view(slot)
        if view[FORMAT]:
            self._slots.pop(view[FINGERPRINT], None)
        view[:] = words
        self._slots[words[FINGERPRINT]] = slot

    def slots(self) -> Iterator[int]:
        """Every slot in use, in order."""
        return iter(sorted(self._slots.values()))


class Roster:
    """Records of known entities by name, in chunks, never forgotten; at most ``limit`` of them."""

    def __init__(self, kind: Kind, limit: int) -> None:
        self._kind = kind
        self._width = WIDTH[kind]
        self._limit = limit
        self._chunks: list[View] = []
        self._slots: dict[str, int] = {}
        self._names: list[str] = []

    def find(self, name: str) -> int:
        """The slot of a name, or -1."""
        return self._slots.get(name, -1)

    def claim(self, name: str) -> int:
        """The slot of a name, made if need be. Raises :class:`CapacityError` at the limit."""
        slot = self._slots.get(name, -1)
        if slot >= 0:
            return slot
        slot = len(self._names)
        if slot >= self._limit:
            raise CapacityError(f"already {self._limit} {self._kind.name.lower()} records: raise max_accounts")
        if slot % _CHUNK == 0:
            self._chunks.append(memoryview(bytearray(_CHUNK * self._width * WORD)).cast("d"))
        self._slots[name] = slot
        self._names.append(name)
        self.view(slot)[FORMAT] = format_word(self._kind)
        return slot

    def view(self, slot: int) -> View:
        """The record in a slot."""
        at = (slot % _CHUNK) * self._width
        return self._chunks[slot // _CHUNK][at : at + self._width]

    def entity(self, slot: int) -> str:
        """The name of a slot."""
        return self._names[slot]

    def load(self, entity: str, state: bytes) -> None:
        """Put stored bytes under their name. Raises :class:`StateFormatError`."""
        words = checked(self._kind, state)
        self.view(self.claim(entity))[:] = words

    def slots(self) -> Iterator[int]:
        """Every slot in use, by name: the order of arrival is not part of the state."""
        return iter(sorted(range(len(self._names)), key=self._names.__getitem__))
