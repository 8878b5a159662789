"""Every detector that ships, walked from the registry."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.conformance import boundary_values, check, check_detector, guard_implied, missing_runbooks, vectors
from rules.detector import Detector
from rules.expression import TEXTS
from rules.loader import DEFAULT_DIRECTORY, load_directory, parse

DETECTORS = load_directory()
ROOT = Path(__file__).parents[3]


def test_every_detector_conforms() -> None:
    assert check(DETECTORS) == []


def test_every_detector_has_a_runbook_and_no_runbook_is_left_over() -> None:
    assert missing_runbooks(DETECTORS, ROOT) == []
    named = {detector.declaration.runbook for detector in DETECTORS}
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "docs/runbooks/detector").glob("*.md")}
    assert found == named


@pytest.mark.parametrize("detector", list(DETECTORS), ids=lambda detector: str(detector.id))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_false_guard_means_a_false_rule(detector: Detector, data: st.DataObject) -> None:
    names = [name for name in {*detector.expression.names, detector.declaration.guard.feature} if name not in TEXTS]
    near = st.sampled_from(boundary_values(detector))
    features = {name: data.draw(near | st.floats(allow_nan=True)) for name in sorted(names)}
    assert guard_implied(detector, features, detector.declaration.cases[0].kind)


def test_the_checks_can_fail() -> None:
    text = (DEFAULT_DIRECTORY / "drain-fan-in.yaml").read_text()
    wrong = {
        text.replace("number: 2.0", "number: 4.0"): "although the guard does not",
        text.replace("expect: fires", "expect: silent"): "no case fires",
        text.replace("history: none", "history: enough"): "no case lacks history",
        text.replace("kind: withdrawal.requested", "kind: access.mfa_reset", 1): "not among",
    }
    for content, problem in wrong.items():
        failures = check_detector(parse("drain-fan-in.yaml", content.encode()))
        assert any(problem in failure.problem for failure in failures)


def test_a_loose_guard_is_found() -> None:
    text = (DEFAULT_DIRECTORY / "drain-fan-in.yaml").read_text().replace("number: 2.0", "number: 4.0")
    detector = parse("drain-fan-in.yaml", text.encode())
    firing = detector.declaration.cases[0].features
    assert not detector.guard_holds(*vectors(firing))
    assert not guard_implied(detector, firing, "withdrawal.requested")
