"""What a new set of detectors changes against the one in force, and whether any of it loosens.

Rules enforced here (D4: blinding takes a quorum, tightening does not):
- Tightening: a detector added or trusted more, its decision or severity raised, its kinds widened, an exception removed or
  cut short.
- Loosening: a detector removed, retired or trusted less, its decision or severity lowered, its kinds narrowed, its guard,
  expression or playbook changed (whether that catches less cannot be told, and "cannot tell" is not "no"), an exception
  added or prolonged.
- Neutral: words, tags, runbooks, versions, cases, who owns an exception; and whatever changes inside a rule that decided
  nothing before.
- The digest covers the sorted list of changes and both sets' digests: whoever approved it approved these changes to this
  set, and no other.
"""

import hashlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec
import rfc8785

from rules.declaration import Declaration, Exemption
from rules.detector import Detector
from rules.event import KINDS
from rules.loader import DetectorSet
from rules.signal import Decision

_TAG: Final = b"portcullis/detector-changes/v1\0"
_SHADOW: Final = 1.0
_NONE: Final = "-"
_NEUTRAL: Final = ("version", "title", "tags", "runbook")
_UNTELLABLE: Final = ("guard", "expr", "playbook")


class Direction(StrEnum):
    """Which way a change moves what is caught."""

    TIGHTENING = "tightening"
    LOOSENING = "loosening"
    NEUTRAL = "neutral"


class Change(msgspec.Struct, frozen=True, order=True):
    """One change of one detector. ``field`` is the file's; ``old`` and ``new`` are short texts."""

    detector: str
    field: str
    direction: Direction
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.direction.value}: {self.detector}: {self.field}: {self.old} -> {self.new}"


class Comparison(msgspec.Struct, frozen=True):
    """All changes, sorted. ``old_digest`` and ``new_digest`` are the sets'."""

    old_digest: str
    new_digest: str
    changes: tuple[Change, ...]

    @property
    def loosens(self) -> bool:
        """Whether any change loosens: then the new set waits for a quorum."""
        return any(change.direction is Direction.LOOSENING for change in self.changes)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON (RFC 8785) of both digests and the sorted changes, lower-case hex."""
        return hashlib.sha256(_TAG + rfc8785.dumps(msgspec.to_builtins(self))).hexdigest()


def compare(old: DetectorSet, new: DetectorSet) -> Comparison:
    """Every change from one set to another."""
    before = {detector.id: detector for detector in old}
    after = {detector.id: detector for detector in new}
    changes: list[Change] = []
    for name in sorted(before.keys() | after.keys()):
        changes += _changes(name, before.get(name), after.get(name))
    return Comparison(old.digest(), new.digest(), tuple(sorted(changes)))


def _changes(name: str, old: Detector | None, new: Detector | None) -> Iterator[Change]:
    if old is None or new is None:
        trust = [one.declaration.trust if one else 0.0 for one in (old, new)]
        shown = [_told(one.declaration) if one else "absent" for one in (old, new)]
        yield Change(name, "detector", _ordered(*trust), *shown)
        return
    one, other = old.declaration, new.declaration
    if one.standing != other.standing:
        yield Change(name, "status", _ordered(one.trust, other.trust), one.standing, other.standing)
    for change in _content(name, old, new):
        # What decided nothing before can lose nothing by what changes inside it.
        yield change if one.trust > _SHADOW else msgspec.structs.replace(change, direction=Direction.NEUTRAL)


def _content(name: str, old: Detector, new: Detector) -> Iterator[Change]:
    one, other = old.declaration, new.declaration
    for field in _UNTELLABLE:
        was, now = _text(one, field), _text(other, field)
        if was != now:
            yield Change(name, field, Direction.LOOSENING, was, now)
    if one.decision != other.decision:
        strength = [Decision(each.decision).strength for each in (one, other)]
        yield Change(name, "decision", _ordered(*strength), one.decision, other.decision)
    if one.severity is not other.severity:
        direction = _ordered(one.severity.rank, other.severity.rank)
        yield Change(name, "severity", direction, one.severity.value, other.severity.value)
    yield from _kinds(name, old, new)
    yield from _exemptions(name, one, other)
    for field in _NEUTRAL:
        was, now = _text(one, field), _text(other, field)
        if was != now:
            yield Change(name, field, Direction.NEUTRAL, was, now)
    if one.cases != other.cases:
        yield Change(name, "cases", Direction.NEUTRAL, f"{len(one.cases)} cases", f"{len(other.cases)} cases, changed")


def _kinds(name: str, old: Detector, new: Detector) -> Iterator[Change]:
    lost = [kind for kind in KINDS if old.covers(kind) and not new.covers(kind)]
    gained = [kind for kind in KINDS if new.covers(kind) and not old.covers(kind)]
    if lost:
        yield Change(name, "kinds", Direction.LOOSENING, ", ".join(lost), _NONE)
    if gained:
        yield Change(name, "kinds", Direction.TIGHTENING, _NONE, ", ".join(gained))


def _exemptions(name: str, one: Declaration, other: Declaration) -> Iterator[Change]:
    before = {each.entity: each for each in one.exceptions}
    after = {each.entity: each for each in other.exceptions}
    for entity in sorted(before.keys() | after.keys()):
        was, now = before.get(entity), after.get(entity)
        if was != now:
            yield Change(name, "exceptions", _exempted(was, now), str(was or _NONE), str(now or _NONE))


def _exempted(was: Exemption | None, now: Exemption | None) -> Direction:
    if was is None:
        return Direction.LOOSENING
    if now is None:
        return Direction.TIGHTENING
    return _ordered(-was.until_us, -now.until_us)


def _ordered(old: float, new: float) -> Direction:
    if new > old:
        return Direction.TIGHTENING
    return Direction.LOOSENING if new < old else Direction.NEUTRAL


def _text(declared: Declaration, field: str) -> str:
    value = getattr(declared, field)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _told(declared: Declaration) -> str:
    return f"{declared.standing}, {declared.severity.value}, {declared.decision}"
