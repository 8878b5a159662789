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
    assert (unsaved.base, unsaved.upto) == (10, 20)


def test_what_a_stored_snapshot_has_is_dropped_and_what_came_while_it_was_written_is_not() -> None:
    unsaved = Unsaved(10)
    unsaved.add([change("a", b"1"), change("b", b"1")], 15)
    unsaved.whole()
    unsaved.add([change("a", b"2")], 20)
    unsaved.covered(15)
    assert states(unsaved) == {"a": b"2"}
    assert unsaved.base == 15


def test_another_process_s_snapshot_counts_only_as_far_as_it_covers() -> None:
    unsaved = Unsaved(10)
    unsaved.add([change("a", b"1")], 15)
    unsaved.covered(12)
    assert states(unsaved) == {"a": b"1"}, "the record may have changed after 12"
    unsaved.add([change("b", b"1")], 20)
    unsaved.covered(18)
    assert states(unsaved) == {"b": b"1"}
    unsaved.covered(99)
    assert states(unsaved) == {}
    assert unsaved.base == unsaved.upto == 20


def test_memory_is_bounded_by_records() -> None:
    unsaved = Unsaved(0)
    for seq in range(1, 1000):
        unsaved.add([change(f"entity-{seq % 5}", bytes(seq % 256))], seq)
        unsaved.covered(seq // 2)
    assert len(unsaved) <= 10


class Changing:
    """An engine of which the same five records change with every row."""

    sequence = 0

    def take_changes(self) -> Sequence[StateChange]:
        return [*self.take_records(), change("shared", bytes(self.sequence))]

    def take_records(self) -> Sequence[StateChange]:
        return [change(str(number), bytes(self.sequence)) for number in range(5)]


class Written:
    """A store; `full`: nothing can be written."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.may_read: asyncio.Event | None = None
        """Until it is set nothing of what is to be stored is read."""
        self.snapshots: list[tuple[int, dict[str, bytes]]] = []

    async def save(self, changes: Iterable[StateChange], stored: int, seq: int, *, gently: bool) -> int | None:
        del stored, gently
        if self.full:
            raise UnavailableError("the disk is full")
        if self.may_read is not None:
            await self.may_read.wait()
        self.snapshots.append((seq, {found.entity: found.state for found in changes}))
        return seq


def snapshots_of(store: Written) -> Snapshots:
    kept = Snapshots(cast("BaselineStore", store))
    kept.begin(0)
    return kept


def copied(kept: Snapshots, engine: Changing, sequence: int) -> None:
    engine.sequence = sequence
    kept.copy(cast("Engine", engine))


async def written(kept: Snapshots) -> None:
    assert kept._writing is not None
    await kept._writing


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is due at once."""
    monkeypatch.setattr(snapshots, "COPIED_ROWS", 1)
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
        await written(kept)  # it failed: what is unsaved is kept in the least room now
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
        kept.begin(0)
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
        kept.begin(0)
        kept.committed(11)
        assert kept._writing is None
        copied(kept, engine, 12)
        kept.committed(12)
        await written(kept)
        assert [seq for seq, _ in store.snapshots] == [12]

    asyncio.run(play())


def test_some_records_are_no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "COPIED_ROWS", 10)
    now = [0.0]

    async def play() -> None:
        store, engine = Written(), Changing()
        kept = Snapshots(cast("BaselineStore", store), monotonic=lambda: now[0])
        kept.begin(0)
        for sequence in range(1, 60):
            copied(kept, engine, sequence)
            kept.committed(sequence)
        assert kept._unsaved is not None
        assert kept._unsaved.upto == 50, "copied every ten rows"
        assert kept._writing is None, "a snapshot is not due"
        now[0] = snapshots.EVERY_S + 1
        copied(kept, engine, 60)
        kept.committed(60)
        await written(kept)
        assert store.snapshots == [(60, {"shared": bytes(60)} | {str(number): bytes(60) for number in range(5)})]

    asyncio.run(play())


def test_while_no_snapshot_can_be_stored_each_record_is_kept_once(
    at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del at_once

    async def play() -> None:
        engine = Changing()
        kept = snapshots_of(Written(full=True))
        copied(kept, engine, 1)
        kept.committed(1)
        await written(kept)
        monkeypatch.setattr(snapshots, "EVERY_S", 1e9)
        monkeypatch.setattr(snapshots, "RETRY_S", 1e9)
        for sequence in range(2, 5):
            copied(kept, engine, sequence)
            kept.committed(sequence)
        assert kept._unsaved is not None
        assert len(kept._unsaved) == 6, "five records and what is shared"
        assert kept._unsaved.upto == 4

    asyncio.run(play())
