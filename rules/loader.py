"""Read a directory of detector files, or refuse it with the file and field at fault and what to do.

Rules enforced here (D6): files are found by scanning; one broken file refuses the set; an id equals its file name, so
that it is unique; a file is at most 64 kB of plain YAML: no tags, no anchors or aliases, no key twice. A file that would
be passed over (``.yml``) is refused, because a rule that nobody runs protects nobody. The digest covers every byte read.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import yaml

from rules.declaration import Declaration, Status
from rules.detector import Detector
from rules.errors import DetectorFileError, ExpressionError
from rules.event import KINDS
from rules.expression import NUMBERS, SURPRISE, Expression
from rules.guards import Guards, stacked
from rules.networks import NAMED, is_network
from rules.plain_yaml import load

MAX_FILE_BYTES: Final = 65_536
MAX_FILES: Final = 250
"""As many guards as the kernel notes for one activity: more could be passed over without a word."""

DEFAULT_DIRECTORY: Final = Path(__file__).parent / "detectors"
"""The detectors that ship with Portcullis."""

_WHAT_TO_DO: Final = {
    "status": "one of draft, shadow, canary, live, retired",
    "canary": "a whole number of per cent from 1 to 99, and only with status canary",
    "severity": "one of low, medium, high, critical",
    "decision": "alert or hold",
    "guard.op": 'one of ">=", ">", "<=", "<", "==", in quotes',
    "playbook": "one of drain, account_takeover, insider_policy_change, signing_tampering, listed_destination",
    "runbook": "docs/runbooks/detector/ID.md",
    "id": "lower-case letters, digits and hyphens, like the file name without .yaml",
    "expires": "an RFC 3339 moment with an offset, like 2027-01-31T00:00:00Z",
    "entity": f"account:ID, actor:ID, destination:ID, device:ID, peer_group:NAME or network: and {NAMED}; "
    "exact, without * or ?",
    "tags": "lower-case words, or technique ids like attack.t1657 and aadapt.adt3028",
    "cases": "at least three: one that fires, one that stays silent, one with history: none",
}


class DetectorSet:
    """All detectors of a directory, by id."""

    def __init__(self, detectors: tuple[Detector, ...], digest: str) -> None:
        self._detectors = tuple(sorted(detectors, key=lambda detector: detector.id))
        self._digest = digest
        self.running = tuple(detector for detector in self._detectors if detector.runs)
        """The detectors that run, in order of id: row ``i`` of ``guards()`` is the guard of ``running[i]``."""
        self._guards = stacked([detector.row for detector in self.running], len(KINDS))

    def __iter__(self) -> Iterator[Detector]:
        return iter(self._detectors)

    def __len__(self) -> int:
        return len(self._detectors)

    def digest(self) -> str:
        """SHA-256 over file names and bytes, lower-case hex."""
        return self._digest

    def guards(self) -> Guards:
        """The guards of ``running`` as arrays, made once; not to be written to."""
        return self._guards

    def find(self, detector: str) -> Detector | None:
        """The detector of an id, or ``None``."""
        return next((one for one in self._detectors if one.id == detector), None)


def load_directory(path: Path = DEFAULT_DIRECTORY) -> DetectorSet:
    """All detectors of ``*.yaml`` in a directory. Raises :class:`DetectorFileError` naming the file and field."""
    found, broken = survey(path)
    if broken:
        raise broken[0]
    return found


def survey(path: Path = DEFAULT_DIRECTORY) -> tuple[DetectorSet, list[DetectorFileError]]:
    """The detectors that load, and every reason why a file does not. Only a set without such reasons may be used."""
    try:
        files = _files(path)
    except DetectorFileError as error:
        return DetectorSet((), ""), [error]
    digest = hashlib.sha256(b"portcullis/detectors/v1\0")
    detectors: list[Detector] = []
    broken: list[DetectorFileError] = []
    for file in files:
        try:
            content = _read(file)
            digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
            detectors.append(parse(file.name, content))
        except DetectorFileError as error:
            broken.append(error)
    return DetectorSet(tuple(detectors), digest.hexdigest()), broken


def _files(path: Path) -> list[Path]:
    try:
        names = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    except OSError as error:
        raise DetectorFileError(str(path), "directory", f"cannot be reached: {error.strerror}") from error
    files = [one for one in names if one.suffix == ".yaml"]
    passed_over = [one for one in names if one.suffix.lower() in {".yml", ".yaml"} and one.suffix != ".yaml"]
    if passed_over:
        raise DetectorFileError(passed_over[0].name, "file", "would be passed over: end its name in .yaml")
    if not files:
        raise DetectorFileError(str(path), "directory", "holds no detector; expected at least one *.yaml")
    if len(files) > MAX_FILES:
        raise DetectorFileError(str(path), "directory", f"holds {len(files)} files, at most {MAX_FILES} are read")
    return files


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DetectorFileError(file.name, "file", f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise DetectorFileError(file.name, "file", f"is larger than {MAX_FILE_BYTES} bytes: split the detector")
    return content


def parse(file: str, content: bytes) -> Detector:
    """One detector of a file's content. Raises :class:`DetectorFileError`."""
    try:
        raw = load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DetectorFileError(file, "file", f"is not plain YAML: {' '.join(str(error).split())[:500]}") from error
    try:
        declaration = msgspec.convert(raw, Declaration)
    except msgspec.ValidationError as error:
        problem, _, field = str(error).partition(" - at ")
        raise _refused(file, field.strip("`").removeprefix("$."), problem) from error
    if file != f"{declaration.id}.yaml":
        raise DetectorFileError(file, "id", f"{declaration.id!r} must equal the file name without .yaml")
    _check(file, declaration)
    try:
        expression = Expression(declaration.expr)
    except ExpressionError as error:
        raise DetectorFileError(file, "expr", str(error)) from error
    return Detector(declaration, expression)


