import doctest
import importlib
import math
import pkgutil
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rules
from rules.arrays import F8
from rules.baseline.layout import AMOUNT, FINGERPRINT, WINDOW_VALUES, WINDOWS
from rules.engine import Engine
from rules.errors import CapacityError, EvaluationError, StateFormatError
from rules.event import fingerprint
from rules.features.names import NAMES
from rules.learning import LearningRecord, Operation
from rules.loader import DEFAULT_DIRECTORY, DetectorSet, parse
from rules.observation import Observation
from rules.settings import EngineSettings
from rules.signal import Decision, History, Severity, stronger
from rules.trial import trial
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, SECOND, Desk, fired, observation, run

DETECTORS = shipped()
KINDS = ["withdrawal.requested", "signing.requested", "access.login_failed", "governance.policy_changed", "unheard.of"]


def engine(detectors: DetectorSet | None = None, **settings: object) -> Engine:
    return Engine(msgspec.convert(settings, EngineSettings), detectors if detectors is not None else DETECTORS)


def of(name: str, **changes: str) -> DetectorSet:
    text = (DEFAULT_DIRECTORY / f"{name}.yaml").read_text()
    for old, new in changes.items():
        text = text.replace(f"{old}: ", f"{old}: {new} #", 1)
    return DetectorSet((parse(f"{name}.yaml", text.encode()),), "test")


def account(subject: Engine, name: str) -> F8:
    """The words of an account's record."""
    key = fingerprint(name, subject.settings.salt)
    every = (np.frombuffer(one.state) for one in subject.snapshot() if one.kind == 1)
    return next(words for words in every if words[FINGERPRINT] == key)


def shares(subject: Engine) -> dict[str, float]:
    """Each feature's share of the score of the last event."""
    return dict(zip(NAMES, subject.frame.parts.tolist(), strict=True))


@pytest.mark.parametrize("name", [found.name for found in pkgutil.walk_packages(rules.__path__, "rules.")])
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            Observation,
            event_id=st.just("e"),
            kind=st.sampled_from(KINDS),
            occurred_at_us=st.integers(0, 10**15),
            received_at_us=st.integers(0, 10**15),
            account=st.none() | st.sampled_from(["a", "b"]),
            actor=st.none() | st.sampled_from(["a", "b"]),
            destination=st.none() | st.text(max_size=8),
            asset=st.none() | st.sampled_from(["x", "y"]),
            country=st.none() | st.just("SG"),
            peer_group=st.none() | st.just("g"),
            amount_usd=st.none() | st.floats(0, 1e300),
            amount_units=st.none() | st.floats(0, 1e300),
            balance_usd=st.none() | st.floats(0, 1e300),
            delegatecall=st.none() | st.booleans(),
            counts=st.booleans(),
        ),
        max_size=12,
    )
)
def test_any_observation_gets_a_finite_score_and_finite_state(observations: list[Observation]) -> None:
    subject = engine(DETECTORS)
    for one in observations:
        found, _ = subject.process(one)
        assert math.isfinite(found.score)
        assert found.score >= 0.0
        assert 0.0 < found.p_value <= 1.0
        assert sum(reason.share for reason in found.reasons if reason.detector is None) <= 1.0 + 1e-9
    for change in subject.snapshot():
        if change.kind <= 7:
            assert all(math.isfinite(word) for word in memoryview(change.state).cast("d"))


class TestTime:
    def test_a_clock_ahead_moves_event_time_by_five_minutes_at_most(self) -> None:
        subject = engine()
        ahead = observation("withdrawal.requested", NOW, account="a", amount_usd=1.0)
        subject.process(msgspec.structs.replace(ahead, occurred_at_us=NOW + 10 * DAY))
        later = subject.assess(msgspec.structs.replace(ahead, received_at_us=NOW + HOUR, occurred_at_us=NOW + HOUR))
        values = trial("withdrawal.requested", occurred_at_us=NOW + HOUR, received_at_us=NOW + HOUR)
        assert values["hour_of_week"] == 1.0
        assert later.history is History.NOT_ENOUGH
        (account,) = [change for change in subject.snapshot() if change.kind == 1]
        assert memoryview(account.state).cast("d")[3] == NOW + 300 * SECOND

    def test_event_time_never_goes_back(self) -> None:
        subject = engine()
        for at in (NOW, NOW - DAY, NOW - 2 * DAY):
            subject.process(observation("withdrawal.requested", at, account="a", amount_usd=1.0))
        (account,) = [change for change in subject.snapshot() if change.kind == 1]
        assert memoryview(account.state).cast("d")[3] == NOW


