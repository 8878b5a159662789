"""The documents keep up with the code: decisions are decided, runbooks exist, links lead somewhere."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from tests.architecture.tree import ROOT, files, sources

DECISIONS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
SECTIONS = ["## Context", "## Decision", "## Consequences", "## What enforces it"]
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)[^)]*\)")
_BASES = {"ContainmentAction", "NonceAction"}


def action_names() -> set[str]:
    """The `name` of every declared containment action, read without importing anything."""
    return {
        statement.value.value
        for source in sources("service/actions")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") in _BASES for base in node.bases)
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id == "name"
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    }


def detector_names() -> set[str]:
    """The `id` of every detector file."""
    folder = ROOT / "rules" / "detectors"
    return {yaml.safe_load(path.read_text(encoding="utf-8"))["id"] for path in folder.glob("*.yaml")}


def runbooks(kind: str) -> set[str]:
    return {path.stem for path in (ROOT / "docs" / "runbooks" / kind).glob("*.md")} - {"README"}


def test_every_action_has_a_runbook_and_every_runbook_an_action() -> None:
    assert runbooks("action") == action_names()


def test_every_detector_has_a_runbook_and_every_runbook_a_detector() -> None:
    assert runbooks("detector") == detector_names()


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_record_decides_and_names_its_enforcement(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    bodies = re.split(r"(?m)^## .*$", text)[1:]
    assert headings == SECTIONS
    assert all(len(body.split()) >= 10 for body in bodies)
    assert re.match(r"# \d{4}: \S", text)


def test_decision_records_are_numbered_without_gaps_and_listed() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    assert len(DECISIONS) >= 10
    assert re.findall(r"(?m)^\| \[\d{4}\]\((.+?)\) \|", index) == [path.name for path in DECISIONS]


def test_every_relative_link_leads_to_a_file() -> None:
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in files()
        if path.suffix == ".md"
        for target in _LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert not dead


def test_the_enforcement_sections_name_files_that_exist() -> None:
    """A path in backquotes under 'What enforces it' must be there: an enforcer that is gone enforces nothing."""
    missing = [
        f"{path.name}: {name}"
        for path in DECISIONS
        for name in re.findall(r"`([\w./-]+/[\w./-]*)`", path.read_text(encoding="utf-8").split(SECTIONS[3])[1])
        if not (ROOT / name).exists()
    ]
    assert not missing
