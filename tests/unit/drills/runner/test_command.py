"""What the command line says about what cannot be carried out."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import drills
from drills.command import app
from drills.runner.homes import demo_folder, fresh_home
from drills.scenario import FOLDER


def test_an_unknown_scenario_names_the_known_ones() -> None:
    done = CliRunner().invoke(app, ["run", "mt-gox"])

    assert done.exit_code == 2
    assert "choose one of benign-day, bybit-2025, bybit-2025-gate-off, kucoin-2020, ronin-2024" in done.stderr


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    text = (FOLDER / "kucoin-2020.yaml").read_text()
    broken = tmp_path / "kucoin-2020.yaml"
    broken.write_text(text.replace("random_seed: 20200926\n", ""))

    done = CliRunner().invoke(app, ["run", str(broken)])

    assert done.exit_code == 2
    assert "kucoin-2020.yaml: field `random_seed` is missing; add it" in done.stderr


def test_a_running_installation_needs_its_set_up_token(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "benign-day", "--url", "http://127.0.0.1:1", "--home", str(tmp_path)])

    assert done.exit_code == 2
    assert "setup-token cannot be read" in done.stderr


def test_the_scenarios_are_listed() -> None:
    done = CliRunner().invoke(app, ["list"])

    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "benign-day",
        "bybit-2025",
        "bybit-2025-gate-off",
        "kucoin-2020",
        "ronin-2024",
    ]


def test_old_homes_are_cleared_away_but_not_running_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = demo_folder(tmp_path)
    for name in ("home-old", "home-running"):
        (folder / name).mkdir()
        (folder / name / "lock").touch()
    monkeypatch.setattr("drills.runner.homes.is_running", lambda home: home.name == "home-running")

    home = fresh_home(folder)

    assert not home.exists()
    assert [p.name for p in folder.iterdir()] == ["home-running"]


def test_without_its_packages_it_says_how_to_install_them() -> None:
    """`-S` leaves out whatever is installed."""
    root = Path(drills.__path__[0]).parent
    told = [sys.executable, "-S", "-m", "drills", "list"]
    done = subprocess.run(told, cwd=root, capture_output=True, text=True, check=False, env={"PYTHONPATH": ""})

    assert (done.returncode, done.stdout) == (2, "")
    assert "is not installed" in done.stderr
    assert "make install" in done.stderr
    assert "Traceback" not in done.stderr
