"""Hours and days: learned, forgotten by halves, and told."""

from rules.baseline.layout import HOURS, Kind
from tests.unit.rules.scenario import DAY, HOUR, NOW, START
from tests.unit.rules.watch import Watch


def clerk(days: int = 60) -> Watch:
    """Pays at 9h and 15h UTC from Monday to Friday."""
    subject = Watch(NOW)
    for day in range(days):
        for hour in (9, 15):
            subject.now = START + day * DAY + hour * HOUR
            if day % 7 < 5:
                subject.pay(100.0, destination="d")
    subject.now = START + (days // 7 + 1) * 7 * DAY
    return subject


def test_the_usual_hour_is_told_in_words() -> None:
    found = clerk().pay(100.0, 3 * HOUR)["hour_of_week"]
    assert found.value == 3.0
    assert (found.low, found.high) == (9.0, 9.0)
    assert found.surprise > 0.8


def test_the_usual_hour_is_no_surprise() -> None:
    subject = clerk()
    assert subject.pay(100.0, 9 * HOUR)["hour_of_week"].surprise == 0.0
    assert subject.pay(100.0, 6 * HOUR)["hour_of_week"].surprise == 0.0


def test_a_sunday_counts_together_with_its_hour() -> None:
    subject = clerk()
    sunday_night = subject.pay(100.0, 6 * DAY + 3 * HOUR)["hour_of_week"].surprise
    sunday_morning = subject.pay(100.0, 6 * HOUR)["hour_of_week"].surprise
    assert sunday_night > 1.0
    assert sunday_morning == 0.0


def test_counts_are_halved_before_they_grow_too_large() -> None:
    subject = Watch(NOW)
    for _ in range(8001):
        subject.pay(100.0)
    (state,) = [change.state for change in subject.engine.snapshot() if change.kind == Kind.ACCOUNT]
    words = memoryview(state).cast("d")[HOURS : HOURS + 16].tolist()
    counts = [int(word) & (2**26 - 1) for word in words] + [int(word) >> 26 for word in words]
    assert max(counts) < 4000
    assert sum(counts) == 3 * max(counts)
    assert max(counts) >= 2000
