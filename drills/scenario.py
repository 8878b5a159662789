"""Loads scenario files strictly.

Rules: an unknown or missing field, a key given twice, an amount that is not a string, a name that is not defined, or
a script out of order is an error that names the file, the field and what to do.
"""

import re
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
import yaml

from drills.scenario_checks import problems
from drills.scenario_form import Scenario

MAX_FILE_BYTES = 1024 * 1024
FOLDER = Path(__file__).parent / "scenarios"
GATE_OFF = "-gate-off"
"""What a name ends with when the platform asks no gate."""


class ScenarioError(Exception):
    """A scenario that cannot be used. The message names the file, the field and what to do."""

    code: ClassVar[str] = "scenario_invalid"
    retry: ClassVar[Literal["never"]] = "never"


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping that gives one key twice; plain YAML keeps the last and says nothing."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[object, object]:
    pairs = [(loader.construct_object(key, deep=True), value) for key, value in node.value]
    names = [key for key, _ in pairs]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} is given twice; keep one", node.start_mark)
    return {key: loader.construct_object(value, deep=True) for key, value in pairs}


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def names() -> list[str]:
    """Return the names of the scenarios that come with Portcullis, sorted; one that can end without a gate has two."""
    plain = [p.stem for p in FOLDER.glob("*.yaml")]
    return sorted([*plain, *(f"{n}{GATE_OFF}" for n in plain if load(FOLDER / f"{n}.yaml").without_gate is not None)])


def load_named(name: str) -> Scenario:
    """Load a scenario that comes with Portcullis; ScenarioError lists the known names."""
    if name not in names():
        raise ScenarioError(f"no scenario is named {name!r}; choose one of {', '.join(names())}")
    found = load(FOLDER / f"{name.removesuffix(GATE_OFF)}.yaml")
    return gate_off(found) if name.endswith(GATE_OFF) else found


def load(path: Path) -> Scenario:
    """Load and check one file; ScenarioError."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            raise ScenarioError(f"{path}: larger than {MAX_FILE_BYTES} bytes; shorten it")
        found = yaml.load(raw, _UniqueKeys)  # noqa: S506 - a SafeLoader that also refuses double keys
        scenario = msgspec.convert(found, Scenario)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}; check the path and its permissions") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{path}: {_explain(str(error))}") from None
    for problem in problems(scenario, path.stem):
        raise ScenarioError(f"{path}: {problem}")
    return scenario


def gate_off(scenario: Scenario) -> Scenario:
    """Return the scenario as it must end when the platform asks no gate; ScenarioError when it does not say how."""
    if scenario.without_gate is None:
        raise ScenarioError(f"{scenario.name} does not say how it ends with the gate off: give it `without_gate`")
    return msgspec.structs.replace(
        scenario,
        name=scenario.name + GATE_OFF,
        expected=scenario.without_gate,
        without_gate=None,
        title=f"{scenario.title}, with the gate OFF",
    )


def _explain(message: str) -> str:
    """Turn msgspec's message into field first, then what to do."""
    what, _, where = message.partition(" - at ")
    place = where.strip("`").removeprefix("$").removeprefix(".")
    missing = re.search(r"missing required field `(.+?)`", what)
    unknown = re.search(r"contains unknown field `(.+?)`", what)
    if missing is not None:
        return f"field `{'.'.join(filter(None, [place, missing[1]]))}` is missing; add it"
    if unknown is not None:
        return f"field `{'.'.join(filter(None, [place, unknown[1]]))}` is not known; remove it or correct its name"
    hint = "; write the number in quotes, so that no digit is lost" if "Expected `str`, got" in what else "; correct it"
    return f"field `{place or 'the whole file'}`: {what}{hint}"
