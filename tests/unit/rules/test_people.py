"""What people tell the engine: suppressions and verdicts."""

from typing import ClassVar

import msgspec
import pytest

from rules.engine import Engine
from rules.errors import LearningRecordError
from rules.learning import LearningRecord, Operation
from rules.loader import DetectorSet
from rules.settings import EngineSettings
from rules.signal import Decision
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, Desk, observation

DETECTORS = shipped()


def engine(detectors: DetectorSet | None = None, **settings: object) -> Engine:
    return Engine(msgspec.convert(settings, EngineSettings), detectors if detectors is not None else DETECTORS)


def control(subject: Engine, kind: str, **payload: object) -> None:
    """Apply a row of the learning sequence."""
    subject.apply(LearningRecord(subject.sequence + 1, kind, None, msgspec.json.encode(payload), "", ""))


class TestSuppressions:
    attack = observation("signing.requested", NOW, account="a", display_mismatch=True)
    row: ClassVar[dict[str, object]] = {
        "id": "s1",
        "entity": "account:a",
        "owner": "ann",
        "reason": "known",
        "until_us": NOW + DAY,
    }

    def test_a_suppressed_finding_is_told_decides_nothing_and_comes_back(self) -> None:
        subject = engine()
        control(subject, "suppression", **self.row, detector="signing-display-mismatch")
        found, operation = subject.process(self.attack)
        assert (found.decision, operation) == (Decision.ALLOW, Operation.LEARN)
        assert [signal.silenced for signal in found.signals] == ["suppression s1 of ann: known"]
        later = msgspec.structs.replace(self.attack, occurred_at_us=NOW + DAY, received_at_us=NOW + DAY)
        assert subject.assess(later).decision is Decision.HOLD
        held_back = msgspec.structs.replace(self.attack, received_at_us=NOW + DAY)
        assert subject.assess(held_back).decision is Decision.HOLD, "an old event time prolongs nothing"
        other = msgspec.structs.replace(self.attack, account="b")
        assert subject.assess(other).decision is Decision.HOLD
        control(subject, "suppression_lifted", id="s1")
        assert subject.assess(self.attack).decision is Decision.HOLD

    def test_a_suppressed_score_decides_nothing(self) -> None:
        desk, subject = Desk(23), engine(DetectorSet((), "none"))
        for one in desk.between(NOW - 3 * DAY, NOW):
            subject.process(one, history=True)
        odd = desk.pay("hot-eth-1", NOW, amount_usd=9e9)
        assert subject.assess(odd).decision is not Decision.ALLOW
        control(subject, "suppression", **{**self.row, "entity": "account:main/hot-eth-1"})
        found, operation = subject.process(odd)
        assert (found.decision, operation) == (Decision.ALLOW, Operation.LEARN)
        assert found.silenced == "suppression s1 of ann: known"

    def test_survives_a_restart(self) -> None:
        one, other = engine(), engine()
        control(one, "suppression", **self.row, detector="signing-display-mismatch")
        for change in one.take_changes():
            other.load(change.entity, change.kind, change.state)
        assert other.assess(self.attack).decision is Decision.ALLOW

    def test_a_sort_that_rows_do_not_hold_is_refused(self) -> None:
        with pytest.raises(LearningRecordError, match="account:ID"):
            control(engine(), "suppression", **{**self.row, "entity": "ip:203.0.113.7"})


class TestVerdicts:
    def test_bad_verdicts_make_the_same_destination_worse(self) -> None:
        desk, subject = Desk(24), engine(DetectorSet((), "none"))
        for one in desk.between(NOW - 2 * DAY, NOW):
            subject.process(one, history=True)
        told = [desk.pay("hot-eth-1", NOW + n * HOUR, destination="venue") for n in range(12)]
        for one in told:
            subject.process(one, history=True)
        before = subject.assess(desk.pay("hot-eth-1", NOW + DAY, destination="venue"))
        for one in told:
            control(subject, "verdict", verdict="true_positive", account=one.account, destination="venue",
                    occurred_at_us=one.occurred_at_us, score=1.0)  # fmt: skip
        after = subject.assess(desk.pay("hot-eth-1", NOW + DAY, destination="venue"))
        assert after.score > before.score + 0.5
        reason = {reason.feature: reason for reason in after.reasons}["reputation_destination"]
        assert reason.usual == "0 %"
        assert float(reason.observed.removesuffix(" %")) > 1.0

    @pytest.mark.parametrize("judged", [[1.0], [float("1e308")] * 5])
    def test_a_verdict_that_does_not_fit_is_refused(self, judged: list[float]) -> None:
        with pytest.raises(LearningRecordError, match="judged"):
            control(engine(), "verdict", verdict="true_positive", account="a", occurred_at_us=NOW, judged=judged)
