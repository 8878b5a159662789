"""The marks of bench/detection, on cases that can be worked out by hand or counted slowly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.marks import Labelled, Ranked, book_weeks, card_precision, intervals, label_free, weekly_rates
from bench.traffic import WORLDS, make, poisoned

SCORES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)


def labelled(fraud: list[bool], scenario: int = 3) -> Labelled:
    count = len(fraud)
    return Labelled(np.arange(count), np.zeros(count, np.int64), np.where(fraud, scenario, 0))


@given(SCORES)
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([float(score) for score, _ in pairs])
    fraud = np.array([bad for _, bad in pairs])
    if fraud.all() or not fraud.any():
        return
    wins = [(a > b) + 0.5 * (a == b) for a in scores[fraud] for b in scores[~fraud]]
    assert Ranked(scores).auc(fraud, np.ones(len(scores))) == pytest.approx(np.mean(wins))


@given(SCORES, st.sampled_from([0.0, 0.1, 0.34]))
def test_recall_counts_what_stands_above_the_allowed_share_of_genuine_ones(
    pairs: list[tuple[int, bool]], rate: float
) -> None:
    scores = np.array([float(score) for score, _ in pairs])
    fraud = np.array([bad for _, bad in pairs])
    if fraud.all() or not fraud.any():
        return
    genuine = np.sort(scores[~fraud])[::-1]
    level = genuine[np.flatnonzero(np.arange(1, len(genuine) + 1) > rate * len(genuine))[0]]
    expected = float(np.mean(scores[fraud] > level))
    assert Ranked(scores).recalls(fraud, ~fraud, np.ones(len(scores)), (rate,)) == [pytest.approx(expected)]


def test_weights_are_repetitions() -> None:
    scores, fraud = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), [True, False, True, False, False]
    weight = np.array([1, 2, 0, 3, 1])
    repeated = np.repeat(np.arange(5), weight)
    expected = label_free(labelled([fraud[at] for at in repeated]), scores[repeated])
    assert label_free(labelled(fraud), scores, weight.astype(np.float64)) == pytest.approx(expected)


def test_intervals_hold_the_mark_and_narrow_with_more_accounts() -> None:
    chance = np.random.default_rng(5)
    widths = []
    for accounts in (50, 800):
        account = np.repeat(np.arange(accounts), 20)
        scenario = np.where(chance.random(len(account)) < 0.1, 3, 0)
        scores = chance.normal(size=len(account)) + 2.0 * (scenario > 0)
        data = Labelled(account, np.zeros(len(account), np.int64), scenario)
        low, high = intervals(data, scores, 1, 60)["auc"]
        assert low < label_free(data, scores)["auc"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_card_precision_looks_at_a_caught_card_once() -> None:
    data = Labelled(np.array([1, 2, 3, 1, 2, 3]), np.array([0, 0, 0, 1, 1, 1]), np.array([3, 0, 0, 3, 3, 0]))
    scores = np.array([9.0, 5.0, 1.0, 9.0, 5.0, 1.0])
    assert card_precision(data, scores, top=1) == pytest.approx((1 + 1) / 2)
    assert card_precision(data, scores, top=2) == pytest.approx((0.5 + 0.5) / 2)


def test_cards_known_to_be_compromised_are_left_out() -> None:
    day = np.repeat(np.arange(30), 2)
    account = np.tile(np.array([7, 8]), 30)
    scenario = np.where((account == 7) & ((day == 3) | (day >= 16)), 3, 0)
    scenario[(account == 8) & (day == 17)] = 3
    weeks = list(book_weeks(Labelled(account, day, scenario), np.linspace(0, 1, 60), first=16))
    assert [week.start for week in weeks] == [16, 23]
    assert weeks[0].payments == 7, "card 7 had a fraud in the training days; only card 8 is left"


def test_rates_are_told_of_whole_weeks_from_the_fifth() -> None:
    day = np.repeat(np.arange(45), 10)
    alerted = np.tile(np.arange(10) < 3, 45)
    assert weekly_rates(day, alerted, 2.0) == [pytest.approx(1.5), pytest.approx(1.5)]


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_made_payments_follow_their_world_and_their_seed(world: object) -> None:
    made, again = make(world, 3, accounts=200, days=40), make(world, 3, accounts=200, days=40)  # type: ignore[arg-type]  # parametrised
    assert np.array_equal(made.amount, again.amount)
    assert (np.diff(made.at_us) >= 0).all()
    assert (made.amount > 0).all()
    assert 0.0005 < np.mean(made.scenario > 0) < 0.2


def test_attackers_creep_and_hide() -> None:
    clean = make(WORLDS[0], 3, accounts=200, days=60)
    for how in ("creeping", "hidden"):
        attacked, attackers, first = poisoned(clean, how, 1, attackers=10)
        theirs = np.isin(attacked.account, attackers) & (attacked.scenario == 4)
        assert set(attacked.account[theirs]) <= set(attackers.tolist())
        assert attacked.day[theirs].min() >= first
        genuine = clean.part(clean.scenario == 0)
        times = attacked.amount[theirs] / genuine.amount[theirs]
        assert times.max() == pytest.approx(1.1**28 if how == "creeping" else 5.0, rel=0.2)
