"""All baseline records of one engine, in arrays that the kernel works on, and which of them changed.

Rules: memory is bounded by the settings and the capacities of the pools; everything that replay must reproduce is in
here, and leaves only as ``StateChange`` bytes in a fixed order. Arrays are anonymous memory that the system hands out
page by page; an empty pool costs nothing, and a small installation is not padded with huge pages. A large one's records
and index lie in huge pages: without them the processor looks up where memory is nearly as often as it reads it.
"""

import mmap
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from rules.arrays import B1, F8, I8
from rules.baseline.layout import FINGERPRINT, FORMAT, VERSION, WIDTH, Kind
from rules.baseline.priors import write_priors
from rules.baseline.reputation import CLASSES, WEIGHT_AT, refit
from rules.baseline.shared import prepare_all, write_settings
from rules.baseline.tables import (
    ACCOUNTS,
    BLANK_WORDS,
    CAPACITY,
    M_LIMIT,
    M_START,
    M_USED,
    M_WIDTH,
    META_WIDTH,
    POOLS,
    SLOT_BITS,
    WAYS,
    find,
    format_word,
    put,
)
from rules.binding import COMMON_WORDS, DIRTY_MOST, INDEX_AT, SECTIONS, cut_places, cut_shared
from rules.entities import Frozen, Suppressions
from rules.errors import StateFormatError
from rules.learning import StateChange
from rules.settings import EngineSettings

_WORD: Final = 8
_SLOT_MASK: Final = (1 << SLOT_BITS) - 1
_SMALL_ARENA: Final = 1 << 23
_SMALL_INDEX: Final = 1 << 24
"""Bytes of records that never use huge pages, and of an index that uses none: what up to 131,072 accounts need."""
_UNRESERVED: Final = 0x4000  # MAP_NORESERVE of Linux: pages count when they are touched
SECTION_FORMAT: Final = np.float64(VERSION).tobytes()
"""Every section's bytes begin with the layout's version."""
_SECTION_AT: Final = {(section.kind, section.name): at for at, section in enumerate(SECTIONS)}


def _memory(words: int, huge_from: int | None = None) -> mmap.mmap:
    """Anonymous zeroed memory. What lies beyond ``huge_from`` bytes may use huge pages."""
    size = -(-max(words, 1) * _WORD // mmap.PAGESIZE) * mmap.PAGESIZE
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _UNRESERVED)
    try:
        held.madvise(mmap.MADV_NOHUGEPAGE)
        if huge_from is not None and size > huge_from:
            held.madvise(mmap.MADV_HUGEPAGE, huge_from, size - huge_from)
    except (AttributeError, OSError):
        return held  # a system without huge pages
    return held


