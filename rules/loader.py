"""Read a directory of detector files, or refuse it with the file and field at fault.

Rules enforced here (D6): files are found by scanning; one broken file stops the start; ids are unique; an id equals its
file name; a file is at most 64 kB of plain YAML without tags. The digest covers every byte read.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import yaml

from rules.detector import CompiledGuard, Declaration, Detector
from rules.errors import DetectorFileError, ExpressionError
from rules.expression import NUMBERS, SURPRISE, Expression

MAX_FILE_BYTES: Final = 65_536
MAX_FILES: Final = 1000
DEFAULT_DIRECTORY: Final = Path(__file__).parent / "detectors"
"""The detectors that ship with Portcullis."""


class DetectorSet:
    """All detectors of a directory, by id."""

    def __init__(self, detectors: tuple[Detector, ...], digest: str) -> None:
        self._detectors = tuple(sorted(detectors, key=lambda detector: detector.id))
        self._digest = digest
        self._by_kind: dict[str, tuple[tuple[CompiledGuard, Detector], ...]] = {}

    def __iter__(self) -> Iterator[Detector]:
        return iter(self._detectors)

    def __len__(self) -> int:
        return len(self._detectors)

    def digest(self) -> str:
        """SHA-256 over file names and bytes, lower-case hex."""
        return self._digest

    def for_kind(self, kind: str) -> tuple[tuple[CompiledGuard, Detector], ...]:
        """The detectors that run for a kind of activity, by id, each behind its guard."""
        found = self._by_kind.get(kind)
        if found is None:
            found = tuple((each.guard, each) for each in self._detectors if each.runs and each.covers(kind))
            if len(self._by_kind) < MAX_FILES:
                self._by_kind[kind] = found
        return found


def load_directory(path: Path = DEFAULT_DIRECTORY) -> DetectorSet:
    """All detectors of ``*.yaml`` in a directory. Raises :class:`DetectorFileError` naming the file and field."""
    try:
        files = sorted(path.glob("*.yaml"))
    except OSError as error:
        raise DetectorFileError(str(path), "directory", f"cannot be reached: {error.strerror}") from error
    if not files:
        raise DetectorFileError(str(path), "directory", "holds no detector; expected at least one *.yaml")
    if len(files) > MAX_FILES:
        raise DetectorFileError(str(path), "directory", f"holds {len(files)} files, at most {MAX_FILES} are read")
    digest = hashlib.sha256(b"portcullis/detectors/v1\0")
    detectors: list[Detector] = []
    for file in files:
        content = _read(file)
        digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
        detectors.append(parse(file.name, content))
    return DetectorSet(tuple(detectors), digest.hexdigest())


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DetectorFileError(file.name, "file", f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise DetectorFileError(file.name, "file", f"is larger than {MAX_FILE_BYTES} bytes")
    return content


def parse(file: str, content: bytes) -> Detector:
    """One detector of a file's content. Raises :class:`DetectorFileError`."""
    try:
        raw = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DetectorFileError(file, "file", f"is not YAML: {' '.join(str(error).split())}") from error
    try:
        declaration = msgspec.convert(raw, Declaration)
    except msgspec.ValidationError as error:
        problem, _, field = str(error).partition(" - at ")
        raise DetectorFileError(file, field.strip("`").removeprefix("$.") or "top level", problem) from error
    if file != f"{declaration.id}.yaml":
        raise DetectorFileError(file, "id", f"{declaration.id!r} must equal the file name without .yaml")
    try:
        expression = Expression(declaration.expr)
    except ExpressionError as error:
        raise DetectorFileError(file, "expr", str(error)) from error
    _check_names(file, declaration)
    return Detector(declaration, expression)


def _check_names(file: str, declaration: Declaration) -> None:
    if declaration.guard.feature.removesuffix(SURPRISE) not in NUMBERS:
        raise DetectorFileError(file, "guard.feature", f"{declaration.guard.feature!r} is not a declared feature")
    for position, case in enumerate(declaration.cases):
        for name in case.features:
            if name.removesuffix(SURPRISE) not in NUMBERS:
                raise DetectorFileError(file, f"cases[{position}].features", f"{name!r} is not a declared feature")
