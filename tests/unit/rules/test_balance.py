"""The balance last told: usable when none is told, moved by what comes and goes, never mistaken for certainty."""

import math
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.baseline.layout import BALANCE_SLOTS, BALANCES, Kind
from rules.engine import Engine
from rules.features.amount import SHARE_OF_BALANCE
from rules.features.balance import LEFT_USD, TOLD_USD
from rules.observation import Observation
from rules.settings import EngineSettings
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, observation

TIMES = count(NOW + HOUR, 1)


def engine() -> Engine:
    return Engine(EngineSettings(), shipped())


def pay(usd: float, *, kind: str = "withdrawal.requested", at: int | None = None, **fields: object) -> Observation:
    told = {"account": "a", "asset": "eth", "amount_usd": usd, "destination": "d", **fields}
    return observation(kind, next(TIMES) if at is None else at, **told)


def share(subject: Engine, one: Observation) -> float:
    """The share of balance that the engine's records give an activity."""
    subject.assess(one)
    return float(subject.frame.values[SHARE_OF_BALANCE])


def teach(*steps: Observation) -> Engine:
    subject = engine()
    for one in steps:
        subject.process(one, history=True)
    return subject


def test_a_share_is_told_of_the_balance_last_told_and_says_so() -> None:
    subject = teach(*[pay(1_000.0, balance_usd=21_200_000.0) for _ in range(40)])
    found = subject.assess(pay(3_200_000.0, destination="thief"))
    (signal,) = [one for one in found.signals if one.detector == "drain-large-share"]
    (reason,) = [one for one in signal.reasons if one.feature == "share_of_balance"]
    assert reason.observed.startswith("15.1 % of about 21,199,000 USD, as last told")
    told = subject.assess(pay(3_200_000.0, destination="thief", balance_usd=21_200_000.0))
    assert not [one for one in told.reasons if "last told" in one.observed]


def test_it_moves_with_outflows_and_deposits() -> None:
    subject = teach(pay(100.0, balance_usd=1_000.0), pay(200.0))
    assert share(subject, pay(70.0)) == pytest.approx(0.1)
    subject.process(pay(300.0, kind="deposit.confirmed", destination=None))
    assert share(subject, pay(100.0)) == pytest.approx(0.1)
    subject.process(pay(100.0, kind="withdrawal.cancelled"))
    assert share(subject, pay(110.0)) == pytest.approx(0.1)


def test_a_balance_told_with_a_deposit_is_believed() -> None:
    subject = teach(pay(1.0, balance_usd=10.0), pay(5.0, kind="deposit.confirmed", destination=None, balance_usd=500.0))
    assert share(subject, pay(50.0)) == pytest.approx(0.1)


def test_refills_nobody_told_of_do_not_turn_a_usual_payment_into_all_of_it() -> None:
    subject = teach(pay(1.0, balance_usd=1_000.0), *[pay(90.0) for _ in range(50)])
    assert share(subject, pay(90.0)) == pytest.approx(0.18)


@pytest.mark.parametrize(("days", "known"), [(29, True), (31, False)])
def test_it_is_usable_for_thirty_days(days: int, known: bool) -> None:  # noqa: FBT001 -- a table of cases
    at = next(TIMES)
    subject = teach(pay(1.0, balance_usd=1_000.0, at=at))
    assert math.isnan(share(subject, pay(1.0, at=at + days * DAY))) is not known


def test_one_asset_says_nothing_about_another() -> None:
    subject = teach(pay(1.0, asset="small-token", balance_usd=10.0), pay(1.0, balance_usd=1e6))
    assert share(subject, pay(1e5)) == pytest.approx(0.1, rel=1e-5)
    assert math.isnan(share(subject, pay(1e5, asset="never-told")))


def test_the_asset_told_longest_ago_makes_room() -> None:
    subject = teach(*[pay(1.0, asset=f"t{n}", balance_usd=100.0) for n in range(BALANCE_SLOTS + 1)])
    assert math.isnan(share(subject, pay(1.0, asset="t0")))
    assert not math.isnan(share(subject, pay(1.0, asset=f"t{BALANCE_SLOTS}")))


def test_what_alerted_left_all_the_same() -> None:
    subject = teach(*[pay(1_000.0, balance_usd=1e6) for _ in range(40)])
    subject.process(pay(400_000.0, destination="thief"))
    assert share(subject, pay(59_900.0)) == pytest.approx(0.1)


def test_an_account_never_heard_of_gets_no_balance_from_a_deposit() -> None:
    subject = engine()
    subject.process(pay(5.0, kind="deposit.confirmed", destination=None, balance_usd=500.0))
    assert not [change for change in subject.snapshot() if change.kind == Kind.ACCOUNT]


@pytest.mark.repeats
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["withdrawal.requested", "withdrawal.failed", "deposit.confirmed"]),
                          st.none() | st.floats(0, 1e308), st.none() | st.floats(0, 1e308)), max_size=12))  # fmt: skip
def test_forged_numbers_keep_it_finite_and_ordered(events: list[tuple[str, float | None, float | None]]) -> None:
    subject = engine()
    for kind, usd, balance in [("withdrawal.requested", 1.0, 1.0), *events]:
        subject.process(pay(1.0, kind=kind) if usd is None else pay(usd, kind=kind, balance_usd=balance))
    (account,) = [change for change in subject.snapshot() if change.kind == Kind.ACCOUNT]
    words = memoryview(account.state).cast("d")
    for slot in range(BALANCES, BALANCES + 4 * BALANCE_SLOTS, 4):
        assert 0.0 <= words[slot + LEFT_USD] <= words[slot + TOLD_USD] <= 1e18