def _refused(file: str, field: str, problem: str) -> DetectorFileError:
    bare = field.partition("[")[0] if not field.startswith("exceptions[") else field.rpartition(".")[2]
    advice = _WHAT_TO_DO.get(field, _WHAT_TO_DO.get(bare))
    return DetectorFileError(file, field or "top level", f"{problem}; expected {advice}" if advice else problem)


def _check(file: str, declaration: Declaration) -> None:
    if (declaration.status is Status.CANARY) != (declaration.canary is not None):
        told = "is missing" if declaration.canary is None else f"is told with status {declaration.status.value}"
        raise _refused(file, "canary", told)
    for position, kind in enumerate(declaration.kinds):
        head = kind.removesuffix("*")
        if not any(one == kind or (head.endswith(".") and one.startswith(head)) for one in KINDS):
            known = ", ".join(sorted({one.partition(".")[0] + ".*" for one in KINDS if "." in one}))
            raise DetectorFileError(file, f"kinds[{position}]", f"{kind!r} covers no kind of activity; known: {known}")
    _check_names(file, declaration)
    entities = [one.entity for one in declaration.exceptions]
    for position, one in enumerate(declaration.exceptions):
        if one.sort == "network" and not is_network(one.name):
            raise _refused(file, f"exceptions[{position}].entity", f"{one.entity!r} names no network")
    for position, entity in enumerate(entities):
        if entity in entities[:position]:
            raise DetectorFileError(file, f"exceptions[{position}].entity", f"{entity!r} is excepted twice: keep one")


def _check_names(file: str, declaration: Declaration) -> None:
    guard = declaration.guard
    if guard.feature.removesuffix(SURPRISE) not in NUMBERS:
        raise DetectorFileError(file, "guard.feature", _unknown(guard.feature))
    if not math.isfinite(guard.number):
        raise DetectorFileError(file, "guard.number", f"{guard.number} is not a finite number; NaN passes no guard")
    for position, case in enumerate(declaration.cases):
        for name, value in case.features.items():
            if name.removesuffix(SURPRISE) not in NUMBERS:
                raise DetectorFileError(file, f"cases[{position}].features", _unknown(name))
            if not math.isfinite(value):
                problem = f"{name} is {value}; leave a feature out that cannot be told"
                raise DetectorFileError(file, f"cases[{position}].features", problem)


def _unknown(name: str) -> str:
    return f"{name!r} is not a declared feature; docs/generated/features.md lists them"
