"""``portcullis rules`` as a person or a pipeline runs it."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rules.cli import app
from rules.loader import load_directory
from tests.unit.rules.sample import SAMPLE

ROOT = Path(__file__).parents[3]
EXPIRED = "exceptions: [{entity: 'account:a', owner: ada, reason: r, expires: '2020-01-01T00:00:00Z'}]\ncases:"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def folder(path: Path, **files: str) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / f"{name.replace('_', '-')}.yaml").write_text(text)
    return path


@pytest.mark.parametrize("command", [["lint", "--root", str(ROOT)], ["test"], ["list"]])
def test_what_ships_is_well(command: list[str]) -> None:
    plain = run(*command)
    assert plain.exit_code == 0, plain.output
    document = json.loads(run(*command, "--json").stdout)
    assert document["digest"] == load_directory().digest()
    assert document.get("failures", []) == []
    assert document.get("warnings", []) == []


def test_a_failing_case_is_exit_one(tmp_path: Path) -> None:
    failed = run("test", "-d", folder(tmp_path / "a", drain_fan_in=SAMPLE.replace("expect: fires", "expect: silent")))
    assert failed.exit_code == 1
    assert re.search("drain-fan-in .*no case fires", failed.output)
    missing = run("lint", "-d", tmp_path / "a", "--root", tmp_path, "--json")
    assert missing.exit_code == 1
    assert "does not exist" in json.loads(missing.stdout)["failures"][0]["problem"]


def test_every_broken_file_is_told_with_its_field_and_exit_two(tmp_path: Path) -> None:
    broken = folder(tmp_path / "a", drain_fan_in=SAMPLE.replace("decision: hold", "decision: maybe"), other="id: [")
    for command in (["lint"], ["test"], ["list"], ["explain", "drain-fan-in"]):
        told = run(*command, "-d", broken)
        assert told.exit_code == 2
        assert "error: drain-fan-in.yaml: decision: " in told.stderr
        assert "expected alert or hold" in told.stderr
        assert "error: other.yaml: file: " in told.stderr
    document = json.loads(run("lint", "-d", broken, "--json").stdout)
    assert [(one["file"], one["field"]) for one in document["errors"]] == [
        ("drain-fan-in.yaml", "decision"),
        ("other.yaml", "file"),
    ]


def test_a_terminal_is_not_steered_by_a_file(tmp_path: Path) -> None:
    evil = SAMPLE.replace("title: ", 'title: "\\e]0;owned\\a[red]" #')
    told = run("list", "-d", folder(tmp_path / "a", drain_fan_in=evil))
    assert told.exit_code == 0
    assert "\x1b]" not in told.output
    assert "[red]" in told.output


def test_lint_warns_of_exceptions_that_count_no_more(tmp_path: Path) -> None:
    old = folder(tmp_path / "a", drain_fan_in=SAMPLE.replace("\ncases:", "\n" + EXPIRED))
    told = run("lint", "-d", old)
    assert told.exit_code == 0
    assert "warning: drain-fan-in.yaml: exception expired and counts no more, remove it: account:a" in told.stderr
    assert "1 warnings" in told.stdout
    assert "expired" in json.loads(run("lint", "-d", old, "--json").stdout)["warnings"][0]["problem"]


def test_explain_tells_everything_a_person_asks_at_night() -> None:
    told = run("explain", "drain-fan-in")
    assert told.exit_code == 0
    for words in (
        "Several accounts pay one new destination within an hour",
        "critical, hold, playbook drain",
        "fan_in_accounts >= 2",
        "destination_value_1h >= 100000.0",
        "USD, decayed",
        "attack.t1657  Financial Theft  https://attack.mitre.org/techniques/T1657/",
        "three hot wallets, a quarter million dollars in five minutes",
        "docs/runbooks/detector/drain-fan-in.md",
    ):
        assert words in told.stdout
    document = json.loads(run("explain", "drain-fan-in", "--json").stdout)
    assert {one["name"] for one in document["reads"]} >= {"fan_in_accounts", "amount_usd_surprise"}
    assert all(one["unit"] and one["reads"] and one["null_when"] for one in document["reads"])
    assert document["techniques"][0]["name"] == "Financial Theft"


@pytest.mark.parametrize("detector", list(load_directory()), ids=lambda detector: str(detector.id))
def test_every_detector_can_be_explained(detector: object) -> None:
    name = getattr(detector, "id", "")
    assert run("explain", name).exit_code == 0


def test_a_misspelt_id_gets_the_near_ones() -> None:
    told = run("explain", "fan-in")
    assert told.exit_code == 2
    assert "drain-fan-in" in told.stderr
    assert "signing" not in told.stderr


def test_diff_tells_what_loosens(tmp_path: Path) -> None:
    old = folder(tmp_path / "old", drain_fan_in=SAMPLE)
    new = folder(tmp_path / "new", drain_fan_in=SAMPLE.replace("status: live", "status: shadow"))
    told = run("diff", old, new)
    assert told.exit_code == 0
    assert re.search(r"loosening .*drain-fan-in .*status .*live .*shadow", told.stdout)
    assert "a quorum must approve it" in told.stdout
    assert run("diff", old, new, "--fail-on-loosening").exit_code == 1
    assert run("diff", new, old, "--fail-on-loosening").exit_code == 0
    document = json.loads(run("diff", old, new, "--json").stdout)
    assert document["loosens"] is True
    assert document["changes"][0]["direction"] == "loosening"
    assert document["digest"] in told.stdout
    assert "Nothing changed" in run("diff", old, old).stdout


def test_diff_refuses_a_broken_set(tmp_path: Path) -> None:
    old, new = folder(tmp_path / "old", drain_fan_in=SAMPLE), folder(tmp_path / "new", drain_fan_in="id: [")
    told = run("diff", old, new)
    assert told.exit_code == 2
    assert "drain-fan-in.yaml: file: is not plain YAML" in told.stderr


@pytest.mark.parametrize("command", ["lint", "test", "list", "explain", "diff"])
def test_help_has_an_example(command: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert f"portcullis rules {command}" in told.output
