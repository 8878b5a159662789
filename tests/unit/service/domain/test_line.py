"""An outage of a line: growing pauses with a bound, people told after three, and since when."""

from datetime import UTC, datetime, timedelta

from service.domain.line import DEAD_AFTER, LONGEST_PAUSE, Line, unanswered

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def outage(calls: int) -> list[Line]:
    found: list[Line] = []
    for n in range(calls):
        found.append(unanswered(found[-1] if found else None, NOW + timedelta(minutes=n)))
    return found


def test_pauses_grow_to_a_bound_and_the_beginning_is_kept() -> None:
    lines = outage(40)
    pauses = [line.closed_until - (NOW + timedelta(minutes=n)) for n, line in enumerate(lines)]
    assert pauses[:3] == [timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=4)]
    assert pauses == sorted(pauses)
    assert max(pauses) == LONGEST_PAUSE
    assert {line.since for line in lines} == {NOW}


def test_a_line_is_dead_after_so_many_and_not_before() -> None:
    assert [line.is_dead for line in outage(DEAD_AFTER)] == [False] * (DEAD_AFTER - 1) + [True]


def test_what_was_told_stays_told_until_the_outage_ends() -> None:
    told = Line(3, NOW, NOW, told=True)
    assert unanswered(told, NOW).told
    assert not unanswered(None, NOW).told
