"""What waits for a snapshot: nothing is dropped before one covers it, and only the newest form of each record is kept."""

from rules.learning import StateChange
from service.flow.intake.unsaved import Unsaved


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
