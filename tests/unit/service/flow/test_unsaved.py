"""What waits for a snapshot: nothing is dropped before one covers it, and only the newest form of each record is kept."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import cast

import pytest

from rules.engine import Engine
from rules.learning import StateChange
from service.domain.errors import UnavailableError
from service.flow.intake import snapshots
from service.flow.intake.snapshots import Snapshots
from service.flow.intake.unsaved import Unsaved
from service.ports.store.baselines import BaselineStore


def change(entity: str, state: bytes) -> StateChange:
    return StateChange(1, entity, state)


def states(unsaved: Unsaved) -> dict[str, bytes]:
    return {found.entity: found.state for found in unsaved.whole()}


def test_a_failed_snapshot_is_written_again_with_what_changed_since() -> None:
    unsaved = Unsaved(10)
    unsaved.add([change("a", b"1"), change("b", b"1")], 15)
    assert states(unsaved) == {"a": b"1", "b": b"1"}
    unsaved.add([change("a", b"2")], 20)
    assert states(unsaved) == {"a": b"2", "b": b"1"}
    assert unsaved.upto == 20


def test_what_a_stored_snapshot_has_is_dropped() -> None:
    unsaved = Unsaved(10)
    unsaved.add([change("a", b"1"), change("b", b"1")], 15)
    unsaved.covered(15)
    assert states(unsaved) == {}
    unsaved.add([change("a", b"2")], 20)
    assert states(unsaved) == {"a": b"2"}


def test_another_process_s_snapshot_counts_only_when_it_covers_all() -> None:
    unsaved = Unsaved(10)
    unsaved.add([change("a", b"1")], 15)
    unsaved.covered(12)
    assert states(unsaved) == {"a": b"1"}, "the record may have changed after 12"
    unsaved.covered(99)
    assert states(unsaved) == {}
    assert unsaved.upto == 15


def test_what_is_read_stays_as_it_is_when_a_snapshot_that_has_it_is_stored_meanwhile() -> None:
    unsaved = Unsaved(10)
    unsaved.add([change("a", b"1"), change("b", b"1")], 15)
    read = unsaved.whole()
    unsaved.covered(15)
    assert [found.entity for found in read] == ["a", "b"]


def test_memory_is_bounded_by_records() -> None:
    unsaved = Unsaved(0)
    for seq in range(1, 1000):
        unsaved.add([change(f"entity-{seq % 5}", bytes(seq % 256))], seq)
        unsaved.covered(seq // 2)
    assert len(unsaved) == 5


class Changing:
    """An engine of which the same five records change with every row, and so many more with its first."""

    def __init__(self, at_first: int = 0) -> None:
        self.sequence = 0
        self._changed = {f"{5 + number:04}": bytes(1) for number in range(at_first)}

    def go_on(self, sequence: int) -> None:
        self.sequence = sequence
        self._changed |= {f"{number:04}": bytes(sequence) for number in range(5)}

    def take_changes(self) -> Sequence[StateChange]:
        return [*self.take_records(len(self._changed)), change("shared", bytes(self.sequence))]

    def take_records(self, most: int) -> Sequence[StateChange]:
        entities = sorted(self._changed)[:most]
        return [change(entity, self._changed.pop(entity)) for entity in entities]


class Written:
    """A store; `full`: nothing can be written."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.may_read: asyncio.Event | None = None
        """Until it is set nothing of what is to be stored is read."""
        self.other: int | None = None
        """The snapshot that another process stored meanwhile."""
        self.snapshots: list[tuple[int, dict[str, bytes]]] = []

    async def save(self, changes: Iterable[StateChange], stored: int, seq: int, *, gently: bool) -> int | None:
        del stored, gently
        if self.full:
            raise UnavailableError("the disk is full")
        if self.may_read is not None:
            await self.may_read.wait()
        if self.other is not None:
            return self.other
        self.snapshots.append((seq, {found.entity: found.state for found in changes}))
        return seq


def snapshots_of(store: Written) -> Snapshots:
    kept = Snapshots(cast("BaselineStore", store))
    kept.begin(0, 0)
    return kept


def copied(kept: Snapshots, engine: Changing, sequence: int) -> None:
    engine.go_on(sequence)
    kept.copy(cast("Engine", engine))


