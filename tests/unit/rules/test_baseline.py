import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.baseline import tables
from rules.baseline.layout import FINGERPRINT, FORMAT, LAST_US, PAYERS, REMEMBERED, WIDTH, Kind
from rules.baseline.statistics import CAP, absorb, imprint, recall, surprisal_above, tail_surprisal, usual
from rules.baseline.tables import ACCOUNTS, ACTORS, ASSETS, DESTINATIONS, FULL, M_LIMIT, NONE, claim, find, start_of
from rules.binding import DIRTY_MOST
from rules.errors import StateFormatError
from rules.event import fingerprint
from rules.features.catalogue import FEATURES
from rules.learning import StateChange
from rules.settings import EngineSettings
from rules.state import State


def state() -> State:
    return State(EngineSettings(max_accounts=600))


def keys(count: int, at: int = 1) -> list[float]:
    return [float(at + (n << 20)) for n in range(count)]


def test_records_of_entities_fit_two_kilobytes() -> None:
    assert max(WIDTH.values()) * 8 <= 2048


class TestStatistics:
    @settings(deadline=None)
    @given(st.lists(st.floats(-20, 20), min_size=1, max_size=50), st.floats(0, 0.05))
    def test_learning_keeps_a_variance_and_a_mean_within_what_was_seen(self, values: list[float], rate: float) -> None:
        view = np.zeros(16)
        for value in values:
            absorb(view, 8, value, rate)
        assert view[8] == len(values)
        assert min(values) - 1e-9 <= view[9] <= max(values) + 1e-9
        assert 0.0 <= view[10] <= (max(values) - min(values)) ** 2 + 1e-9

    def test_shrinks_towards_the_prior(self) -> None:
        account, population = np.zeros(256), state().shared.population
        assert usual(account, population, 16, 16, 0.2)[0] == population[17]
        for _ in range(1000):
            absorb(account, 16, 6.0, 0.0)
        assert usual(account, population, 16, 16, 0.2)[0] == pytest.approx(6.0, abs=0.05)

    @settings(deadline=None)
    @given(st.floats(allow_nan=False))
    def test_surprisal_is_bounded(self, z: float) -> None:
        assert 0.0 <= tail_surprisal(z) <= CAP

    @settings(deadline=None)
    @given(st.floats(0.0, 7.6), st.floats(0.0, 7.6))
    def test_surprisal_rises_and_is_what_the_formula_gives(self, one: float, other: float) -> None:
        low, high = sorted((one, other))
        assert tail_surprisal(low) <= tail_surprisal(high)
        logistic = math.pi / math.sqrt(3.0)
        assert tail_surprisal(one) == pytest.approx(math.log10(1.0 + math.exp(logistic * one)), abs=2e-5)

    @pytest.mark.parametrize("size", [-5.0, 0.0, 0.59, math.nan])
    def test_a_size_within_what_is_ordinary_is_no_surprise(self, size: float) -> None:
        assert surprisal_above(size, 0.0, 4.0) == 0.0

    def test_a_size_above_it_is_one(self) -> None:
        assert surprisal_above(0.61, 0.0, 4.0) == tail_surprisal(0.305)
        assert surprisal_above(math.inf, 0.0, 4.0) == CAP

    def test_the_one_used_longest_ago_is_forgotten(self) -> None:
        view = np.zeros(128)
        for key in (1.0, 2.0, 3.0, 1.0, 4.0):
            imprint(view, 64, 3, key)
        assert [recall(view, 64, 3, key) for key in (1.0, 2.0, 3.0, 4.0)] == [True, False, True, True]


