"""What makes the engine see less, and so takes a quorum: suppressions, levels of the settings, looser sets of detectors.

Rules (design D4): an item says everything that will be done, so that whoever executes it builds it again and compares; a
suppression names one entity exactly, an owner, a reason and an end within 90 days; lifting one tightens and needs nobody.
Which way a setting loosens is declared once, in `DIRECTIONS`. A budget of alerts needs a quorum whichever way it moves:
fewer alerts hide, and more of them tire those who must look until they look at none. `alert_p` and `alert_floor` set how
many alerts there are, so they count as budgets. What holds more is a tightening: a hold needs no attention to protect.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from rules.networks import NAMED, is_network
from rules.settings import EngineSettings
from service.domain.approval import MAX_ITEMS, Item, one_line
from service.domain.errors import InputError
from service.domain.plan import Effect

SUPPRESS: Final = "blind.suppress"
SETTINGS: Final = "blind.settings"
RULES: Final = "blind.rules"
LONGEST: Final = timedelta(days=90)
MAX_ENTITY: Final = 300
MAX_REASON: Final = 500
_ENTITY: Final = re.compile(r"(account|actor|device):[^/\s]{1,64}/\S.*|destination:\S.*")
_NETWORK: Final = "network:"
_DETECTOR: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}", re.ASCII)
_MICROSECONDS: Final = 1_000_000


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector, or without one the score alone, finds about an entity decides nothing until `expires_at`."""

    id: str
    entity: str
    """`account:CONNECTION/ID`, `actor:CONNECTION/ID`, `device:CONNECTION/ID`, `destination:ID` or `network:` and its name
    (`rules.networks`), exactly."""
    detector: str | None
    owner: str
    """The person who answers for it."""
    reason: str
    expires_at: datetime

    def __post_init__(self) -> None:
        if len(self.entity) > MAX_ENTITY or not self.entity.isprintable() or not _names_one(self.entity):
            raise InputError(
                "entity is account:CONNECTION/ID, actor:CONNECTION/ID, device:CONNECTION/ID, destination:ID or network: "
                f"and {NAMED}, exactly and at most {MAX_ENTITY} characters",
                field="entity",
            )
        if self.detector is not None and _DETECTOR.fullmatch(self.detector) is None:
            raise InputError("detector is a detector's id; leave it out for the score itself", field="detector")
        if not 0 < len(self.reason) <= MAX_REASON or not self.reason.isprintable() or not self.reason.strip():
            raise InputError(f"reason is one line of 1 to {MAX_REASON} printable characters", field="reason")
        if self.expires_at.tzinfo is None:
            raise InputError("expires_at carries its time zone", field="expires_at")

    def require_bounded(self, now: datetime) -> None:
        """Raise InputError unless it ends in the future and within 90 days."""
        if not now < self.expires_at <= now + LONGEST:
            raise InputError(f"expires_at lies in the future, at most {LONGEST.days} days from now", field="expires_at")

    def item(self) -> Item:
        """Return what a document asks for."""
        what = "the score itself" if self.detector is None else f"the detector {self.detector}"
        until = self.expires_at.strftime("%Y-%m-%d %H:%M UTC")
        return Item(
            step="",
            action=SUPPRESS,
            effect=Effect.LOOSENS,
            target={"kind": "entity", "value": self.entity},
            params=msgspec.to_builtins(self),
            sentence=one_line(
                f"Let what {what} finds about {self.entity} decide nothing until {until}; {self.owner} answers for it. "
                f"Reason: {self.reason}"
            ),
        )

    def row(self) -> bytes:
        """Return the payload of the row in the learning sequence."""
        until_us = int(self.expires_at.timestamp()) * _MICROSECONDS + self.expires_at.microsecond
        told = {
            "id": self.id,
            "entity": self.entity,
            "detector": self.detector,
            "until_us": until_us,
            "owner": self.owner,
            "reason": self.reason,
        }
        return msgspec.json.encode(told, order="deterministic")


def _names_one(entity: str) -> bool:
    if entity.startswith(_NETWORK):
        return is_network(entity.removeprefix(_NETWORK))
    return _ENTITY.fullmatch(entity) is not None


def suppression_of(item: Item) -> Suppression:
    """Return the suppression that a document's item asks for. Raises InputError for malformed parameters."""
    try:
        return msgspec.convert(item.params, Suppression)
    except msgspec.ValidationError as error:
        raise InputError(f"the suppression is malformed: {error}", field="params") from error


class Warranted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What asks for a row of the learning sequence that may blind: the row, and the approval that it comes from."""

    row: msgspec.Raw
    approval: str | None = None


def warranted(row: bytes, approval: str | None = None) -> bytes:
    """Return the payload of such a request."""
    return msgspec.json.encode(Warranted(row=msgspec.Raw(row), approval=approval))


class Direction(StrEnum):
    """Which way of a setting's number makes the engine see less."""

    LOWER_LOOSENS = "lower"
    HIGHER_LOOSENS = "higher"
    BOTH_LOOSEN = "both"


