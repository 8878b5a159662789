"""The pace of calls: never more than the limit, urgent ones first, nobody before the time that a 429 names."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.pace import LONGEST_SLOW, LONGEST_WAIT, Limit, Pace, slowed, turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_burst_goes_at_once_and_then_one_each_interval() -> None:
    pace, waits = None, []
    for _ in range(7):
        taken = turn(pace, Limit(5), NOW, urgent=True)
        assert taken.after is not None
        pace = taken.after
        waits.append(taken.wait.total_seconds())
    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.2, 0.4])


def test_what_is_not_urgent_leaves_room_and_does_not_wait() -> None:
    pace, granted = None, 0
    while (taken := turn(pace, Limit(10), NOW, urgent=False)).after is not None:
        pace, granted = taken.after, granted + 1
    assert granted == 5, "half of a second's burst"
    assert timedelta() < taken.wait <= SECOND
    assert turn(pace, Limit(10), NOW, urgent=True).wait == timedelta()


def test_an_urgent_call_waits_so_long_and_no_longer() -> None:
    pace = Pace(NOW + LONGEST_WAIT)
    taken = turn(pace, Limit(1), NOW, urgent=True)
    assert (taken.wait, taken.after is None) == (LONGEST_WAIT, False)
    assert turn(taken.after, Limit(1), NOW, urgent=True).after is None


@pytest.mark.parametrize("urgent", [True, False])
def test_nobody_calls_before_the_time_that_a_429_names(*, urgent: bool) -> None:
    pace = slowed(None, NOW, 30 * SECOND)
    taken = turn(pace, Limit(100), NOW + 10 * SECOND, urgent=urgent)
    assert (taken.after, taken.wait) == (None, 20 * SECOND)
    assert turn(pace, Limit(100), NOW + 30 * SECOND, urgent=urgent).after is not None
    assert slowed(pace, NOW, SECOND).slow_until == NOW + 30 * SECOND, "a later word does not shorten an earlier one"
    assert slowed(None, NOW, timedelta(days=3)).slow_until == NOW + LONGEST_SLOW


def test_what_a_wrong_clock_wrote_counts_for_nothing() -> None:
    far = NOW + timedelta(days=300)
    assert turn(Pace(far, far), Limit(1), NOW, urgent=False).after is not None


@given(
    per_s=st.floats(0.1, 1000),
    asked=st.lists(st.tuples(st.integers(0, 3_000_000), st.booleans()), min_size=1, max_size=120),
)
def test_no_window_ever_holds_more_than_burst_and_rate(per_s: float, asked: list[tuple[int, bool]]) -> None:
    limit, pace, now, starts = Limit(per_s), None, NOW, []
    for pause, urgent in asked:
        now += timedelta(microseconds=pause % 400_000 if pause % 3 else 0)
        taken = turn(pace, limit, now, urgent=urgent)
        assert taken.wait <= LONGEST_WAIT or taken.after is None
        if taken.after is not None:
            pace = taken.after
            starts.append(now + taken.wait)
    starts.sort()
    burst = max(1, int(per_s))
    for first, start in enumerate(starts):
        for count, later in enumerate(starts[first:], start=1):
            # Times are whole microseconds, so each call may come up to one earlier.
            assert count <= burst + (later - start).total_seconds() * per_s * 1.001 + 1e-3 * count