class TestPools:
    def test_a_flood_of_strangers_stays_bounded_and_forgets_the_oldest(self) -> None:
        subject = state()
        for n, key in enumerate(keys(100)):
            start = start_of(subject.places, ACTORS, claim(subject.places, ACTORS, key, 0.0))
            subject.arena[start + LAST_US] = float(n)
        found = [find(subject.places, ACTORS, key) for key in keys(100)]
        assert sum(slot != NONE for slot in found) == tables.WAYS
        assert NONE not in found[-tables.WAYS :]

    def test_what_was_seen_again_outlives_what_was_seen_once(self) -> None:
        subject = state()
        regular, *strangers = keys(50)
        start = start_of(subject.places, ACTORS, claim(subject.places, ACTORS, regular, 0.0))
        subject.arena[start + REMEMBERED] = 2.0
        for n, key in enumerate(strangers, 1):
            other = start_of(subject.places, ACTORS, claim(subject.places, ACTORS, key, 0.0))
            subject.arena[other + LAST_US], subject.arena[other + REMEMBERED] = float(n), 1.0
        assert find(subject.places, ACTORS, regular) != NONE

    def test_a_flooding_account_gives_up_its_own_destinations_first(self) -> None:
        subject = state()
        of_others, *flood = keys(1000)

        def pay(key: float, payer: float, at: float) -> None:
            start = start_of(subject.places, DESTINATIONS, claim(subject.places, DESTINATIONS, key, payer))
            subject.arena[start + PAYERS], subject.arena[start + REMEMBERED] = payer, 1.0
            subject.arena[start + LAST_US] = at

        pay(of_others, 77.0, 1.0)
        for n, key in enumerate(flood, 2):
            pay(key, 99.0, float(n))
        assert find(subject.places, DESTINATIONS, of_others) != NONE

    def test_accounts_are_never_forgotten_but_limited(self) -> None:
        subject = state()
        for key in keys(600):
            assert claim(subject.places, ACCOUNTS, key, 0.0) >= 0
        assert sorted(find(subject.places, ACCOUNTS, key) for key in keys(600)) == list(range(600))
        assert claim(subject.places, ACCOUNTS, 5.0, 0.0) == FULL

    def test_a_raised_limit_keeps_every_record(self) -> None:
        subject = state()
        for key in keys(600):
            slot = claim(subject.places, ACCOUNTS, key, 0.0)
            subject.record(ACCOUNTS, slot)[LAST_US] = key
        claim(subject.places, ASSETS, 9.0, 0.0)
        before = list(subject.snapshot())
        subject.use(EngineSettings(max_accounts=5000))
        assert list(subject.snapshot()) == before
        assert [subject.record(ACCOUNTS, find(subject.places, ACCOUNTS, key))[LAST_US] for key in keys(600)] == keys(
            600
        )
        assert claim(subject.places, ACCOUNTS, 5.0, 0.0) == 600

    def test_a_new_record_in_an_old_place_begins_empty(self) -> None:
        subject = state()
        for key in keys(9):
            start = start_of(subject.places, ACTORS, claim(subject.places, ACTORS, key, 0.0))
            assert subject.arena[start + REMEMBERED] == 0.0
            assert subject.arena[start + FINGERPRINT] == key
            subject.arena[start + REMEMBERED] = 5.0

    def test_fingerprints_are_exact_floats_keyed_by_the_salt(self) -> None:
        one = fingerprint("eip155:1:0xabc", "")
        assert one == int(one)
        assert 0 < one < 2**52
        assert one != fingerprint("eip155:1:0xabc", "salt")


