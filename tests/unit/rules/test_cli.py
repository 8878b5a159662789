import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rules.cli import app
from rules.loader import DEFAULT_DIRECTORY

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("command", [["lint", "--root", str(ROOT)], ["test"], ["list"]])
def test_what_ships_is_well(command: list[str]) -> None:
    plain = CliRunner().invoke(app, command)
    assert plain.exit_code == 0, plain.output
    document = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert document["digest"]
    assert document.get("failures", []) == []


def test_a_failing_case_is_exit_one_and_a_broken_file_exit_two(tmp_path: Path) -> None:
    text = (DEFAULT_DIRECTORY / "drain-fan-in.yaml").read_text()
    file = tmp_path / "drain-fan-in.yaml"
    file.write_text(text.replace("expect: fires", "expect: silent"))
    failed = CliRunner().invoke(app, ["test", "--directory", str(tmp_path)])
    assert failed.exit_code == 1
    assert "drain-fan-in: no case fires" in failed.output
    missing = CliRunner().invoke(app, ["lint", "--directory", str(tmp_path), "--root", str(tmp_path), "--json"])
    assert missing.exit_code == 1
    assert "does not exist" in json.loads(missing.output)["failures"][0]["problem"]
    file.write_text("id: [")
    broken = CliRunner().invoke(app, ["lint", "--directory", str(tmp_path)])
    assert broken.exit_code == 2
    assert "drain-fan-in.yaml: file" in broken.output


@pytest.mark.parametrize("command", ["lint", "test", "list"])
def test_help_has_an_example(command: str) -> None:
    assert "portcullis rules" in CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