class TestLearning:
    def test_what_alerted_is_skipped_and_history_mode_learns_it(self) -> None:
        attack = observation("signing.requested", NOW, account="a", display_mismatch=True)
        assert engine().process(attack)[1] is Operation.SKIP
        found, operation = engine().process(attack, history=True)
        assert (found.decision, found.signals, found.playbook, operation) == (Decision.ALLOW, (), None, Operation.LEARN)

    def test_an_entity_under_incident_is_remembered_but_not_learned(self) -> None:
        subject = engine()
        one = observation("withdrawal.requested", NOW, account="a", amount_usd=10.0, destination="d")
        assert subject.process(one, frozen=True)[1] is Operation.SKIP
        again = observation("withdrawal.requested", NOW + SECOND, account="a", amount_usd=10.0, destination="d")
        values = {reason.feature: reason.observed for reason in subject.assess(again).reasons}
        assert values.get("destination_new", "yes") == "yes"
        (account,) = [change for change in subject.snapshot() if change.kind == 1]
        words = memoryview(account.state).cast("d")
        assert (words[4], words[5]) == (0.0, 1.0)

    def test_a_transaction_counted_before_changes_nothing(self) -> None:
        subject = engine()
        one = observation("withdrawal.requested", NOW, account="a", amount_usd=10.0)
        subject.process(one)
        before = list(subject.snapshot())
        assert subject.process(msgspec.structs.replace(one, counts=False))[1] is Operation.SKIP
        assert list(subject.snapshot()) == before

    def test_cancelled_leaves_the_value_totals(self) -> None:
        subject = engine()
        subject.process(observation("withdrawal.requested", NOW, account="a", amount_usd=1e6, destination="d"))
        subject.process(observation("withdrawal.cancelled", NOW + SECOND, account="a", amount_usd=1e6))
        assert account(subject, "a")[WINDOW_VALUES : WINDOW_VALUES + WINDOWS].max() == 0.0

    def test_a_flood_of_held_attacks_does_not_calibrate_itself_ordinary(self) -> None:
        desk, subject = Desk(21), engine()
        for one in desk.between(NOW - 3 * DAY, NOW):
            subject.process(one, history=True)
        flood = [
            desk.pay("hot-eth-1", NOW + n * SECOND, amount_usd=9e6, destination=desk.stranger()) for n in range(300)
        ]
        found = run(subject, flood)
        assert found[-1].p_value <= 1e-4
        assert {one.decision for one in found} == {Decision.HOLD}

    def test_a_patient_attacker_moves_the_baseline_slowly(self) -> None:
        desk, subject = Desk(22), engine()
        for one in desk.between(NOW - 5 * DAY, NOW):
            subject.process(one, history=True)
        for n in range(5):
            subject.process(desk.pay("hot-eth-1", NOW + n * DAY, amount_usd=1e9), history=True)
        usual_usd = 10.0 ** account(subject, "main/hot-eth-1")[AMOUNT + 1]
        assert 6_000 < usual_usd < 12_000


