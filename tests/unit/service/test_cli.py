"""Every command of `portcullis` says what it does, what each of its words means, and shows an example of itself."""

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from service.cli import COMMANDS, GROUPS, app


def leaves(command: Any, words: tuple[str, ...] = ("portcullis",)) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by the words that name it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(words), command
        return
    for name, one in below.items():
        yield from leaves(one, (*words, name))


LEAVES = dict(leaves(typer.main.get_command(app)))


def examples(command: Any, words: str) -> list[str]:
    """The lines of a command's help that begin with its own words."""
    told = " ".join(f"{command.help}\n{command.epilog or ''}".replace("`", " ").split())
    return [words + rest for rest in told.split(words)[1:]]


@pytest.mark.parametrize("words", LEAVES)
def test_a_command_explains_itself(words: str) -> None:
    command = LEAVES[words]
    first = command.help.strip().splitlines()[0]
    assert first.endswith(".")
    assert examples(command, words), "it shows no example of itself"
    assert not [one.name for one in command.params if not one.help], "these are not explained"


@pytest.mark.parametrize("words", LEAVES)
def test_an_example_names_options_that_the_command_has(words: str) -> None:
    command = LEAVES[words]
    known = {name for one in command.params for name in one.opts}
    for example in examples(command, words):
        assert {word for word in shlex.split(example) if word.startswith("--")} <= known


def test_every_command_stands_under_a_heading() -> None:
    headed = {one.__name__ for commands in COMMANDS.values() for one in commands}
    headed |= {name for groups in GROUPS.values() for name, _ in groups}
    assert {words.split()[1] for words in LEAVES} == headed
    assert len(LEAVES) > 50
