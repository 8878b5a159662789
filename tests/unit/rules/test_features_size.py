"""The model of amounts: shrinkage, clipping, drift, the population's view."""

import math
import random

import pytest

from rules.features.frame import N_ANY_HABIT, N_CLIPPED_USD, N_MEAN_USD, N_OWN_HABIT, N_OWN_Z
from tests.unit.rules.scenario import DAY, HOUR, NOW
from tests.unit.rules.watch import Watch


def desk(accounts: int = 20, payments: int = 30, seed: int = 5) -> Watch:
    """Accounts whose usual amounts differ by a factor of up to thirty."""
    subject, chance = Watch(NOW), random.Random(seed)  # noqa: S311 -- synthetic traffic
    print(f"traffic seed {seed}")  # noqa: T201 -- a failing run must be repeatable
    for n in range(accounts * payments):
        usual = 10.0 ** (1.5 + 1.5 * (n % accounts) / accounts)
        subject.pay(usual * chance.gammavariate(4.0, 0.25), HOUR // 4, account=f"a{n % accounts}")
    return subject


def z(subject: Watch) -> float:
    return float(subject.engine.frame.now[N_OWN_Z])


def test_the_same_amount_is_odd_for_one_account_and_usual_for_another() -> None:
    subject = desk()
    assert z(subject.pay(700.0, HOUR, account="a0")) > 5.0
    assert abs(z(subject.pay(700.0, HOUR, account="a19"))) < 2.0


def test_a_new_account_is_judged_by_everybody_at_once() -> None:
    subject = desk()
    assert abs(z(subject.pay(200.0, HOUR, account="new-1"))) < 2.0
    assert z(subject.pay(50_000.0, HOUR, account="new-2")) > 5.0
    assert subject["amount_usd"].surprise > 0.5
    assert subject["account_learned"].value == 0.0


def test_a_range_that_a_person_understands() -> None:
    found = desk().pay(18_000.0, HOUR, account="a0")["amount_usd"]
    assert 5.0 < found.low < 32.0 < found.high < 300.0
    assert found.surprise > 2.0


def test_the_population_is_told_its_own_range() -> None:
    found = desk().pay(18_000.0, HOUR, account="a0")["amount_population"]
    assert found.value == 18_000.0
    assert found.low < 100.0 < found.high < 5_000.0


def test_one_payment_moves_the_mean_by_little() -> None:
    subject = desk().pay(1.0, HOUR, account="a0")
    before = float(subject.engine.frame.now[N_MEAN_USD])
    subject.pay(1e9, HOUR, account="a0")
    assert subject.engine.frame.now[N_CLIPPED_USD] < 10.0 * before
    subject.pay(1.0, HOUR, account="a0")
    assert subject.engine.frame.now[N_MEAN_USD] < 1.5 * before


def test_patient_growth_shows_as_drift() -> None:
    subject, usd = desk(10, 100), 30.0
    calm = subject.pay(usd, DAY, account="a0")["amount_drift"]
    for _ in range(40):
        usd *= 1.05
        subject.pay(usd, DAY, account="a0")
    assert calm.surprise < 1.0
    assert subject["amount_drift"].surprise > 2.0
    assert (calm.low, calm.high) == (-1.645, 1.645)


def test_who_always_pays_the_same_is_not_surprised_by_a_fee() -> None:
    subject = Watch(NOW)
    for _ in range(100):
        subject.pay(1000.0, HOUR)
    assert z(subject.pay(1010.0, HOUR)) < 0.5
    assert z(subject.pay(0.0, HOUR)) > -30.0


def test_what_a_destination_is_known_to_receive_is_no_evidence() -> None:
    subject = Watch(NOW)
    for _ in range(3):
        subject.pay(1e6, 5 * DAY, destination="treasury")
    for _ in range(50):
        subject.pay(10.0, HOUR, destination="shop")
    subject.pay(1e6, HOUR, destination="treasury")
    assert math.isnan(z(subject))
    assert subject["amount_usd"].surprise == 0.0


@pytest.mark.parametrize("usd", [0.0, 5e-324, 1e-9, 1e18, 1e300])
def test_forged_amounts_stay_finite(usd: float) -> None:
    subject = desk(2, 5)
    for _ in range(3):
        assert math.isfinite(z(subject.pay(usd, HOUR, account="a0")))
    assert math.isfinite(z(subject.pay(10.0, HOUR, account="a0")))


def habits(subject: Watch) -> tuple[float, float]:
    """The most that the last amount may be surprising for the account, and anywhere; NaN where it is no habit."""
    now = subject.engine.frame.now
    return float(now[N_OWN_HABIT]), float(now[N_ANY_HABIT])


def trader(weeks: int) -> Watch:
    """Small payments every six hours, each fourth of them six times as large."""
    subject = Watch(NOW)
    for n in range(28 * weeks):
        subject.pay(600.0 if n % 4 == 3 else 100.0 + n % 7, 6 * HOUR)
    return subject


def test_what_an_account_often_pays_is_not_surprising_anywhere() -> None:
    assert math.isnan(habits(trader(0).pay(600.0, HOUR))[1])
    own, anywhere = habits(trader(12).pay(590.0, HOUR))
    assert own < 1.5
    assert anywhere <= own
    assert habits(trader(12).pay(110.0, HOUR))[1] < 0.5
    assert all(math.isnan(cap) for cap in habits(trader(12).pay(2_000.0, HOUR)))


def test_a_spell_does_not_vouch_for_itself() -> None:
    subject = trader(4)
    for _ in range(20):
        subject.pay(5_000.0, HOUR)
    assert math.isnan(habits(subject.pay(5_000.0, HOUR))[1])


def test_an_amount_off_the_scale_is_never_a_habit() -> None:
    subject = trader(8)
    for _ in range(3):
        subject.pay(1e12, HOUR)
        assert all(math.isnan(cap) for cap in habits(subject))
    assert all(math.isnan(cap) for cap in habits(subject.pay(1e17, HOUR)))
    assert math.isfinite(z(subject.pay(100.0, HOUR)))