async def written(kept: Snapshots) -> None:
    assert kept._writing is not None
    await kept._writing


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is due at once."""
    monkeypatch.setattr(snapshots, "EVERY_S", 0.0)


@pytest.mark.usefixtures("at_once")
def test_what_was_copied_ahead_is_written_once_it_is_committed_and_as_it_was() -> None:
    async def play() -> None:
        store, engine = Written(), Changing()
        kept = snapshots_of(store)
        copied(kept, engine, 10)
        kept.committed(9)
        assert kept._writing is None, "10 is not committed"
        copied(kept, engine, 12)  # the batch after is scored already
        kept.committed(10)
        copied(kept, engine, 13)  # while 10 is written
        await written(kept)
        assert [seq for seq, _ in store.snapshots] == [10]
        assert set(store.snapshots[0][1].values()) == {bytes(10)}
        copied(kept, engine, 14)
        kept.committed(14)
        await written(kept)
        assert [seq for seq, _ in store.snapshots] == [10, 14]
        assert set(store.snapshots[1][1].values()) == {bytes(14)}

    asyncio.run(play())


@pytest.mark.usefixtures("at_once")
def test_a_copy_while_a_try_is_under_way_changes_nothing_of_it() -> None:
    async def play() -> None:
        store, engine = Written(full=True), Changing()
        kept = snapshots_of(store)
        copied(kept, engine, 10)
        kept.committed(10)
        await written(kept)  # it failed
        store.full, store.may_read = False, asyncio.Event()
        copied(kept, engine, 20)
        kept.committed(20)
        await asyncio.sleep(0)
        copied(kept, engine, 30)
        store.may_read.set()
        await written(kept)
        assert [(seq, set(states.values())) for seq, states in store.snapshots] == [(20, {bytes(20)})]

    asyncio.run(play())


@pytest.mark.usefixtures("at_once")
def test_an_engine_that_is_given_up_takes_its_copies_with_it() -> None:
    async def play() -> None:
        store, engine = Written(), Changing()
        kept = snapshots_of(store)
        copied(kept, engine, 10)
        kept.forget()
        kept.begin(0, 0)
        kept.committed(11)
        assert kept._writing is None
        assert store.snapshots == []

    asyncio.run(play())


@pytest.mark.usefixtures("at_once")
def test_an_engine_that_is_built_anew_has_nothing_of_a_build_that_was_broken_off() -> None:
    async def play() -> None:
        store, engine = Written(), Changing()
        kept = snapshots_of(store)
        copied(kept, engine, 10)
        kept.begin(0, 0)
        kept.committed(11)
        assert kept._writing is None
        copied(kept, engine, 12)
        kept.committed(12)
        await written(kept)
        assert [seq for seq, _ in store.snapshots] == [12]

    asyncio.run(play())


def test_records_are_copied_once_a_snapshot_is_due_and_some_of_them_are_no_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "COPIED", 20)
    now = [0.0]

    async def play() -> None:
        store, engine = Written(), Changing(at_first=60)
        kept = Snapshots(cast("BaselineStore", store), monotonic=lambda: now[0])
        kept.begin(0, 0)
        for sequence in range(1, 10):
            copied(kept, engine, sequence)
            kept.committed(sequence)
        assert kept._unsaved is not None
        assert len(kept._unsaved) == 0, "a snapshot is not due"
        now[0] = snapshots.EVERY_S + 1
        for sequence, known in ((10, 27), (11, 49)):
            copied(kept, engine, sequence)
            kept.committed(sequence)
            assert len(kept._unsaved) == known, "twenty, and as many as a row may change"
            assert kept._writing is None, "some are not copied yet"
        copied(kept, engine, 12)
        kept.committed(12)
        await written(kept)
        more = {f"{5 + number:04}": bytes(1) for number in range(60)}
        assert store.snapshots == [
            (12, {"shared": bytes(12)} | {f"{number:04}": bytes(12) for number in range(5)} | more)
        ]

    asyncio.run(play())


def test_while_nobody_waits_more_is_copied_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY_S", 0.0)
    monkeypatch.setattr(snapshots, "COPIED", 20)

    async def play() -> None:
        store, engine = Written(), Changing(at_first=1000)
        kept = snapshots_of(store)
        engine.go_on(1)
        kept.copy(cast("Engine", engine), idle=True)
        kept.committed(1)
        await written(kept)
        assert len(store.snapshots[0][1]) == 1006

    asyncio.run(play())


@pytest.mark.usefixtures("at_once")
def test_while_no_snapshot_can_be_stored_each_record_is_kept_once() -> None:
    async def play() -> None:
        engine = Changing()
        kept = snapshots_of(Written(full=True))
        for sequence in range(1, 5):
            copied(kept, engine, sequence)
            kept.committed(sequence)
            await written(kept)
        assert kept._unsaved is not None
        assert len(kept._unsaved) == 6, "five records and what is shared"
        assert kept._unsaved.upto == 4

    asyncio.run(play())


@pytest.mark.usefixtures("at_once")
def test_a_whole_copy_that_another_process_overtook_is_not_written() -> None:
    async def play() -> None:
        store, engine = Written(), Changing()
        kept = snapshots_of(store)
        copied(kept, engine, 10)
        kept.committed(12, stored=11)
        assert kept._writing is None, "it would take the stored snapshot back"
        copied(kept, engine, 13)
        kept.committed(13, stored=11)
        await written(kept)
        assert [seq for seq, _ in store.snapshots] == [13]

    asyncio.run(play())


@pytest.mark.usefixtures("at_once")
def test_facts_that_were_read_before_a_snapshot_was_stored_are_of_the_same_database() -> None:
    async def play() -> None:
        store, engine = Written(), Changing()
        kept = snapshots_of(store)
        copied(kept, engine, 10)
        kept.committed(10)
        await written(kept)
        assert kept.fits(0), "they may have been read before"
        copied(kept, engine, 11)
        assert not kept.fits(9), "facts that are read from now on tell of 10 or more, unless the database was set back"
        assert kept.fits(10)
        kept.committed(11, stored=10)
        store.other = 12
        await written(kept)
        assert kept.fits(10)
        copied(kept, engine, 13)
        assert (kept.fits(11), kept.fits(12)) == (False, True)

    asyncio.run(play())
