"""The tail of the outbox: gaps are asked for again, numbers are safe to come back with, everything is bounded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.feed import GAP_S, MAX_GAPS, Tail, Told


def row(row_id: int, *, settled: bool = False) -> dict[str, Any]:
    return {"id": row_id, "event": "e", "payload": {}, "settled": settled}


def test_a_gap_is_asked_for_again_until_no_transaction_can_fill_it() -> None:
    tail = Tail(10)
    assert [(t.row_id, t.floor) for t in tail.take([row(11), row(14)], 0.0)] == [(11, 11), (14, 11)]
    assert (tail.missing, tail.after) == ([12, 13], 14)
    assert [(t.row_id, t.floor) for t in tail.take([row(12), row(15)], 1.0)] == [(12, 12), (15, 12)]
    tail.take([], GAP_S + 1)
    assert (tail.missing, tail.floor) == ([], 15)


def test_below_a_settled_event_nothing_is_missing() -> None:
    tail = Tail(0)
    assert tail.take([row(500, settled=True)], 0.0)[0].floor == 500


@pytest.mark.parametrize("payload", ["x", 1, None, [["a"]], ["a", "b"]])
def test_a_row_that_is_no_event_ends_no_stream(payload: object) -> None:
    (told,) = Tail(10).take([row(11) | {"payload": payload}], 0.0)
    assert (told.row_id, told.ids) == (11, {})


def test_gaps_are_bounded() -> None:
    tail = Tail(0)
    tail.take([row(10**9)], 0.0)
    tail.take([row(3 * 10**9)], 0.0)
    assert len(tail.missing) == MAX_GAPS


@given(st.permutations(range(1, 12)), st.lists(st.integers(1, 4), min_size=11, max_size=11), st.integers(0, 11))
def test_whoever_comes_back_with_a_number_has_missed_nothing(order: list[int], sizes: list[int], heard: int) -> None:
    """Ids become visible in any order, a few at a time; a listener leaves after any event and returns with its number."""
    tail, visible, told = Tail(0), set[int](), list[Told]()
    waiting = list(order)
    for size in sizes:
        visible |= set(waiting[:size])
        waiting = waiting[size:]
        found = sorted(i for i in visible if i > tail.after or i in tail.missing)
        told += tail.take([row(i) for i in found], 0.0)
    assert {t.row_id for t in told} == set(order)
    number = told[heard - 1].floor if heard else 0
    assert {t.row_id for t in told[:heard]} | set(range(number + 1, 12)) == set(order)


def test_an_event_is_encoded_on_single_lines() -> None:
    encoded = Told(7, 6, "incident_opened", {"incident_id": "a\nb"}).encoded()
    assert (
        encoded
        == b'id: 6\nevent: incident_opened\ndata: {"event": "incident_opened", "ids": {"incident_id": "a\\nb"}}\n\n'
    )
