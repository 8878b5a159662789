"""Yardsticks say what their names say, and none of them sees what comes later."""

import numpy as np
import pytest

from bench.marks import Floats
from bench.peers import ewma, ewma_of_logarithm, fraud_rate, window_median
from bench.traffic import DAY_US, START_US, WORLDS, Traffic, make

MADE = make(WORLDS[-1], seed=5, accounts=60, days=50)


def told(days: list[float], frauds: list[int]) -> Traffic:
    """Payments of one account to one destination."""
    count = len(days)
    at = START_US + (np.array(days) * DAY_US).astype(np.int64)
    same = np.ones(count, np.int64)
    return Traffic(at, same, same, np.full(count, 10.0), np.array(frauds, np.int64))


@pytest.mark.parametrize("yardstick", [ewma, ewma_of_logarithm, window_median, fraud_rate])
def test_what_comes_later_changes_nothing(yardstick: object) -> None:
    assert callable(yardstick)
    until = len(MADE.amount) // 2
    whole: Floats = yardstick(MADE)
    part: Floats = yardstick(MADE.part(np.arange(len(MADE.amount)) < until))
    assert np.array_equal(whole[:until], part)
    assert len(np.unique(whole)) > 10


def test_a_destinations_rate_counts_four_weeks_of_verdicts_that_are_known() -> None:
    payments = told([0.0, 1.0, 6.9, 7.5, 8.5, 34.0, 35.5, 40.0], [2, 0, 0, 0, 0, 0, 0, 0])
    assert fraud_rate(payments).tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0, 0.5, 0.2, 0.0, 0.0])


def test_a_payment_far_from_its_window_stands_out_either_way() -> None:
    amounts = np.r_[np.tile([9.0, 10.0, 11.0], 30), 100.0, 10.0, 0.5]
    count = len(amounts)
    found = window_median(
        Traffic(
            START_US + np.arange(count),
            np.ones(count, np.int64),
            np.ones(count, np.int64),
            amounts,
            np.zeros(count, np.int64),
        )
    )
    assert found[-3] > 5.0 < found[-1]
    assert found[-2] < 1.0
