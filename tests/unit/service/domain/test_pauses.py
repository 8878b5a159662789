"""How long a step waits: it grows, it is bounded, and attempts that do nothing last for the deadline."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.domain.pauses import in_doubt, of_attempts, until_next

HOUR = timedelta(hours=1)
TIMES = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=9))


@given(TIMES, TIMES, st.none() | st.floats(0, 1e6))
def test_pauses_grow_and_are_bounded(since: timedelta, more: timedelta, wanted_s: float | None) -> None:
    pause = until_next(since, HOUR, wanted_s)
    assert timedelta(seconds=0.3) <= pause <= until_next(since + more, HOUR, wanted_s) <= HOUR / 100
    assert timedelta(seconds=5) <= in_doubt(since) <= in_doubt(since + more) <= timedelta(minutes=5)


def test_a_short_deadline_is_looked_at_every_15_seconds_and_a_wish_is_kept() -> None:
    assert until_next(HOUR, timedelta(minutes=1)) == timedelta(seconds=15)
    assert until_next(timedelta(0), HOUR, 7.0) == timedelta(seconds=7)
    assert until_next(timedelta(seconds=8), HOUR) == timedelta(seconds=2)


def test_attempts_that_do_nothing_last_for_the_deadline() -> None:
    waits = [of_attempts(left, HOUR) for left in range(12, 0, -1)]
    assert waits[0] < timedelta(seconds=1)
    assert HOUR * 0.99 < sum(waits, timedelta(0)) <= HOUR
