"""Every detector that ships, walked from the registry."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.conformance import (
    boundary_values,
    check,
    check_detector,
    draws,
    guard_implied,
    missing_runbooks,
    vectors,
    warnings,
    worded,
)
from rules.declaration import Status
from rules.detector import Detector
from rules.expression import TEXTS
from rules.loader import DetectorSet, parse
from rules.techniques import is_technique, name_of
from tests.support.detectors import shipped
from tests.unit.rules.sample import SAMPLE

DETECTORS = shipped()
ROOT = Path(__file__).parents[3]
LIVE = [detector for detector in DETECTORS if detector.declaration.status is Status.LIVE]


def test_every_detector_conforms() -> None:
    assert check(DETECTORS) == []


def test_at_least_thirty_five_are_live_and_every_family_is_watched() -> None:
    assert len(LIVE) >= 35
    heads = [kind.partition(".")[0] for detector in LIVE for kind in dict.fromkeys(detector.declaration.kinds)]
    assert all(heads.count(head) >= 5 for head in ("withdrawal", "access", "governance", "signing"))


def test_every_detector_has_a_runbook_and_no_runbook_is_left_over() -> None:
    assert missing_runbooks(DETECTORS, ROOT) == []
    named = {detector.declaration.runbook for detector in DETECTORS}
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "docs/runbooks/detector").glob("*.md")}
    assert found == named


@pytest.mark.parametrize("detector", list(DETECTORS), ids=lambda detector: str(detector.id))
def test_a_runbook_is_about_its_detector(detector: Detector) -> None:
    declared = detector.declaration
    text = (ROOT / declared.runbook).read_text()
    verb = {"hold": "holds", "alert": "alerts"}[declared.decision]
    told = verb if declared.status is Status.LIVE else "is a shadow: recorded, decides nothing"
    assert text.startswith(f"# {declared.title}\n")
    assert (
        f"`{declared.id}`: severity {declared.severity.value}, {told}, suggests the playbook `{declared.playbook}`"
        in text
    )


@pytest.mark.parametrize("detector", list(DETECTORS), ids=lambda detector: str(detector.id))
def test_every_technique_has_a_name(detector: Detector) -> None:
    techniques = [tag for tag in detector.declaration.tags if is_technique(tag)]
    assert techniques
    assert all(name_of(tag) for tag in techniques)


@pytest.mark.parametrize("detector", list(DETECTORS), ids=lambda detector: str(detector.id))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_false_guard_means_a_false_rule(detector: Detector, data: st.DataObject) -> None:
    names = [name for name in {*detector.expression.names, detector.declaration.guard.feature} if name not in TEXTS]
    near = st.sampled_from(boundary_values(detector))
    features = {name: data.draw(near | st.floats(allow_nan=True)) for name in sorted(names)}
    assert all(guard_implied(detector, features, **texts) for texts in worded(detector))


def changed(*changes: tuple[str, str]) -> Detector:
    text = SAMPLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse("drain-fan-in.yaml", text.encode())


def test_the_checks_can_fail() -> None:
    wrong = {
        ("number: 2.0", "number: 4.0"): "although the guard does not",
        ("expect: fires", "expect: silent"): "no case fires",
        ("history: none", "history: enough"): "no case lacks history",
        ("amount_usd_surprise: 0.5", "account_learned: 20.0"): "history: none, but account_learned is 20",
        ("kind: withdrawal.requested", "kind: access.mfa_reset"): "not among",
        ("kind: withdrawal.requested", "kind: withdrawal.dreamt"): "not among",
    }
    for change, problem in wrong.items():
        failures = check_detector(changed(change))
        assert any(problem in failure.problem for failure in failures), problem


def test_a_guard_that_no_case_shows_to_be_loose_is_found_among_the_draws() -> None:
    """All cases keep guard and rule together; only other values part them."""
    loose = changed(
        ("&& (fan_in_accounts >= 3.0 ||", "&& (fan_in_accounts >= 3.0 || asset_new == 1.0 ||"),
        ("fan_in_accounts >= 2.0 &&", "true &&"),
    )
    assert all(detector_case(loose, position) for position in range(len(loose.declaration.cases)))
    assert any("although the guard does not, for" in failure.problem for failure in check_detector(loose))


@pytest.mark.parametrize("words", ['destination_kind == "contract"', 'kind == "withdrawal.confirmed"'])
def test_a_guard_is_held_against_words_that_no_case_uses(words: str) -> None:
    loose = changed(
        ("&& (fan_in_accounts >= 3.0 ||", f"&& (fan_in_accounts >= 3.0 || {words} ||"),
        ("fan_in_accounts >= 2.0 &&", f"(fan_in_accounts >= 2.0 || {words}) &&"),
    )
    assert any("although the guard does not, for" in failure.problem for failure in check_detector(loose))


def detector_case(detector: Detector, position: int) -> bool:
    case = detector.declaration.cases[position]
    return detector.guard_holds(*vectors(case.features)) or case.expect == "silent"


def test_a_rule_that_gives_no_answer_for_some_values_is_found() -> None:
    broken = changed(("fan_in_accounts >= 2.0 &&", "fan_in_accounts >= 2.0 && 1 / (int(fan_in_accounts) - 3) < 5 &&"))
    assert any("gives no answer" in failure.problem for failure in check_detector(broken))


def test_draws_are_the_same_every_time_and_many() -> None:
    one, again = (list(draws(changed())) for _ in range(2))
    assert repr(one) == repr(again)
    assert len(one) > 300


def test_a_loose_guard_is_found() -> None:
    detector = changed(("number: 2.0", "number: 4.0"))
    firing = detector.declaration.cases[0].features
    assert not detector.guard_holds(*vectors(firing))
    assert not guard_implied(detector, firing, "withdrawal.requested")


def test_what_deserves_a_look_is_told_at_its_time() -> None:
    moment = datetime(2027, 1, 31, tzinfo=UTC)
    entry = "exceptions: [{entity: 'account:a', owner: ada, reason: r, expires: '2027-01-31T00:00:00Z'}]\ncases:"
    detector = changed(("\ncases:", "\n" + entry), ("tags: [", "tags: [attack.t9999, "))
    day = 86_400e6
    at = moment.timestamp() * 1e6
    told = {
        days: [one.problem for one in warnings(DetectorSet((detector,), ""), at + days * day)] for days in (-20, -10, 0)
    }
    assert [len(one) for one in told.values()] == [1, 2, 2]
    assert "attack.t9999" in told[-20][0]
    assert "expires within 14 days" in told[-10][0]
    assert "expired" in told[0][0]
    assert warnings(DETECTORS, at) == []
