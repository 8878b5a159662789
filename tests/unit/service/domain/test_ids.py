"""Identifiers begin with their moment, so that a span of time is a span of ids."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.ids import first_id_at, looks_like_id, new_id


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