class TestStored:
    @pytest.mark.parametrize("stored", [b"", b"\0" * 8, b"\0" * WIDTH[Kind.ACTOR] * 8])
    def test_foreign_bytes_are_refused(self, stored: bytes) -> None:
        with pytest.raises(StateFormatError, match="ACTOR"):
            state().load("0", Kind.ACTOR, stored)

    @pytest.mark.parametrize("slot", ["-1", "999999999", "x", "", "\u0663", "600"])
    def test_a_slot_that_does_not_exist_is_refused(self, slot: str) -> None:
        with pytest.raises(StateFormatError, match="slot"):
            state().load(slot, Kind.ACCOUNT, self.record(Kind.ACCOUNT, 4.0))

    def test_one_entity_in_two_slots_is_refused(self) -> None:
        subject = state()
        subject.load("0", Kind.ACCOUNT, self.record(Kind.ACCOUNT, 4.0))
        with pytest.raises(StateFormatError, match="repeats"):
            subject.load("1", Kind.ACCOUNT, self.record(Kind.ACCOUNT, 4.0))
        with pytest.raises(StateFormatError, match="taken"):
            subject.load("0", Kind.ACCOUNT, self.record(Kind.ACCOUNT, 5.0))

    def test_more_notes_than_fit_count_everything_as_changed(self) -> None:
        subject = state()
        for key in keys(600):
            claim(subject.places, ACCOUNTS, key, 0.0)
        subject.take()
        for _ in range(len(subject.places.dirty) + 1):
            tables.touch(subject.places, ACCOUNTS, 3)
        assert sum(change.kind == Kind.ACCOUNT for change in subject.take()) == 600
        tables.touch(subject.places, ACCOUNTS, 3)
        assert [change.entity for change in subject.take()] == ["3"]

    def test_some_changed_records_are_taken_and_the_rest_is_taken_later(self) -> None:
        subject = state()
        for key in keys(5):
            claim(subject.places, ACCOUNTS, key, 0.0)
            claim(subject.places, DESTINATIONS, key, 0.0)
        subject.take()
        for slot in (4, 1, 3):
            tables.touch(subject.places, ACCOUNTS, slot)
        tables.touch(subject.places, DESTINATIONS, 2)
        taken = [(change.kind, change.entity) for change in subject.take_records(2)]
        assert taken == [(Kind.ACCOUNT, "1"), (Kind.ACCOUNT, "3")]
        tables.touch(subject.places, ACCOUNTS, 0)
        taken = [(change.kind, change.entity) for change in subject.take_records(9)]
        assert taken == [(Kind.ACCOUNT, "0"), (Kind.ACCOUNT, "4"), (Kind.DESTINATION, "2")]
        assert subject.take_records(9) == []

    @pytest.mark.parametrize("folded", [False, True])
    def test_what_changed_is_known_after_the_limit_was_raised(self, folded: bool) -> None:  # noqa: FBT001 -- a table of cases
        subject = state()
        for key in keys(5):
            claim(subject.places, ACCOUNTS, key, 0.0)
            claim(subject.places, DESTINATIONS, key, 0.0)
        subject.take()
        tables.touch(subject.places, ACCOUNTS, 3)
        tables.touch(subject.places, DESTINATIONS, 4)
        if folded:
            subject.fold()
        subject.use(EngineSettings(max_accounts=5000))
        taken = [(change.kind, change.entity) for change in subject.take_records(9)]
        assert taken == [(Kind.ACCOUNT, "3"), (Kind.DESTINATION, "4")]

    def test_the_limit_may_be_lowered_below_what_is_used_and_raised_again(self) -> None:
        subject = state()
        for key in keys(500):
            claim(subject.places, ACCOUNTS, key, 0.0)
        claim(subject.places, DESTINATIONS, 7.0, 0.0)
        before = list(subject.snapshot())
        for most in (10, 400, 600, 700):
            subject.use(EngineSettings(max_accounts=most))
            assert list(subject.snapshot()) == before
        taken = [(change.kind, change.entity) for change in subject.take_records(1000)]
        assert taken == [*((Kind.ACCOUNT, str(slot)) for slot in range(500)), (Kind.DESTINATION, "0")]

    def test_too_many_notes_of_changes_count_as_a_change_of_everything(self) -> None:
        subject = state()
        for key in keys(3):
            claim(subject.places, ACCOUNTS, key, 0.0)
            claim(subject.places, DESTINATIONS, key, 0.0)
        subject.take()
        for _ in range(DIRTY_MOST + 1):
            tables.touch(subject.places, ACCOUNTS, 1)
        taken = [(change.kind, change.entity) for change in subject.take_records(9)]
        assert taken == [(kind, str(slot)) for kind in (Kind.ACCOUNT, Kind.DESTINATION) for slot in range(3)]

    @staticmethod
    def record(kind: Kind, key: float) -> bytes:
        words = np.zeros(WIDTH[kind])
        words[FORMAT], words[FINGERPRINT] = tables.format_word(kind), key
        return words.tobytes()

    def test_bytes_survive(self) -> None:
        one, other = state(), state()
        stored = self.record(Kind.ACCOUNT, 4.0)
        one.load("7", Kind.ACCOUNT, stored)
        for change in one.snapshot():
            other.load(change.entity, change.kind, change.state)
        assert StateChange(Kind.ACCOUNT, "7", stored) in list(other.snapshot())
        assert find(other.places, ACCOUNTS, 4.0) == 7
        assert other.places.meta[ACCOUNTS, M_LIMIT] == 600


def test_features_are_declared_once_and_described() -> None:
    assert len({feature.name for feature in FEATURES}) == len(FEATURES) >= 30
    assert [feature.index for feature in FEATURES] == list(range(len(FEATURES)))
    assert all(feature.unit and feature.reads and feature.null_when for feature in FEATURES)
    assert all(math.isfinite(feature.weight) for feature in FEATURES)