class TestDetectors:
    attack = observation("signing.requested", NOW, account="a", display_mismatch=True)

    @pytest.mark.parametrize(
        ("status", "decision", "shadow"),
        [
            ("live", Decision.HOLD, False),
            ("canary\ncanary: 99", Decision.HOLD, False),
            ("shadow", Decision.ALLOW, True),
        ],
    )
    def test_status_bounds_what_it_may_cause(self, status: str, decision: Decision, shadow: bool) -> None:  # noqa: FBT001 -- a table of cases
        found, operation = engine(of("signing-display-mismatch", status=status)).process(self.attack)
        assert found.decision is decision
        assert [signal.shadow for signal in found.signals] == [shadow]
        assert operation is (Operation.LEARN if shadow else Operation.SKIP)

    @pytest.mark.parametrize("status", ["draft", "retired"])
    def test_is_not_evaluated(self, status: str) -> None:
        assert engine(of("signing-display-mismatch", status=status)).assess(self.attack).signals == ()

    @pytest.mark.parametrize(
        ("name", "one", "decision"),
        [
            ("signing-display-mismatch", attack, Decision.HOLD),
            (
                "takeover-new-place",
                observation("access.login_succeeded", NOW, actor="x", country="SG", device="d"),
                Decision.ALERT,
            ),
        ],
    )
    def test_a_broken_rule_is_counted_and_fails_closed(
        self, name: str, one: Observation, decision: Decision, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        detectors = of(name)
        (detector,) = detectors

        def broken(*_: object) -> bool:
            raise EvaluationError("no answer")

        monkeypatch.setattr(detector.expression, "holds", broken)
        found = engine(detectors).assess(one)
        assert found.decision is decision
        assert found.signals[0].error
        assert "broken" in found.signals[0].title
        assert detector.errors == 1

    def test_reasons_name_the_detector_and_both_values(self) -> None:
        (signal,) = engine(of("signing-display-mismatch")).assess(self.attack).signals
        (reason,) = signal.reasons
        assert (reason.feature, reason.observed, reason.detector) == ("display_mismatch", "yes", signal.detector)
        assert "0 %" in reason.usual


class TestUnknown:
    def test_an_amount_nobody_knows_is_a_reason(self) -> None:
        subject = engine()
        for n in range(100):
            subject.process(observation("withdrawal.requested", NOW + n * HOUR, account="a", amount_usd=50.0 + n))
        subject.assess(observation("withdrawal.requested", NOW + 100 * HOUR, account="a", destination="d"))
        assert shares(subject)["unpriced"] > 0.2

    def test_a_missing_price_comes_from_the_asset(self) -> None:
        subject = engine()
        for n in range(100):
            subject.process(observation("withdrawal.requested", NOW + n * HOUR, account="a", asset="eth",
                                        amount_usd=700.0 + n, amount_units=2.0 + n / 350.0))  # fmt: skip
        subject.assess(
            observation("withdrawal.requested", NOW + 101 * HOUR, account="a", asset="eth", amount_units=2e6)
        )
        values = dict(zip(NAMES, subject.frame.values.tolist(), strict=True))
        assert (values["priced_from_asset"], values["amount_usd"]) == (1.0, pytest.approx(7e8, rel=1e-3))
        subject.assess(
            observation("withdrawal.requested", NOW + 101 * HOUR, account="a", asset="eth", amount_units=2.0)
        )
        assert shares(subject)["priced_from_asset"] > 0.05

    def test_a_price_off_by_three_is_a_signal(self) -> None:
        subject = engine()
        for n in range(6):
            subject.process(observation("withdrawal.requested", NOW + n * SECOND, account="a", asset="eth",
                                        amount_usd=700.0, amount_units=2.0))  # fmt: skip
        off = observation("withdrawal.requested", NOW + DAY, account="a", asset="eth", amount_usd=1.0, amount_units=2.0)
        assert fired(subject.assess(off)) == {"price-ratio-off"}

    def test_what_is_never_weighed_is_allowed_with_score_zero(self) -> None:
        found, _ = engine().process(observation("deposit.confirmed", NOW, account="a", asset="eth", amount_usd=1e9))
        assert (found.score, found.decision) == (0.0, Decision.ALLOW)


@pytest.mark.parametrize(("usd", "units"), [(2e-309, 9e14), (1.0, 2e-313), (1e300, 1e-300), (1e308, 1e308), (0.0, 0.0)])
def test_forged_amounts_neither_stop_the_engine_nor_spoil_its_state(usd: float, units: float) -> None:
    subject = engine()
    for n in range(8):
        told = {"amount_usd": usd} if n < 6 else {}
        one = observation("withdrawal.requested", NOW + n * SECOND, account="a", asset="x", amount_units=units, **told)
        assert math.isfinite(subject.process(one, history=True)[0].score)
    for change in subject.snapshot():
        assert all(math.isfinite(word) for word in memoryview(change.state).cast("d"))


class TestBounds:
    def test_more_accounts_than_allowed_are_refused_and_change_nothing(self) -> None:
        subject = engine(max_accounts=2)
        for name in ("a", "b"):
            subject.process(observation("withdrawal.requested", NOW, account=name, amount_usd=1.0))
        before = list(subject.snapshot())
        with pytest.raises(CapacityError, match="max_accounts"):
            subject.process(observation("withdrawal.requested", NOW, account="c", actor="d", amount_usd=1.0))
        assert list(subject.snapshot()) == before
        subject.process(observation("withdrawal.requested", NOW, account="a", amount_usd=1.0))

    def test_a_raised_limit_of_accounts_takes_effect_at_once(self) -> None:
        subject = engine(max_accounts=1)
        subject.process(observation("withdrawal.requested", NOW, account="a", amount_usd=1.0))
        more = EngineSettings(max_accounts=5)
        subject.apply(LearningRecord(subject.sequence + 1, "settings", None, more.encode(), "", ""))
        subject.process(observation("withdrawal.requested", NOW, account="b", amount_usd=1.0))
        assert account(subject, "a")[FINGERPRINT] == fingerprint("a", "")

    @settings(max_examples=30, deadline=None)
    @given(st.floats(0, 1e300), st.integers(0, 10**15), st.integers(0, 10**15))
    def test_one_account_cannot_touch_another(self, usd: float, occurred_at_us: int, received_at_us: int) -> None:
        subject = engine()
        subject.process(observation("withdrawal.requested", NOW, account="quiet", amount_usd=5.0))
        before = account(subject, "quiet").tobytes()
        subject.process(
            Observation(event_id="e", kind="withdrawal.requested", account="loud", amount_usd=usd,
                        occurred_at_us=occurred_at_us, received_at_us=received_at_us)
        )  # fmt: skip
        assert account(subject, "quiet").tobytes() == before


class TestHealth:
    def test_tells_drift_and_what_became_of_the_budget(self) -> None:
        subject = engine(DetectorSet((), "none"), alerts_per_day=20.0, min_scores=100)
        for one in Desk(25).between(NOW - 4 * DAY, NOW):
            subject.process(one)
        health = subject.health()
        money = next(one for one in health.calibrations if one.name == "money")
        assert money.drift_at_10_percent == pytest.approx(1.0, abs=0.35)
        assert next(one for one in health.calibrations if one.name == "signing").drift_at_1_percent is None
        (overall, medium, _) = health.budgets
        assert (overall.asked, medium.asked) == (20.0, None)
        assert overall.realised == pytest.approx(20.0, rel=0.4)


class TestBudgets:
    def _a_day(self, **budgets: float) -> dict[str, float]:
        """Decisions a day over four weeks after four weeks of warming up, with levels that raise far more."""
        levels: dict[str, object] = {
            "alert_p": 0.01,
            "hold_p": 1e-3,
            "alert_floor": 0.0,
            "hold_floor": 0.0,
            "min_scores": 100,
        }
        subject = engine(DetectorSet((), "none"), **levels, alerts_per_day_by_severity=budgets)
        decided: Counter[str] = Counter()
        until = NOW - 3 * DAY  # after that a wallet begins that is busier than all others together
        for one in Desk(25).between(until - 56 * DAY, until):
            decision = subject.process(one)[0].decision.value
            decided[decision] += one.occurred_at_us >= until - 28 * DAY
        return {decision: count / 28.0 for decision, count in decided.items()}

    def test_each_severity_keeps_its_own_and_what_is_over_becomes_weaker_and_not_silent(self) -> None:
        free, holds, alerts = self._a_day(), self._a_day(high=0.25), self._a_day(medium=2.0)
        assert free["hold"] > 0.5
        assert free["alert"] > 4.0
        assert holds["hold"] == pytest.approx(0.25, abs=0.15)
        assert holds["alert"] + holds["hold"] == pytest.approx(free["alert"] + free["hold"], rel=0.05)
        assert alerts["alert"] == pytest.approx(2.0, rel=0.2)
        assert alerts["hold"] == pytest.approx(free["hold"], rel=0.25), "a budget of alerts costs no hold"


class TestState:
    def test_unload_forgets_all(self) -> None:
        subject = engine()
        fresh = list(subject.snapshot())
        subject.process(observation("withdrawal.requested", NOW, account="a", amount_usd=1.0))
        subject.unload_all()
        assert list(subject.snapshot()) == fresh
        assert subject.sequence == 0

    @pytest.mark.parametrize(("entity", "kind"), [("x", 99), ("nonsense", 7), ("population", 6)])
    def test_foreign_records_are_refused(self, entity: str, kind: int) -> None:
        with pytest.raises(StateFormatError):
            engine().load(entity, kind, b"\0" * 64)

    def test_settings_have_a_digest_and_keep_the_salt_out_of_sight(self) -> None:
        one = EngineSettings(salt="a secret")
        assert one.digest() != EngineSettings().digest()
        assert "a secret" not in repr(one)


def test_decisions_and_severities_are_ordered() -> None:
    assert stronger(Decision.ALERT, Decision.HOLD) is stronger(Decision.HOLD, Decision.ALERT) is Decision.HOLD
    assert stronger(Decision.ALLOW, Decision.ALERT) is Decision.ALERT
    assert sorted(Severity, key=lambda one: one.rank) == [
        Severity.LOW,
        Severity.MEDIUM,
        Severity.HIGH,
        Severity.CRITICAL,
    ]
