"""The population's tails and the calibration that is made of them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.arrays import F8
from rules.baseline import tails
from rules.baseline.shared import C_FAST, C_NOW_US, Shared, advance
from rules.baseline.tails import (
    HEAD_WORDS,
    ORDINARY,
    TAIL_WIDTH,
    count,
    count_noted,
    gather,
    note,
    prepare,
    probability,
    resolved,
    scatter,
    surprisal,
)
from rules.settings import EngineSettings
from rules.state import State

DAY_US = 86_400e6
WEEK_US = 7 * DAY_US


def tail(low: float = 0.0, high: float = 16.0) -> F8:
    made = np.zeros(TAIL_WIDTH)
    prepare(made, low, high)
    return made


def exponential(count_of: int) -> list[float]:
    return [-math.log10(1.0 - (n * 0.6180339887) % 1.0) for n in range(count_of)]


class Noted:
    """The tails of some features, counted into as the kernel does."""

    def __init__(self, features: int) -> None:
        self.tails = [tail() for _ in range(features)]
        self.heads = np.zeros((HEAD_WORDS, features))
        for feature, made in enumerate(self.tails):
            scatter(self.heads, feature, made)

    def tell(self, *values: float, scale: float = 1.0) -> None:
        due = note(self.heads, np.array(values), scale)
        for feature, value in enumerate(values):
            if due >> feature & 1:
                count_noted(self.heads, feature, self.tails[feature], value, scale)

    def current(self) -> list[F8]:
        for feature, made in enumerate(self.tails):
            gather(self.heads, feature, made)
        return self.tails


class TestNotable:
    """Of what only notable values are evidence of, ordinary ones are sampled."""

    def both(self, values: list[float]) -> tuple[F8, F8]:
        whole, sampled = tail(), Noted(1)
        for value in values:
            count(whole, value, 1.0, 1.0)
            sampled.tell(value)
        return whole, sampled.current()[0]

    def test_notable_p_values_are_as_if_all_were_counted(self) -> None:
        whole, sampled = self.both(exponential(60_000))
        for value in (1.0, 1.5, 2.0, 3.0):
            assert probability(sampled, value) == pytest.approx(probability(whole, value), rel=0.05)

    def test_most_ordinary_values_touch_no_bin(self) -> None:
        _, sampled = self.both(exponential(60_000))
        assert sampled[tails.T_SEEN] == 60_000
        assert sampled[tails.T_COUNTED] < 20_000
        assert sampled[tails.T_NOTABLE] == pytest.approx(-math.log10(0.15), abs=0.05)

    def test_what_is_notable_follows_when_everything_grows(self) -> None:
        _, sampled = self.both([*exponential(20_000), *(3.0 + value for value in exponential(60_000))])
        assert sampled[tails.T_NOTABLE] == pytest.approx(3.0 - math.log10(0.15 * 80 / 60), abs=0.1)

    def test_what_nearly_everybody_equals_is_not_notable(self) -> None:
        noted = Noted(1)
        for n in range(20_000):
            noted.tell(3.0 if n % 20 == 0 else 0.02)
        made = noted.current()[0]
        assert 0.02 < made[tails.T_NOTABLE] < 1.0
        assert made[tails.T_COUNTED] < 5000

    def test_the_first_thousand_are_all_counted(self) -> None:
        whole, sampled = self.both(exponential(1000))
        assert whole.tobytes() == sampled.tobytes()

    def test_each_feature_is_noted_by_itself(self) -> None:
        together, alone = Noted(9), [Noted(1) for _ in range(9)]
        for n, value in enumerate(exponential(3000)):
            told = [(math.nan, ORDINARY, value)[(n + feature) % 3] for feature in range(9)]
            together.tell(*told, scale=1.0 + n / 1000.0)
            for feature, one in enumerate(alone):
                one.tell(told[feature], scale=1.0 + n / 1000.0)
        assert [made.tobytes() for made in together.current()] == [one.current()[0].tobytes() for one in alone]
        assert together.tails[0][tails.T_SEEN] == 2000.0

    def test_what_cannot_be_told_changes_nothing(self) -> None:
        noted = Noted(2)
        before = noted.heads.tobytes()
        noted.tell(math.nan, math.nan, scale=5.0)
        assert noted.heads.tobytes() == before


@given(st.lists(st.floats(0.0, 16.0), min_size=1, max_size=300), st.floats(0.0, 0.1))
@settings(max_examples=30)
def test_the_fit_is_that_of_a_walk_through_all_bins(values: list[float], decay: float) -> None:
    made, scale = tail(), 1.0
    for value in (values * 256)[:256]:
        count(made, value, scale, 1.0)
        scale *= 1.0 + decay
    knee, scale = int(made[tails.T_KNEE]), made[tails.T_SCALE]
    after = [tails._after(made, at) for at in range(knee - 1, tails.BINS)]
    excess = weight = 0.0
    for at, (left, right) in enumerate(itertools.pairwise(after)):
        excess += (left - right) * (at + 0.5)
        weight += left - right
    assert made[tails.T_HALF] == math.log(2.0) * (excess + scale * tails.BINS / 64.0) / (weight + scale) + 0.5


def test_p_values_of_its_own_values_are_uniform() -> None:
    made = tail()
    raws = exponential(40_000)
    for raw in raws[:20_000]:
        count(made, raw, 1.0, 1.0)
    told = [probability(made, raw) for raw in raws[20_000:]]
    for level, within in ((0.5, 0.03), (0.1, 0.05), (0.01, 0.1), (0.001, 0.35)):
        assert sum(p <= level for p in told) / len(told) == pytest.approx(level, rel=within)


def test_there_are_practically_no_ties() -> None:
    made = tail()
    for raw in exponential(5000):
        count(made, raw, 1.0, 1.0)
    told = [surprisal(made, raw + 1e-6) for raw in exponential(5000)]
    assert len(set(told)) > 0.999 * len(told)


def test_beyond_what_was_seen_it_says_so_rises_and_never_ends() -> None:
    made = tail()
    for raw in exponential(5000):
        count(made, min(raw, 3.0), 1.0, 1.0)
    values = (0.5, 3.5, 5.0, 15.9, 40.0)
    assert [resolved(made, value) for value in values] == [True, False, False, False, False]
    told = [surprisal(made, value) for value in values]
    assert told == sorted(told)
    assert len(set(told)) == len(told)
    assert all(math.isfinite(value) for value in [*told, surprisal(made, 1e300), surprisal(made, math.inf)])


def test_without_any_value_larger_is_rarer() -> None:
    told = [surprisal(tail(), value) for value in (0.0, 1.0, 2.0, 8.0)]
    assert told == sorted(told)
    assert told[0] == 0.0


def test_what_is_ordinary_by_definition_makes_the_rest_rarer() -> None:
    noted = Noted(1)
    for raw in exponential(100):
        noted.tell(raw)
    before = surprisal(noted.current()[0], 2.0)
    for _ in range(900):
        noted.tell(ORDINARY)
    assert surprisal(noted.current()[0], 2.0) == pytest.approx(before + 1.0, abs=0.1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1)), max_size=60),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
)
def test_larger_is_never_more_likely(counted: list[tuple[float, float]], one: float, other: float) -> None:
    made = tail()
    for value, weight in counted:
        count(made, value, 1.0, weight)
    low, high = sorted((one, other))
    assert 0.0 < probability(made, high) <= probability(made, low) <= 1.0


class TestTime:
    def shared(self, days: float = 7.0) -> Shared:
        return State(EngineSettings(max_accounts=1, half_life_days=days)).shared

    def count_at(self, shared: Shared, value: float, at_us: float) -> None:
        advance(shared, at_us)
        count(shared.free[0], value, shared.clock[C_FAST], 1.0)

    def test_old_values_fade(self) -> None:
        shared = self.shared()
        for _ in range(1000):
            self.count_at(shared, 10.0, DAY_US)
        for n in range(1000):
            self.count_at(shared, 1.0, 10 * WEEK_US + n)
        assert probability(shared.free[0], 10.0) < 0.01

    def test_years_neither_overflow_nor_change_what_is_told(self) -> None:
        shared = self.shared()
        for year in range(80):
            for raw in exponential(50):
                self.count_at(shared, raw, (year + 1) * 365 * DAY_US)
        assert np.isfinite(shared.free[0]).all()
        assert probability(shared.free[0], 1.0) == pytest.approx(0.1, abs=0.05)

    def test_time_going_back_changes_nothing(self) -> None:
        shared = self.shared()
        self.count_at(shared, 1.0, 9 * DAY_US)
        self.count_at(shared, 1.0, 2 * DAY_US)
        assert shared.clock[C_NOW_US] == 9 * DAY_US
        assert shared.free[0, tails.T_WEIGHT] == 2.0

    def test_a_changed_half_life_keeps_what_weights_are_worth(self) -> None:
        state = State(EngineSettings(max_accounts=1))
        for day in range(1, 30):
            self.count_at(state.shared, 2.0, day * DAY_US)
        before = [probability(state.shared.free[0], value) for value in (1.0, 2.0, 3.0)]
        state.use(EngineSettings(max_accounts=1, half_life_days=1.0))
        assert [probability(state.shared.free[0], value) for value in (1.0, 2.0, 3.0)] == pytest.approx(before)
