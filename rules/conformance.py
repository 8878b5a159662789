"""Checks that every detector must pass, driven by the loaded declarations.

Rules enforced here: each detector shows at least one case that fires, one that stays silent and one without history;
each case gives what it says; in no case does the expression hold while the guard does not. ``guard_implied`` checks the
last rule for arbitrary values and is what the property tests call.
"""

import math
from collections.abc import Mapping
from math import nan
from pathlib import Path

import msgspec

from rules.detector import Case, Detector
from rules.errors import EvaluationError
from rules.expression import NUMBERS, SURPRISE
from rules.features.catalogue import FEATURES
from rules.loader import DetectorSet


class Failure(msgspec.Struct, frozen=True):
    """One broken rule of one detector."""

    detector: str
    case: str
    problem: str


def check(detectors: DetectorSet) -> list[Failure]:
    """Every failure of every detector, by id; empty when all conform."""
    return [failure for detector in detectors for failure in check_detector(detector)]


def check_detector(detector: Detector) -> list[Failure]:
    """Every failure of one detector."""
    cases = detector.declaration.cases
    wanted = {
        "no case fires": any(case.expect == "fires" for case in cases),
        "no case stays silent": any(case.expect == "silent" for case in cases),
        "no case lacks history": any(case.history == "none" for case in cases),
    }
    found = [Failure(detector.id, "", problem) for problem, met in wanted.items() if not met]
    for case in cases:
        problem = _problem(detector, case)
        if problem:
            found.append(Failure(detector.id, case.name, problem))
    return found


def missing_runbooks(detectors: DetectorSet, root: Path) -> list[Failure]:
    """Detectors whose runbook is not under ``root``."""
    return [
        Failure(detector.id, "", f"runbook {detector.declaration.runbook} does not exist")
        for detector in detectors
        if not (root / detector.declaration.runbook).is_file()
    ]


def _problem(detector: Detector, case: Case) -> str | None:
    if not detector.covers(case.kind):
        return f"kind {case.kind} is not among the detector's kinds"
    values, surprise = vectors(case.features)
    texts = {"kind": case.kind, "destination_kind": case.destination_kind}
    guarded = detector.guard_holds(values, surprise)
    try:
        holds = detector.expression.holds(values, surprise, texts)
    except EvaluationError as error:
        return str(error)
    if holds and not guarded:
        return "the expression holds although the guard does not"
    if holds != (case.expect == "fires"):
        return f"expected {case.expect}, the detector {'fires' if holds else 'stays silent'}"
    return None


def vectors(features: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """Values and surprisals by feature index; what is not named is unknown (NaN) and not surprising (0)."""
    values = [nan] * len(FEATURES)
    surprise = [0.0] * len(FEATURES)
    for name, value in features.items():
        if name in NUMBERS:
            values[NUMBERS[name]] = float(value)
        else:
            surprise[NUMBERS[name.removesuffix(SURPRISE)]] = float(value)
    return values, surprise


def guard_implied(detector: Detector, features: Mapping[str, float], kind: str) -> bool:
    """Whether, for these values, a false guard comes with a false expression."""
    values, surprise = vectors(features)
    if detector.guard_holds(values, surprise):
        return True
    texts = {"kind": kind, "destination_kind": ""}
    return not detector.expression.holds(values, surprise, texts)


def boundary_values(detector: Detector) -> tuple[float, ...]:
    """Values around the guard's number and those of the cases: where a rule and its guard could part."""
    seen = {detector.declaration.guard.number}
    for case in detector.declaration.cases:
        seen |= set(case.features.values())
    near = {math.nextafter(value, toward) for value in seen for toward in (-math.inf, math.inf)}
    return (*tuple(sorted(seen | near)), nan)