DIRECTIONS: Final[Mapping[str, Direction]] = {
    "hold_p": Direction.LOWER_LOOSENS,
    "hold_floor": Direction.HIGHER_LOOSENS,
    "alert_p": Direction.BOTH_LOOSEN,
    "alert_floor": Direction.BOTH_LOOSEN,
    "alerts_per_day": Direction.BOTH_LOOSEN,
    "alerts_per_day_by_severity": Direction.BOTH_LOOSEN,
}
"""Every setting that may be changed while the engine runs. The others are part of what was learned."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One setting that would change."""

    name: str
    old: Any
    new: Any
    loosens: bool


def shown_settings(settings: EngineSettings) -> Mapping[str, Any]:
    """Return the settings as people may read them: everything but the salt."""
    fields = msgspec.to_builtins(settings)
    return {name: value for name, value in fields.items() if name != "salt"}


def changed(settings: EngineSettings, changes: Mapping[str, object]) -> EngineSettings:
    """Return the settings with `changes` laid over them.

    Raises InputError for a setting that may not be changed, for a value out of its bounds, and when nothing changes.
    """
    for name in changes:
        if name not in DIRECTIONS:
            may = ", ".join(sorted(DIRECTIONS))
            raise InputError(f"{name[:40]!r} cannot be changed while the engine runs; {may} can", field="changes")
    try:
        found = msgspec.convert({**msgspec.to_builtins(settings), **changes}, EngineSettings)
    except msgspec.ValidationError as error:
        raise InputError(f"the settings would be wrong: {error}", field="changes") from error
    if found == settings:
        raise InputError("these are the settings in force already", field="changes")
    if found.hold_p > found.alert_p:
        raise InputError("hold_p is at most alert_p: what is held is alerted, too", field="changes.hold_p")
    return found


def moved(old: EngineSettings, new: EngineSettings) -> tuple[Moved, ...]:
    """Return what differs between two settings, with the direction of each."""
    before, after = shown_settings(old), shown_settings(new)
    names = (name for name in DIRECTIONS if before[name] != after[name])
    return tuple(Moved(name, before[name], after[name], _loosens(name, before[name], after[name])) for name in names)


def _loosens(name: str, old: Any, new: Any) -> bool:
    direction = DIRECTIONS[name]
    if direction is Direction.BOTH_LOOSEN:
        return True
    return bool(new < old) if direction is Direction.LOWER_LOOSENS else bool(new > old)


def settings_item(old: EngineSettings, new: EngineSettings) -> Item:
    """Return the item that asks to change the settings. Numbers are texts: a document holds exactly what was typed."""
    found = moved(old, new)
    changes = {one.name: {"from": _text(one.old), "to": _text(one.new)} for one in found}
    told = "; ".join(f"{name} from {each['from']} to {each['to']}" for name, each in changes.items())
    return Item(
        step="",
        action=SETTINGS,
        effect=Effect.LOOSENS,
        target={"kind": "settings", "value": "engine"},
        params={"from_digest": old.digest(), "to_digest": new.digest(), "changes": changes},
        sentence=one_line(f"Change what the engine alerts and holds: {told}."),
    )


def settings_to(item: Item, old: EngineSettings) -> EngineSettings:
    """Return the settings that an approved item asks for, over those in force. Raises InputError when they differ."""
    wanted = item.params.get("changes")
    if not isinstance(wanted, dict):
        raise InputError("the document names no changes", field="params")
    new = changed(old, {str(name): msgspec.json.decode(str(each["to"])) for name, each in wanted.items()})
    if item.params.get("from_digest") != old.digest() or item.params.get("to_digest") != new.digest():
        raise InputError("the settings in force are not those that the request was made for", field="params")
    return new


def _text(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


class RuleChange(Protocol):
    """One change between two sets of detectors (`rules.comparison`)."""

    @property
    def detector(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def direction(self) -> Any: ...
    @property
    def old(self) -> str: ...
    @property
    def new(self) -> str: ...


class RuleComparison(Protocol):
    """What differs between two sets of detectors (`rules.comparison`)."""

    @property
    def old_digest(self) -> str: ...
    @property
    def new_digest(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def loosens(self) -> bool: ...
    @property
    def changes(self) -> Sequence[RuleChange]: ...


def rules_items(comparison: RuleComparison) -> tuple[Item, ...]:
    """Return what a document asks for that puts a looser set in force: the set, then every change that loosens.

    Raises InputError when there are more than one document holds.
    """
    loosening = [one for one in comparison.changes if str(one.direction) == "loosening"]
    if len(loosening) >= MAX_ITEMS:
        raise InputError(f"{len(loosening)} changes loosen: a document holds {MAX_ITEMS - 1}, change fewer at once")
    target = {"kind": "detectors", "value": comparison.new_digest}
    whole = Item(
        step="",
        action=RULES,
        effect=Effect.LOOSENS,
        target=target,
        params={"old": comparison.old_digest, "new": comparison.new_digest, "comparison": comparison.digest},
        sentence=f"Put another set of detectors in force, {comparison.new_digest}; {len(loosening)} changes loosen.",
    )
    return (whole, *(_change_item(target, one) for one in loosening))


def _change_item(target: dict[str, str], one: RuleChange) -> Item:
    return Item(
        step="",
        action=RULES,
        effect=Effect.LOOSENS,
        target=target,
        params={"detector": one.detector, "field": one.field, "old": one.old, "new": one.new},
        sentence=one_line(f"Detector {one.detector}: {one.field} changes from {one.old} to {one.new}."),
    )
