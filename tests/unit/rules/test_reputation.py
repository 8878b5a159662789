"""What verdicts teach, piece by piece."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.arrays import F8
from rules.baseline.reputation import (
    BAD_COUNT,
    BEGAN_US,
    BLAMED,
    GOODS,
    LAST_BAD_US,
    NO_CELL,
    WEIGHT_AT,
    bump,
    cause,
    cell_of,
    count_score,
    equal_score,
    expect,
    free_hazard,
    guarded,
    mark_bad,
    mark_good,
    odds_times,
    own_ratio,
    ratio,
    refit,
    teach,
    weigh_class,
)
from rules.baseline.shared import HAZARD_WORDS, TAUGHT_WORDS

HOUR_US = 3600e6
DAY_US = 24 * HOUR_US


@pytest.fixture
def hazard() -> F8:
    made = np.zeros(HAZARD_WORDS)
    made[WEIGHT_AT : WEIGHT_AT + 5] = 1.0
    refit(made)
    return made


class TestScore:
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=200),
        st.lists(st.floats(0.001, 300), min_size=2, max_size=2, unique=True),
    )
    def test_hazard_rises_strictly_and_is_told_back_exactly(
        self, verdicts: list[tuple[float, bool]], pair: list[float]
    ) -> None:
        made = np.zeros(HAZARD_WORDS)
        for score, bad in verdicts:
            count_score(made, score, float(bad))
        refit(made)
        low, high = sorted(pair)
        assert free_hazard(made, low) <= free_hazard(made, high)
        if high - low > 1e-6:
            assert free_hazard(made, low) < free_hazard(made, high)
        assert equal_score(made, free_hazard(made, high)) == pytest.approx(high, abs=1e-6)

    def test_verdicts_move_it_towards_what_was_seen(self, hazard: F8) -> None:
        before = free_hazard(hazard, 3.0)
        for _ in range(200):
            count_score(hazard, 3.0, 1.0)
        refit(hazard)
        assert free_hazard(hazard, 3.0) > 2.0 * before

    def test_a_class_that_only_gives_false_alarms_loses_weight_but_not_all(self, hazard: F8) -> None:
        for _ in range(500):
            weigh_class(hazard, 1, 2.0, 0.0, 0.5)
        assert hazard[WEIGHT_AT + 1] == pytest.approx(0.1)
        assert hazard[WEIGHT_AT] == 1.0


class TestEpisodes:
    def test_begins_goes_on_ends_and_begins_again(self) -> None:
        words = np.zeros(8)
        assert cell_of(words, 0, DAY_US) == NO_CELL
        mark_bad(words, 0, 10 * DAY_US, 1.0)
        mark_bad(words, 0, 12 * DAY_US, 1.0)
        assert (words[BEGAN_US], words[LAST_BAD_US], words[BAD_COUNT]) == (10 * DAY_US, 12 * DAY_US, 2.0)
        mark_good(words, 0, 11 * DAY_US)
        assert words[GOODS] == 0.0, "older than the latest bad one"
        for day in (13, 14):
            mark_good(words, 0, day * DAY_US)
        mark_bad(words, 0, 20 * DAY_US, 1.0)
        assert (words[BEGAN_US], words[BAD_COUNT], words[GOODS]) == (20 * DAY_US, 1.0, 0.0)

    def test_what_others_explain_does_not_start_it(self) -> None:
        words = np.zeros(8)
        mark_bad(words, 0, 10 * DAY_US, 0.1)
        mark_bad(words, 0, 15 * DAY_US, 0.9)
        assert words[BEGAN_US] == 15 * DAY_US
        assert words[BLAMED] == pytest.approx(1.0)

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 100)), max_size=30), st.integers(0, 40_000))
    def test_any_order_gives_a_cell(self, verdicts: list[tuple[bool, int]], day: int) -> None:
        words, taught = np.zeros(8), np.zeros(TAUGHT_WORDS)
        for bad, when in verdicts:
            if bad:
                mark_bad(words, 0, when * DAY_US, 0.5)
            else:
                mark_good(words, 0, when * DAY_US)
        cell = cell_of(words, 0, day * DAY_US)
        assert (cell == NO_CELL) == (not any(bad for bad, _ in verdicts))
        if cell != NO_CELL:
            teach(taught, cell, 1.0, 1.0)
            assert 0.0 < cause(taught, cell) < 1.0
            assert 0.1 <= ratio(taught, cell) <= 20.0

    def test_an_age_never_judged_is_not_bad(self) -> None:
        words, taught = np.zeros(8), np.zeros(TAUGHT_WORDS)
        mark_bad(words, 0, 0.0, 1.0)
        for _ in range(100):
            teach(taught, cell_of(words, 0, DAY_US), 1.0, 1.0)
        assert cause(taught, cell_of(words, 0, DAY_US)) > 0.9
        assert cause(taught, cell_of(words, 0, 300 * DAY_US)) < 0.3


def test_false_alarms_halve_the_odds_at_most() -> None:
    words = np.zeros(8)
    assert own_ratio(words, 0) == 1.0
    for _ in range(100):
        expect(words, 0, 0.7, 0.0)
    assert own_ratio(words, 0) == 0.5


def test_odds() -> None:
    half = float(np.log(2.0))
    assert odds_times(half, 1.0) == pytest.approx(half)
    assert 1.0 - np.exp(-odds_times(half, 3.0)) == pytest.approx(0.75)
    assert odds_times(50.0, 2.0) == pytest.approx(50.0 + np.log(2.0))


@pytest.mark.parametrize("additive", [1e-6, 0.1, 1.0, 10.0, 1e6])
def test_reputations_alone_stay_below_a_label_free_alarm(hazard: F8, additive: float) -> None:
    assert additive * guarded(hazard, additive) <= free_hazard(hazard, 4.0)


def test_a_full_cell_forgets() -> None:
    table = np.array([2500.0, 2500.0])
    for _ in range(4000):
        bump(table, 0, 0.0, 1.0)
    assert table[0] / table[1] < 0.2
    assert table[1] < 2600.0
