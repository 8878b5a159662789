"""Reads the playbooks at start-up and refuses a wrong one, naming the file and what to do.

A playbook that names an unknown action, aims an action at a kind of target it does not take, or waits for a step that it
does not have, stops start-up: found in an incident, it would be found too late. A user's own folder may replace a
playbook of ours by its name.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec
import yaml

from service.actions.base import ContainmentAction
from service.domain.canonical import digest
from service.domain.errors import ConfigurationError
from service.domain.incident import IncidentKind
from service.domain.plan import NEARBY_ACTION, Effect
from service.playbooks.model import TAG, TARGET_KIND, Playbook, Playbooks, Selector, StepTemplate

MAX_BYTES: Final = 64 * 1024


def load(actions: Mapping[str, ContainmentAction], extra: Path | None = None) -> Playbooks:
    """Return the playbooks, those in the folder `extra` in place of ours of the same name.

    Raises ConfigurationError that names the file.
    """
    by_name: dict[str, tuple[Playbook, str, str]] = {}
    for place, text in _sources(extra):
        playbook = _parse(place, text)
        for complaint in _complaints(playbook, actions):
            raise ConfigurationError(f"{place}: {complaint}")
        by_name[playbook.playbook] = (playbook, digest(TAG, msgspec.to_builtins(playbook)), place)
    by_kind: dict[IncidentKind, tuple[Playbook, str]] = {}
    for playbook, its_digest, place in by_name.values():
        if playbook.incident in by_kind:
            raise ConfigurationError(f"{place}: another playbook is already for incidents of kind {playbook.incident}")
        by_kind[playbook.incident] = (playbook, its_digest)
    return Playbooks(by_kind)


def _sources(extra: Path | None) -> Iterator[tuple[str, str]]:
    folder = files("service.playbooks")
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.name.endswith(".yaml"):
            yield f"service/playbooks/{entry.name}", entry.read_text(encoding="utf-8")
    if extra is None:
        return
    if not _is_folder(extra):
        raise ConfigurationError(f"{extra}: is no folder: set PORTCULLIS_PLAYBOOKS to one that exists, or unset it")
    for path in sorted(extra.glob("*.yaml")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: cannot be read by this process ({error}): correct its rights") from error
        yield str(path), text


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be reached by this process ({error.strerror})") from error


def _parse(place: str, text: str) -> Playbook:
    if len(text) > MAX_BYTES:
        raise ConfigurationError(f"{place}: is longer than {MAX_BYTES} bytes")
    try:
        return msgspec.convert(yaml.safe_load(text), Playbook)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{place}: is no playbook: {error}") from error


def _complaints(playbook: Playbook, actions: Mapping[str, ContainmentAction]) -> Iterator[str]:
    seen: set[str] = set()
    for number, step in enumerate(playbook.every_step, 1):
        action = actions.get(step.action)
        if action is None:
            yield f"step {number} names an unknown action {step.action!r}; there are: {', '.join(sorted(actions))}"
            return
        if TARGET_KIND[step.targets] not in action.target_kinds:
            kinds = ", ".join(sorted(action.target_kinds))
            yield f"step {number}: {step.action} takes {kinds}, not what {step.targets.value} gives"
        if step.targets is Selector.NEARBY_MULTISIGS and step.action != NEARBY_ACTION:
            yield f"step {number}: {step.action} cannot be aimed at what is merely near; only {NEARBY_ACTION} can"
        if action.effect is Effect.LOOSENS:
            yield f"step {number}: {step.action} loosens; people ask for that when it is over, no playbook does"
        unknown = [name for name in step.after if name not in seen]
        if unknown:
            yield f"step {number}: waits for {unknown[0]!r}, which no step before it is"
        seen.add(step.action)
    yield from _rotation_complaints(playbook.rotate_account, {step.action for step in playbook.steps})


def _rotation_complaints(rotation: tuple[StepTemplate, ...], planned: set[str]) -> Iterator[str]:
    if rotation and "prepare_rotation" not in planned:
        yield "rotate_account needs prepare_rotation among the steps"