class State:
    """The arrays, and the bookkeeping that the kernel leaves to Python."""

    def __init__(self, settings: EngineSettings) -> None:
        self.common: F8 = np.frombuffer(_memory(COMMON_WORDS), np.float64)
        self._allocate(settings.max_accounts)
        prepare_all(self.shared.tails, self.shared.free, self.shared.final, self.shared.heads)
        self.shared.hazard[WEIGHT_AT : WEIGHT_AT + CLASSES] = 1.0
        refit(self.shared.hazard)
        write_priors(self.shared.population)
        self.shared.population[FORMAT] = format_word(Kind.POPULATION)
        self.shared.marks[0] = 1
        self.verdicts: dict[str, F8] = {}
        self.frozen = Frozen()
        self.suppressions = Suppressions()
        self.dirty_names: set[tuple[Kind, str]] = set()
        self._ever: set[int] = set()
        self.use(settings)

    def _allocate(self, accounts: int) -> None:
        # Pools that outsiders fill come first: their places do not move when the limit of accounts is raised.
        index_at, arena_at = 0, BLANK_WORDS
        meta = np.zeros((len(POOLS) + 1, META_WIDTH), np.int64)
        for pool in (*range(1, len(POOLS)), ACCOUNTS):
            kind = POOLS[pool]
            limit = accounts if pool == ACCOUNTS else CAPACITY[kind]
            index = 1 << (2 * limit - 1).bit_length() if pool == ACCOUNTS else limit
            mask = index - 1 if pool == ACCOUNTS else index // WAYS - 1
            meta[pool, : M_LIMIT + 2] = (index_at, mask, arena_at, WIDTH[kind], 0, limit, kind)
            index_at, arena_at = index_at + index, arena_at + limit * WIDTH[kind]
        self.arena: F8 = np.frombuffer(_memory(arena_at, _SMALL_ARENA), np.float64)
        small = (INDEX_AT + index_at) * _WORD <= _SMALL_INDEX
        self.integers: I8 = np.frombuffer(_memory(INDEX_AT + index_at, None if small else 0), np.int64)
        self.places = cut_places(self.arena, self.integers)
        self.shared = cut_shared(self.common, self.integers)
        self.places.meta[:] = meta
        self._first = np.concatenate(([0], np.cumsum(meta[:-1, M_LIMIT])))
        self._changed = np.zeros(int(self._first[-1]), np.bool_)

    def _grow(self, accounts: int) -> None:
        """Move everything to arrays with room for more accounts."""
        old, arena = self.places.meta.copy(), self.arena
        index, marks = self.places.slots, self.shared.marks
        used = self.fold()
        first, changed = self._first, self._changed
        self._allocate(accounts)
        self.places.meta[:, M_USED] = old[:, M_USED]
        self.shared.marks[:] = marks
        outsiders = int(old[ACCOUNTS, 0])
        self.places.slots[:outsiders] = index[:outsiders]
        for pool in range(len(POOLS)):
            start, words = int(old[pool, M_START]), int(old[pool, M_USED] * old[pool, M_WIDTH])
            to = int(self.places.meta[pool, M_START])
            self.arena[to : to + words] = arena[start : start + words]
            kept, at = changed[first[pool] : first[pool + 1]], self._first[pool]
            self._changed[at : at + len(kept)] = kept
        for slot in range(used):
            put(self.places, ACCOUNTS, self.record(ACCOUNTS, slot)[FINGERPRINT], slot)

    def use(self, settings: EngineSettings) -> None:
        """Put settings in force. A raised limit of accounts moves all records to larger arrays."""
        if settings.max_accounts > self._first[ACCOUNTS + 1] - self._first[ACCOUNTS]:
            self._grow(settings.max_accounts)
        self.places.meta[ACCOUNTS, M_LIMIT] = settings.max_accounts
        self.settings = settings
        write_settings(self.shared, settings)

    def record(self, pool: int, slot: int) -> F8:
        """The record in a slot."""
        wide = int(self.places.meta[pool, M_WIDTH])
        start = int(self.places.meta[pool, M_START]) + slot * wide
        return self.arena[start : start + wide]

    def fold(self) -> int:
        """Gather the kernel's notes of changed records, which must not overflow; give the number of accounts."""
        meta = self.places.meta
        noted = int(meta[-1, 0])
        if noted > DIRTY_MOST:
            for pool in range(len(POOLS)):
                self._of(pool)[:] = True
        else:
            notes = self.places.dirty[:noted]
            self._changed[self._first[notes >> SLOT_BITS] + (notes & _SLOT_MASK)] = True
        meta[-1, 0] = 0
        return int(meta[ACCOUNTS, M_USED])

    def _of(self, pool: int) -> B1:
        """Which of a pool's used slots changed since they were last taken, to be written to."""
        first = int(self._first[pool])
        return self._changed[first : first + int(self.places.meta[pool, M_USED])]

    def _pooled(self, pool: int, slots: Sequence[int]) -> Iterator[StateChange]:
        """Copies of a pool's records; of plain bytes and plain integers, for there are thousands a second."""
        view = self.arena.data.cast("B")
        start, wide = (int(self.places.meta[pool, word]) * _WORD for word in (M_START, M_WIDTH))
        for slot in slots:
            at = start + slot * wide
            yield StateChange(POOLS[pool], str(slot), bytes(view[at : at + wide]))

    def _section(self, at: int) -> StateChange:
        section = SECTIONS[at]
        words = self.common[section.start : section.start + section.words]
        return StateChange(section.kind, section.name, SECTION_FORMAT + words.tobytes())

    def _named(self, kind: Kind, name: str) -> StateChange:
        if kind is Kind.FROZEN:
            return StateChange(kind, name, self.frozen.counts.get(name, 0).to_bytes(8, "little"))
        if kind is Kind.SUPPRESSION:
            return StateChange(kind, name, self.suppressions.stored.get(name, b""))
        return StateChange(kind, name, self.verdicts[name].tobytes())

    def take_records(self, most: int) -> list[StateChange]:
        """Entities' records changed since they were last taken, by pool and slot: the first ``most`` of them."""
        self.fold()
        changes: list[StateChange] = []
        for pool in range(len(POOLS)):
            changed = self._of(pool)
            slots = np.flatnonzero(changed)[: most - len(changes)]
            changed[slots] = False
            changes += self._pooled(pool, slots.tolist())
            if len(changes) == most:
                break
        return changes

    def take(self) -> list[StateChange]:
        """Everything changed since it was last taken: records, then sections, then what has a name."""
        changes = self.take_records(len(self._changed))
        marked = np.flatnonzero(self.shared.marks[: len(SECTIONS)]).tolist()
        changes += [self._section(at) for at in marked]
        changes += [self._named(kind, name) for kind, name in sorted(self.dirty_names)]
        self.dirty_names.clear()
        self._ever.update(marked)
        self.shared.marks[:] = 0
        return changes

    def snapshot(self) -> Iterator[StateChange]:
        """Every record, in order of kind and entity."""
        every: list[StateChange] = []
        for pool in range(len(POOLS)):
            used = range(int(self.places.meta[pool, M_USED]))
            every += self._pooled(pool, [slot for slot in used if self.record(pool, slot)[FORMAT]])
        self._ever.update(np.flatnonzero(self.shared.marks[: len(SECTIONS)]).tolist())
        every += [self._section(at) for at in self._ever]
        every += [self._named(Kind.FROZEN, name) for name in self.frozen.counts]
        every += [self._named(Kind.SUPPRESSION, name) for name in self.suppressions.stored]
        every += [self._named(Kind.VERDICT, name) for name in self.verdicts]
        return iter(sorted(every))

    def load(self, entity: str, kind: int, state: bytes) -> None:
        """Put stored bytes in place. Raises ``StateFormatError`` when they are not what this version writes."""
        try:
            known = Kind(kind)
        except ValueError:
            raise StateFormatError(f"record kind {kind} is unknown to this version: replay the sequence") from None
        if known in POOLS:
            self._load_pooled(POOLS.index(known), entity, state)
        elif (known, entity) in _SECTION_AT:
            self._load_section(_SECTION_AT[known, entity], state)
        elif known is Kind.FROZEN:
            self.frozen.put(entity, int.from_bytes(state, "little"), self.settings.salt)
        elif known is Kind.SUPPRESSION:
            self.suppressions.put(entity, state, self.settings.salt)
        elif known is Kind.VERDICT:
            self.verdicts[entity] = checked(known, state).copy()
        else:
            raise StateFormatError(f"{known.name} {entity!r} is unknown to this version: replay the sequence")

    def _load_section(self, at: int, state: bytes) -> None:
        section = SECTIONS[at]
        if len(state) != len(SECTION_FORMAT) + section.words * _WORD or not state.startswith(SECTION_FORMAT):
            raise StateFormatError(f"{section.kind.name} {section.name} is of another version: replay the sequence")
        words = np.frombuffer(state, np.float64, offset=len(SECTION_FORMAT))
        self.common[section.start : section.start + section.words] = words
        self._ever.add(at)

    def _load_pooled(self, pool: int, entity: str, state: bytes) -> None:
        kind = POOLS[pool]
        words = checked(kind, state)
        slot = int(entity) if entity.isascii() and entity.isdecimal() and len(entity) < _WORD else -1
        if not 0 <= slot < self.places.meta[pool, M_LIMIT]:
            raise StateFormatError(f"{kind.name} slot {entity!r} does not exist: replay the sequence")
        key, held = float(words[FINGERPRINT]), self.record(pool, slot)
        if held[FORMAT] and held[FINGERPRINT] != key:
            raise StateFormatError(f"{kind.name} slot {entity} is taken by another: load into an empty engine")
        if find(self.places, pool, key) not in {-1, slot}:
            raise StateFormatError(f"{kind.name} slot {entity} repeats another record: replay the sequence")
        if not held[FORMAT] and not put(self.places, pool, key, slot):
            raise StateFormatError(f"{kind.name} slot {entity} does not fit its set: replay the sequence")
        held[:] = words
        self.places.meta[pool, M_USED] = max(int(self.places.meta[pool, M_USED]), slot + 1)


def checked(kind: Kind, state: bytes) -> F8:
    """The words of stored bytes. Raises :class:`StateFormatError` when they are not of this kind and version."""
    if len(state) != WIDTH[kind] * _WORD:
        raise StateFormatError(f"{kind.name} record has {len(state)} bytes, expected {WIDTH[kind] * _WORD}: replay it")
    words = np.frombuffer(state, np.float64)
    if words[FORMAT] != format_word(kind):
        raise StateFormatError(
            f"{kind.name} record has format {words[FORMAT]}, expected {format_word(kind)}: replay it"
        )
    return words
