"""The realised rate of alerts is the asked one."""

import math
import random

import numpy as np
import pytest

from rules.arithmetic import exp2
from rules.arrays import F8
from rules.baseline.budget import B_ALERTS, B_DAYS, MOST, elapsed, hold_level, level, spend_hold
from rules.baseline.budget import spend as _spend

DAY_US = 86_400e6
WEEK_US = 7 * DAY_US


def spend(words: F8, a_day: float, now_us: float, alerted: float) -> None:
    _spend(words, a_day, now_us, exp2(-elapsed(words, now_us) / WEEK_US), alerted)


def run(a_day: float, events_a_day: int, days: int, forced: frozenset[int] = frozenset(), seed: int = 5) -> list[int]:
    """Alerts by day. Surprisals are exponential, as a good calibration's are."""
    print(f"seed {seed}")  # noqa: T201 -- a failing run must be repeatable
    rng, words, alerts = random.Random(seed), np.zeros(8), [0] * days  # noqa: S311 -- synthetic traffic
    for n in range(events_a_day * days):
        now_us = (n / events_a_day + 1.0) * DAY_US
        alerted = rng.random() <= level(words, a_day, now_us) or n in forced
        spend(words, a_day, now_us, float(alerted))
        alerts[n // events_a_day] += alerted
    return alerts


@pytest.mark.parametrize("a_day", [5.0, 20.0, 100.0])
def test_each_week_from_the_fifth_is_within_twelve_percent(a_day: float) -> None:
    alerts = run(a_day, 5000, 70)
    weeks = [sum(alerts[at : at + 7]) / (7 * a_day) for at in range(28, 70, 7)]
    assert all(0.88 <= week <= 1.12 for week in weeks), weeks


def test_forced_alerts_count() -> None:
    forced = frozenset(n * 500 for n in range(300))
    alerts = run(20.0, 5000, 35, forced)
    assert sum(alerts[28:35]) == pytest.approx(140, rel=0.12)


def test_a_burst_of_forced_alerts_is_made_up_for_and_then_over() -> None:
    burst = frozenset(range(40 * 5000, 40 * 5000 + 60))
    alerts = run(20.0, 5000, 63, burst)
    assert sum(alerts[42:49]) < 140
    assert sum(alerts[56:63]) == pytest.approx(140, rel=0.12)


def test_a_quiet_stream_is_not_searched_for_alarms() -> None:
    assert sum(run(5.0, 10, 60)) <= 60 * 10 * MOST * 2


def test_nothing_is_owed_for_a_silent_month() -> None:
    words = np.zeros(8)
    for day in (1, 2, 32):
        spend(words, 10.0, day * DAY_US, 0.0)
    assert words[3] <= 10.0


@pytest.mark.parametrize("at", [0.0, -5.0, 1e18, 1.0])
def test_no_time_makes_a_level_that_is_none(at: float) -> None:
    words: F8 = np.zeros(8)
    spend(words, 5.0, at, 1.0)
    assert 0.0 < level(words, 5.0, 0.0) <= MOST
    assert np.isfinite(words).all()


def test_holds_keep_their_share_over_months() -> None:
    rng, words, holds = random.Random(6), np.zeros(8), 0  # noqa: S311 -- synthetic traffic
    for _ in range(400_000):
        held = rng.random() * 3.0 <= hold_level(words, 1e-4)  # a calibration that is three times off
        holds += held
        spend_hold(words, 1e-4, float(held))
    assert holds == pytest.approx(40, abs=6)


def test_realised_is_told() -> None:
    words = np.zeros(8)
    for n in range(2000):
        spend(words, 0.0, (1 + n / 100) * DAY_US, float(n % 50 == 0))
    assert words[B_ALERTS] / words[B_DAYS] == pytest.approx(2.0, rel=0.1)
    assert math.isfinite(words[B_DAYS])
