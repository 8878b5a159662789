"""What people tell the engine: suppressions and verdicts."""

from typing import ClassVar

import msgspec
import pytest

from rules.baseline.layout import Kind
from rules.engine import Engine
from rules.errors import CapacityError, LearningRecordError
from rules.fusion import JUDGED_WORDS
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

    @pytest.mark.parametrize(
        "entity",
        [
            "ip:203.0.113.7",
            "network:203.0.113.7",
            "network:10.0.0.0/8",
            "network:203.0.113.7/24",
            "network:2001:db8::/32",
            "network:AS64500",
            "network:as064500",
            "network:as4294967296",
            "network:as",
            "network:",
            "network:" + "f" * 5000,
            "network:somewhere",
        ],
    )
    def test_a_sort_that_rows_do_not_hold_is_refused(self, entity: str) -> None:
        with pytest.raises(LearningRecordError, match=r"account:ID.* or network: and asN, or a block"):
            control(engine(), "suppression", **{**self.row, "entity": entity})

    @pytest.mark.parametrize(
        ("entity", "covered"),
        [
            ("network:as64500", {"system", "both"}),
            ("network:203.0.113.0/24", {"block", "both"}),
            ("network:as6450", set()),
            ("network:203.0.112.0/24", set()),
            ("network:2001:db8:1::/48", {"sixth"}),
        ],
    )
    def test_a_network_is_suppressed_by_its_system_or_by_its_block(self, entity: str, covered: set[str]) -> None:
        """A block means every address in it, whether or not the system is told with it."""
        places: dict[str, dict[str, object]] = {
            "system": {"asn": 64_500},
            "block": {"ip": "203.0.113.77"},
            "both": {"asn": 64_500, "ip": "203.0.113.7"},
            "sixth": {"ip": "2001:db8:1:2::3"},
            "nowhere": {},
        }
        subject = engine()
        control(subject, "suppression", **{**self.row, "entity": entity}, detector="signing-display-mismatch")
        found = {
            name
            for name, place in places.items()
            if subject.assess(msgspec.structs.replace(self.attack, **place)).decision is Decision.ALLOW
        }
        assert found == covered

    def test_a_network_under_incident_freezes_nobody(self) -> None:
        """Too many people share one: an incident that names a network keeps nobody from being learned."""
        subject = engine()
        control(subject, "incident_opened", entities=["network:as64500"])
        login = observation("access.login_succeeded", NOW, actor="ann", asn=64_500)
        assert subject.process(login)[1] is Operation.LEARN


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

    def test_a_verdict_on_a_score_alone_says_nothing_of_what_state_an_entity_was_in(self) -> None:
        subject = engine(DetectorSet((), "none"))
        control(
            subject, "verdict", verdict="true_positive", account="a", destination="d", occurred_at_us=NOW, score=3.0
        )
        changed = {change.entity for change in subject.take_changes() if change.kind == Kind.TABLE}
        assert {name for name in changed if name.startswith("verdicts/")} == {"verdicts/score"}

    @pytest.mark.parametrize(
        "judged",
        [
            [1.0],
            [0.0] * (JUDGED_WORDS + 1),
            [1e308] + [0.0] * (JUDGED_WORDS - 1),
            [0.0] * (JUDGED_WORDS - 6) + [6.0 * 6 * 160] + [0.0] * 5,
            [0.0] * (JUDGED_WORDS - 6) + [-2.0] + [0.0] * 5,
        ],
        ids=["too few", "too many", "out of range", "a place after the table", "a place before it"],
    )
    def test_a_verdict_that_does_not_fit_is_refused(self, judged: list[float]) -> None:
        with pytest.raises(LearningRecordError, match=r"verdict\.judged"):
            control(engine(), "verdict", verdict="true_positive", account="a", occurred_at_us=NOW, judged=judged)


REFUSED: list[tuple[str, dict[str, object]]] = [
    ("verdict", {"verdict": "perhaps", "detectors": ["d"]}),
    ("verdict", {"verdict": "true_positive", "detectors": ["d"], "occurred_at_us": NOW, "judged": [1.0]}),
    ("verdict", {"verdict": "true_positive", "detectors": ["d"], "score": -1.0}),
    ("suppression", {**TestSuppressions.row, "entity": "nobody"}),
    ("suppression", {"id": "s1"}),
    ("suppression_lifted", {"id": 1}),
    ("incident_opened", {"entities": ["account:a", 7]}),
    ("peer_group", {"account": "one too many", "peer_group": "g"}),
    ("settings", {"max_accounts": 0}),
    ("activity", {"event_id": "e"}),
    ("gossip", {}),
]


@pytest.mark.parametrize(("kind", "payload"), REFUSED)
def test_a_row_that_is_refused_changes_nothing(kind: str, payload: dict[str, object]) -> None:
    subject = engine(DetectorSet((), "none"), max_accounts=1)
    subject.process(observation("withdrawal.requested", NOW, account="a", destination="d", amount_usd=10.0))
    control(subject, "suppression", **TestSuppressions.row)
    subject.take_changes()
    before, sequence, digest = list(subject.snapshot()), subject.sequence, subject.settings_digest
    with pytest.raises((LearningRecordError, CapacityError)):
        control(subject, kind, **payload)
    assert subject.take_changes() == []
    assert list(subject.snapshot()) == before
    assert (subject.sequence, subject.settings_digest) == (sequence, digest)


def test_a_suppression_that_is_refused_leaves_the_one_that_it_would_replace() -> None:
    subject = engine()
    control(subject, "suppression", **TestSuppressions.row, detector="signing-display-mismatch")
    with pytest.raises(LearningRecordError, match="entity"):
        control(subject, "suppression", **{**TestSuppressions.row, "entity": "nobody"})
    assert subject.assess(TestSuppressions.attack).decision is Decision.ALLOW
