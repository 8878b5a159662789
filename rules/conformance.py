"""Checks that every detector must pass, driven by the loaded declarations.

Rules enforced here: each detector shows at least one case that fires, one that stays silent and one without history;
a case without history says of nobody that he was learned often enough to have one; each case gives what it says; in no
case, and for none of some hundred drawn sets of values, does the expression hold while the guard does not, or give no
answer while it does. What is drawn lies around the guard's number and the cases' values, where a rule and its guard could
part, and depends on the detector's id alone. ``guard_implied`` checks arbitrary values and is what the property tests call.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from math import inf, nan
from pathlib import Path
from typing import Final

import msgspec

from rules.declaration import Case
from rules.detector import Detector
from rules.errors import EvaluationError
from rules.event import DESTINATION_KINDS, KINDS
from rules.expression import NUMBERS, SURPRISE, TEXTS
from rules.features.names import COUNT
from rules.loader import DetectorSet
from rules.settings import EngineSettings
from rules.techniques import is_technique, name_of

_DRAWS: Final = 256
_LEARNED: Final = ("account_learned", "actor_learned")
_ENOUGH: Final = EngineSettings().enough_events
_SOON_US: Final = 14 * 86_400 * 1_000_000


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
    problem = next(filter(None, (_parted(detector, drawn) for drawn in draws(detector))), None)
    return [*found, Failure(detector.id, "", problem)] if problem else found


def warnings(detectors: DetectorSet, at_us: float) -> list[Failure]:
    """What deserves a look at a time (UTC epoch microseconds) though nothing is broken: exceptions, unknown techniques."""
    found = []
    for detector in detectors:
        for one in detector.declaration.exceptions:
            if not one.counts_at(at_us):
                found.append(Failure(detector.id, "", f"exception expired and counts no more, remove it: {one}"))
            elif one.until_us - at_us < _SOON_US:
                found.append(Failure(detector.id, "", f"exception expires within 14 days: {one}"))
        for tag in detector.declaration.tags:
            if is_technique(tag) and name_of(tag) is None:
                problem = (
                    f"tag {tag!r}: no such technique in rules/lists/techniques.txt; correct it or add its name there"
                )
                found.append(Failure(detector.id, "", problem))
    return found


def missing_runbooks(detectors: DetectorSet, root: Path) -> list[Failure]:
    """Detectors whose runbook is not under ``root``."""
    return [
        Failure(detector.id, "", f"runbook {detector.declaration.runbook} does not exist")
        for detector in detectors
        if not (root / detector.declaration.runbook).is_file()
    ]


def _problem(detector: Detector, case: Case) -> str | None:
    if case.kind not in KINDS or not detector.covers(case.kind):
        return f"kind {case.kind} is not among the detector's kinds"
    if case.history == "none":
        for name in _LEARNED:
            if case.features.get(name, 0.0) >= _ENOUGH:
                return f"history: none, but {name} is {case.features[name]:g}: {_ENOUGH} is enough of a history"
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
    values = [nan] * COUNT
    surprise = [0.0] * COUNT
    for name, value in features.items():
        if name in NUMBERS:
            values[NUMBERS[name]] = float(value)
        else:
            surprise[NUMBERS[name.removesuffix(SURPRISE)]] = float(value)
    return values, surprise


def guard_implied(detector: Detector, features: Mapping[str, float], kind: str, destination_kind: str = "") -> bool:
    """Whether, for these values, a false guard comes with a false expression."""
    values, surprise = vectors(features)
    if detector.guard_holds(values, surprise):
        return True
    return not detector.expression.holds(values, surprise, {"kind": kind, "destination_kind": destination_kind})


def worded(detector: Detector) -> Iterator[dict[str, str]]:
    """Every set of words that the expression can tell apart: each kind that it covers, each kind of destination."""
    words = detector.expression.names
    kinds = (
        [kind for kind in KINDS if detector.covers(kind)] if "kind" in words else [detector.declaration.cases[0].kind]
    )
    for kind in kinds:
        for destination_kind in DESTINATION_KINDS if "destination_kind" in words else ("",):
            yield {"kind": kind, "destination_kind": destination_kind}


def boundary_values(detector: Detector) -> tuple[float, ...]:
    """Values around the guard's number and those of the cases: where a rule and its guard could part."""
    seen = {0.0, 1.0, 1e9, detector.declaration.guard.number}
    for case in detector.declaration.cases:
        seen |= set(case.features.values())
    near = {math.nextafter(value, toward) for value in seen for toward in (-inf, inf)}
    return (*sorted(seen | near), nan)


def draws(detector: Detector) -> Iterator[dict[str, float]]:
    """Some hundred sets of values: each case with the guard's feature moved, then anything near a boundary."""
    values = boundary_values(detector)
    feature = detector.declaration.guard.feature
    for case in detector.declaration.cases:
        yield from ({**case.features, feature: value} for value in values)
    names = sorted({*detector.expression.names, feature} - set(TEXTS))
    for draw in range(_DRAWS):
        stream = hashlib.shake_128(f"{detector.id}/{draw}".encode()).digest(2 * len(names))
        picked = (int.from_bytes(stream[2 * at : 2 * at + 2], "big") for at in range(len(names)))
        yield {name: values[pick % len(values)] for name, pick in zip(names, picked, strict=True)}


def _parted(detector: Detector, features: Mapping[str, float]) -> str | None:
    values, surprise = vectors(features)
    guarded = detector.guard_holds(values, surprise)
    for texts in worded(detector):
        try:
            holds = detector.expression.holds(values, surprise, texts)
        except EvaluationError as error:
            if guarded:
                return f"the expression gives no answer ({error}) for {_told(features)}"
        else:
            if holds and not guarded:
                return f"the expression holds although the guard does not, for {_told(features)}"
    return None


def _told(features: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in features.items())
