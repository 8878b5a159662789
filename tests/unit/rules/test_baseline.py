import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.baseline import calibration
from rules.baseline.layout import FINGERPRINT, LAST_US, WIDTH, Kind
from rules.baseline.state import unlearned_population
from rules.baseline.statistics import CAP, absorb, absorb_all, imprint, recall, tail_surprisal, usual
from rules.baseline.tables import Roster, Table, blank, fingerprint
from rules.errors import CapacityError, StateFormatError
from rules.features.catalogue import FEATURES
from rules.features.frame import Frame
from rules.features.weighing import weigh
from rules.observation import Observation

DAY_US = 86_400_000_000.0
WEEK_US = 7 * DAY_US


def test_records_fit_two_kilobytes() -> None:
    assert max(WIDTH.values()) * 8 <= 2048


class TestCalibration:
    def test_p_values_of_its_own_scores_are_uniform(self) -> None:
        view = blank(Kind.CALIBRATION)
        raws = [-math.log(1.0 - (n * 0.6180339887) % 1.0) for n in range(20_000)]
        for n, raw in enumerate(raws[:10_000]):
            calibration.count(view, raw, n * 1e6, WEEK_US)
        told = [calibration.p_value(view, raw, 1e10, WEEK_US)[0] for raw in raws[10_000:]]
        for level in (0.5, 0.1, 0.01, 0.001):
            assert sum(p <= level for p in told) / len(told) == pytest.approx(level, rel=0.45)

    def test_the_tail_says_so_falls_and_never_ends(self) -> None:
        view = blank(Kind.CALIBRATION)
        for n in range(5000):
            calibration.count(view, (n % 100) / 40.0, n * 1e6, WEEK_US)
        ps = [calibration.p_value(view, raw, 5e9, WEEK_US) for raw in (0.5, 3.0, 10.0, 47.0, 1e6)]
        assert [tail for _, tail in ps] == [False, True, True, True, True]
        assert sorted((p for p, _ in ps), reverse=True) == [p for p, _ in ps]
        assert all(p > 0.0 for p, _ in ps)

    def test_old_scores_fade(self) -> None:
        view = blank(Kind.CALIBRATION)
        for _ in range(1000):
            calibration.count(view, 10.0, 0.0, WEEK_US)
        for n in range(1000):
            calibration.count(view, 1.0, 10 * WEEK_US + n, WEEK_US)
        assert calibration.p_value(view, 10.0, 10 * WEEK_US, WEEK_US)[0] < 0.01

    def test_years_do_not_overflow(self) -> None:
        view = blank(Kind.CALIBRATION)
        for year in range(80):
            calibration.count(view, 1.0, year * 365 * DAY_US, DAY_US)
        assert all(math.isfinite(word) for word in view)
        assert 0.0 < calibration.p_value(view, 1.0, 80 * 365 * DAY_US, DAY_US)[0] <= 1.0

    def test_without_scores_it_is_declared(self) -> None:
        p_value, tail = calibration.p_value(blank(Kind.CALIBRATION), 4.0, 0.0, WEEK_US)
        assert tail
        assert p_value == pytest.approx(0.01)


class TestStatistics:
    @given(st.lists(st.floats(-20, 20), min_size=1, max_size=50), st.floats(0, 0.05))
    def test_one_or_many_learn_the_same(self, values: list[float], rate: float) -> None:
        one, many = blank(Kind.ACCOUNT), blank(Kind.ACCOUNT)
        for value in values:
            absorb(one, 8, value, rate)
            absorb_all(many, [(8, value)], rate)
        assert one.tobytes() == many.tobytes()
        assert many[10] >= 0.0

    @given(st.lists(st.floats(-5, 9), max_size=30), st.floats(-5, 12))
    def test_weighing_is_the_shared_formula(self, values: list[float], size: float) -> None:
        account, population = blank(Kind.ACCOUNT), unlearned_population()
        for value in values:
            absorb(account, 8, value, 0.0)
        told = Observation(event_id="e", kind="withdrawal.requested", occurred_at_us=0, received_at_us=0)
        frame = Frame(told, 0.0, (population, population), "")
        frame.account = account
        weigh(frame, 0, 8, size, 0.2)
        mean, spread = usual(account, population, 8, 0.2)
        assert frame.measured == [(8, size, mean, spread)]
        z = (size - mean) / spread
        expected = 0.0 if z <= 0.3 else tail_surprisal(z)
        assert frame.surprise[0] == pytest.approx(expected)

    def test_shrinks_towards_the_prior(self) -> None:
        account, population = blank(Kind.ACCOUNT), unlearned_population()
        assert usual(account, population, 8, 0.2)[0] == population[9]
        for _ in range(1000):
            absorb(account, 8, 6.0, 0.0)
        assert usual(account, population, 8, 0.2)[0] == pytest.approx(6.0, abs=0.05)

    @given(st.floats(allow_nan=False))
    def test_surprisal_is_bounded(self, z: float) -> None:
        assert 0.0 <= tail_surprisal(z) <= CAP

    def test_the_one_used_longest_ago_is_forgotten(self) -> None:
        view = blank(Kind.ACTOR)
        for key in (1.0, 2.0, 3.0, 1.0, 4.0):
            imprint(view, 64, 3, key)
        assert [recall(view, 64, 3, key) for key in (1.0, 2.0, 3.0, 4.0)] == [True, False, True, True]


class TestTables:
    def test_a_flood_of_strangers_stays_bounded_and_forgets_the_oldest(self) -> None:
        table = Table(Kind.ACTOR, sets=2, ways=2)
        for n in range(1, 101):
            table.view(table.claim(float(2 * n)))[LAST_US] = float(n)
        assert len(list(table.slots())) == 2
        assert [table.find(200.0) >= 0, table.find(198.0) >= 0, table.find(2.0)] == [True, True, -1]

    def test_accounts_are_never_forgotten_but_limited(self) -> None:
        roster = Roster(Kind.ACCOUNT, limit=600)
        for n in range(600):
            roster.view(roster.claim(f"a{n}"))[FINGERPRINT] = float(n)
        assert [roster.view(roster.find(f"a{n}"))[FINGERPRINT] for n in (0, 255, 256, 599)] == [
            0.0,
            255.0,
            256.0,
            599.0,
        ]
        with pytest.raises(CapacityError, match="max_accounts"):
            roster.claim("one more")

    @pytest.mark.parametrize("state", [b"", b"\0" * 8, b"\0" * WIDTH[Kind.ACTOR] * 8])
    def test_foreign_bytes_are_refused(self, state: bytes) -> None:
        with pytest.raises(StateFormatError, match="ACTOR"):
            Table(Kind.ACTOR, sets=2).load("0", state)

    @pytest.mark.parametrize("slot", ["-1", "999999", "x", ""])
    def test_a_slot_that_does_not_exist_is_refused(self, slot: str) -> None:
        with pytest.raises(StateFormatError, match="slot"):
            Table(Kind.ACTOR, sets=2).load(slot, blank(Kind.ACTOR).tobytes())

    def test_fingerprints_are_exact_floats_keyed_by_the_salt(self) -> None:
        one = fingerprint("eip155:1:0xabc", "")
        assert one == int(one)
        assert 0 < one < 2**52
        assert one != fingerprint("eip155:1:0xabc", "salt")


def test_features_are_declared_once_and_described() -> None:
    assert len({feature.name for feature in FEATURES}) == len(FEATURES) >= 30
    assert [feature.index for feature in FEATURES] == list(range(len(FEATURES)))
    assert all(feature.unit and feature.reads and feature.null_when for feature in FEATURES)
