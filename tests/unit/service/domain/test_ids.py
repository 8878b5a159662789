"""Identifiers begin with their moment, so that a span of time is a span of ids."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import ids
from service.domain.ids import first_id_at, id_after, looks_like_id, new_id


def test_an_identifier_lies_between_the_first_of_its_moment_and_the_first_after() -> None:
    before = datetime.now(UTC)
    made = new_id("act")
    assert first_id_at("act", before) <= made < first_id_at("act", datetime.now(UTC) + timedelta(milliseconds=1))
    assert looks_like_id(made, "act")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(1900, 1, 1, tzinfo=UTC), "act_" + "0" * 26),
        (datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), "act_0000000001" + "0" * 16),
        (datetime(2016, 7, 30, 22, 36, 16, 385000, tzinfo=UTC), "act_01ARYZ6S41" + "0" * 16),
    ],
)
def test_the_first_identifier_of_a_moment_is_its_milliseconds_in_base32(moment: datetime, expected: str) -> None:
    """The last case is the time 1469918176385 ms of the ULID specification."""
    assert first_id_at("act", moment) == expected


def test_identifiers_of_one_millisecond_sort_by_creation_and_cannot_be_counted_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: 1_469_918_176_385_999_999))
    made = [new_id("act") for _ in range(32_768)]
    assert made == sorted(set(made))
    assert made[0].startswith("act_01ARYZ6S41")
    assert {len(each) for each in made} == {30}
    numbers = [int.from_bytes(each[14:].encode()) for each in made]
    assert len({after - before for before, after in pairwise(numbers)}) > 32_000


@given(
    ahead=st.timedeltas(timedelta(days=-1), timedelta(days=3650)),
    parts=st.lists(st.integers(0, (1 << 80) - 1), max_size=3),
)
def test_an_identifier_after_others_sorts_after_them_also_when_their_clock_was_ahead(
    ahead: timedelta, parts: list[int]
) -> None:
    moment = datetime.now(UTC) + ahead
    others = [first_id_at("pln", moment)[:14] + base32(part) for part in parts]
    made = id_after("pln", others)
    assert looks_like_id(made, "pln")
    assert all(made > other for other in others)


def base32(number: int) -> str:
    return "".join(ids._ALPHABET[number >> 5 * place & 31] for place in reversed(range(16)))


def test_an_identifier_after_what_is_older_is_a_new_one_and_after_no_identifier_there_is_none() -> None:
    before = new_id("pln")
    assert new_id("pln") < id_after("pln", [before]) < new_id("pln") < id_after("pln", ())
    last = "pln_" + "Z" * 10 + "0" * 16
    first, second = id_after("pln", [last]), id_after("pln", [last])
    assert last < min(first, second)
    assert first != second, "two that follow the same one differ"
    with pytest.raises(ValueError, match="substring"):
        id_after("pln", ["pln_~"])


def test_identifiers_that_threads_make_at_once_sort_by_creation_in_each() -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: [new_id("act") for _ in range(500)], range(4)))
    assert all(part == sorted(part) for part in made)
    assert len({each for part in made for each in part}) == 2000
