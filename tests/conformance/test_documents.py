"""The documents name only what there is: commands with their options, modules that run, targets of make, files, variables.

What is named is what stands in backquotes or in a block of code; the change log and the records of decisions are history
and may name what is gone.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main

from hsm.power import Power
from service.cli import app
from tests.architecture.tree import ROOT, sources, texts

PAGES = [(path, text) for path, text in texts() if path.endswith(".md") and "/adr/" not in path]
CODE = [
    (path, code if code.startswith("```") else " ".join(code.split()))
    for path, text in PAGES
    for code in re.findall(r"(?m)^(?: {4}|\t)\S.*$|(?<!`)`[^`]+`(?!`)|(?<=\n)```[^`]*?\n[\s\S]*?\n\s*```", text)
]
PORTCULLIS = typer.main.get_command(app)
_COMMAND = re.compile(r"(?<![\w/.-])portcullis ([a-z][a-z-]*)(?: +([a-z][a-z-]*))?([^\n|;&`#]*)")
_PLACES = ("service", "workers", "rules", "hsm", "drills", "bench", "tests", "docs", "scripts")
_PLACEHOLDERS = {"NAME", "ID"}
_PATH = re.compile(rf"(?<![\w/.:*-])((?:{'|'.join(_PLACES)})/[\w./-]*[\w/])(?![\w*<{{(…])")
_VARIABLE = re.compile(r"\bPORTCULLIS_[A-Z_]*[A-Z]\b(?!_)")


def command_of(words: tuple[str, ...]) -> Any:
    """Return the command that words name; None where there is none."""
    found: Any = PORTCULLIS
    for word in words:
        found = getattr(found, "commands", {}).get(word)
        if found is None:
            return None
    return found


def options_of(command: Any) -> set[str]:
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}


def named_commands() -> Iterator[tuple[str, str, str, str]]:
    for path, code in CODE:
        for found in _COMMAND.finditer(code):
            yield path, found[1], found[2] or "", found[3]


def wrong_with(first: str, second: str, rest: str) -> str | None:
    """Return what is wrong with a command as it is written, if anything."""
    command = command_of((first,))
    if command is None:
        return f"there is no `portcullis {first}`"
    if second and hasattr(command, "commands"):
        command = command_of((first, second))
        if command is None:
            return f"there is no `portcullis {first} {second}`"
        if hasattr(command, "commands") and (third := re.match(r" +([a-z][a-z-]*)", rest)):
            command = command_of((first, second, third[1]))
            if command is None:
                return f"there is no `portcullis {first} {second} {third[1]}`"
    unknown = set(re.findall(r"(?<=\s)--[a-z][a-z-]*", rest)) - options_of(command)
    return f"`portcullis {first} {second}` has no {', '.join(sorted(unknown))}" if unknown else None


def test_every_command_and_option_that_a_page_names_exists() -> None:
    wrong = [f"{path}: {problem}" for path, *named in named_commands() if (problem := wrong_with(*named))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "named", [("upp", "", ""), ("hsm", "initialise", ""), ("up", "", " --prot 9"), ("hsm", "ceremony", " runn")]
)
def test_a_command_that_is_not_there_is_found(named: tuple[str, str, str]) -> None:
    assert wrong_with(*named)


def test_every_module_that_a_page_runs_exists() -> None:
    names = {(path, name) for path, code in CODE for name in re.findall(r"python -m ([a-z_][\w.]*)", code)}
    assert len(names) > 10
    assert not [(path, name) for path, name in names if find_spec(name) is None]


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    named = {(path, name) for path, code in CODE for name in re.findall(r"(?:^`?|[ (])make ([a-z-]+)", code)}
    assert len(named) > 10
    assert not [(path, name) for path, name in named if name not in targets]


def test_every_path_that_a_page_names_exists() -> None:
    named = {(path, found) for path, code in CODE for found in _PATH.findall(code)}
    assert len(named) > 50
    gone = [(path, name) for path, name in sorted(named) if not (ROOT / name).exists()]
    assert not [(path, name) for path, name in gone if Path(name).stem not in _PLACEHOLDERS]


def test_every_variable_that_a_page_names_is_read_somewhere() -> None:
    code = "\n".join(source.text for source in sources("service", "workers", "hsm", "drills", "bench", "tests"))
    known = set(_VARIABLE.findall(code)) | {f"PORTCULLIS_{power.name}_URI" for power in Power}
    assert not [(path, name) for path, text in PAGES for name in set(_VARIABLE.findall(text)) - known]
