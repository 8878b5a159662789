"""What waits for a snapshot: nothing is dropped before one covers it, and only the newest form of each record is kept."""

import asyncio
from collections.abc import Sequence
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


def test_while_no_snapshot_can_be_stored_each_record_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "COPIED_ROWS", 1)
    monkeypatch.setattr(snapshots, "EVERY_S", 0.0)

    class FullStore:
        async def save(self, *_: object, **__: object) -> int | None:
            raise UnavailableError("the disk is full")

    class Changing:
        sequence = 0

        def take_changes(self) -> Sequence[StateChange]:
            self.sequence += 1
            return [change(str(number), bytes(self.sequence)) for number in range(5)]

    async def play() -> None:
        engine = Changing()
        kept = Snapshots(cast("BaselineStore", FullStore()))
        kept.begin(0)
        engine.sequence = 1
        kept.committed(cast("Engine", engine), 0)
        assert kept._writing is not None
        await kept._writing
        monkeypatch.setattr(snapshots, "EVERY_S", 1e9)
        monkeypatch.setattr(snapshots, "RETRY_S", 1e9)
        for _ in range(3):
            engine.sequence += 1
            kept.committed(cast("Engine", engine), 0)
        assert kept._unsaved is not None
        assert len(kept._unsaved) == 5
        assert kept._unsaved.upto >= 3

    asyncio.run(play())
