"""A folder through which parts of a back-test go to other machines and come back.

Rules enforced here:
- A message names a run and a part and nothing else; both are checked against a narrow pattern, so that whoever can invent
  messages reaches no file outside the folder.
- A file takes its name only when it is whole. A part that is done twice writes the same bytes twice; one that is never
  done leaves nothing.
- Whoever may write to the folder decides what the scores say: it belongs to those who run back-tests.
- A part made by another version of these sources is refused instead of being answered slightly differently.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from rules.backtest.errors import BacktestError
from rules.backtest.parallel import Part
from rules.backtest.parts import run_part

JOB: Final = "backtest.part"
QUEUE: Final = "backtest"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_REFUSED: Final = "refused"
_ROOT: Final = Path(__file__).resolve().parents[1]


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a part's file; the data follows."""

    version: str
    kind: str
    spec: msgspec.Raw


@lru_cache(maxsize=1)
def version() -> str:
    """What parts are made by: a digest of every source file of this folder and those above it."""
    digest = hashlib.sha256()
    for path in sorted(_ROOT.rglob("*.py")):
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@contextmanager
def run_folder(folder: Path, run: str) -> Iterator[Path]:
    """The folder of one run, removed at its end. Raises :class:`BacktestError` when it cannot be made."""
    place = folder / _checked(run)
    try:
        place.mkdir(mode=0o770)
    except OSError as error:
        raise BacktestError(
            f"{place} cannot be made: {error.strerror}: name a folder that the workers share"
        ) from error
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def name_of(part: Part) -> str:
    """The name of a part within its run."""
    return f"{part.kind}-{part.number:08d}"


def put(place: Path, part: Part) -> None:
    """Lay a part down for whoever does it."""
    head = msgspec.json.encode(Head(version(), part.kind, msgspec.Raw(part.spec)))
    _write(place / f"{name_of(part)}.in", head + b"\n" + part.payload)


def work(folder: Path, run: str, name: str) -> bool:
    """Do a part that was laid down; ``False`` when it is no longer wanted. Raises :class:`BacktestError`."""
    place = folder / _checked(run)
    done = place / f"{_checked(name)}.out"
    if done.exists():
        return True
    try:
        told, _, payload = (place / f"{name}.in").read_bytes().partition(b"\n")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise BacktestError(f"{place / name}.in cannot be read: {error.strerror}") from error
    try:
        head = msgspec.json.decode(told, type=Head)
    except msgspec.DecodeError as error:
        raise BacktestError(f"{place / name}.in is not a part of a back-test") from error
    if head.version != version():
        problem = f"the back-test runs version {head.version}, this worker {version()}: run the same on both"
        _write(place / _REFUSED, problem.encode())
        raise BacktestError(problem)
    _write(done, run_part(head.kind, bytes(head.spec), payload))
    return True


def take(place: Path, part: Part) -> bytes | None:
    """The result of a part, once it is there; its files are removed."""
    done = place / f"{name_of(part)}.out"
    try:
        found = done.read_bytes()
    except FileNotFoundError:
        return None
    (place / f"{name_of(part)}.in").unlink(missing_ok=True)
    done.unlink(missing_ok=True)
    return found


def refusal(place: Path) -> str | None:
    """Why a worker refused parts of a run, if one did."""
    try:
        return (place / _REFUSED).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BacktestError("a run and a part are named in lower-case letters, digits and dashes")
    return name


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except FileNotFoundError:
        return  # the run has ended and taken its folder with it
    except OSError as error:
        raise BacktestError(f"{path} cannot be written: {error.strerror}") from error
