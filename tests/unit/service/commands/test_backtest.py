"""`portcullis backtest` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from service.cli import EXIT_CODES, app
from service.commands.backtest import StoppedError
from service.domain.errors import ConfigurationError, InputError
from tests.unit.rules.backtest.recorded import payments, verdicts_on, write

ROOT = Path(__file__).parents[4]
HEAVY = ("sqlalchemy", "psycopg", "asyncpg", "redis", "celery", "PyKCS11", "fastapi", "alembic")
DETECTOR = """
id: large-for-everybody
version: 1
status: live
title: A payment above a thousand dollars
severity: medium
decision: alert
kinds: ["withdrawal.*"]
guard: {feature: amount_usd, op: ">=", number: 1000}
expr: amount_usd >= 1000.0
playbook: drain
tags: []
runbook: docs/runbooks/detector/large-for-everybody.md
cases:
  - {name: large, expect: fires, kind: withdrawal.requested, features: {amount_usd: 5000}}
  - {name: small, expect: silent, kind: withdrawal.requested, features: {amount_usd: 5}}
  - {name: unknown, expect: silent, kind: withdrawal.requested, features: {}, history: none}
"""


def asked(folder: Path, *more: str, suffix: str = ".parquet") -> list[str]:
    return [
        "backtest", "--input", str(folder / f"events{suffix}"), "--output", str(folder / f"scores{suffix}"),
        "--processes", "1", *more,
    ]  # fmt: skip


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    rows = payments(600)
    for row in rows[10::60]:
        row["amount_usd"] = 5000.0
    write(tmp_path / "events.parquet", rows)
    bad = [str(row["event_id"]) for row in rows[10::60]]
    write(tmp_path / "verdicts.csv", verdicts_on(rows, 3600.0, [*bad, "e11"]))
    return tmp_path


def test_help_has_examples() -> None:
    told = CliRunner().invoke(app, ["backtest", "--help"], env={"COLUMNS": "200"}).stdout
    assert "portcullis backtest --input events.parquet" in told
    assert "--budget-per-day" in told


def test_tables_tell_what_happened(recorded: Path) -> None:
    done = CliRunner().invoke(app, asked(recorded, "--verdicts", str(recorded / "verdicts.csv")))
    assert done.exit_code == 0, done.output
    assert "600 events in" in done.stdout
    assert "alerts by week" in done.stdout
    assert "against verdicts" in done.stdout
    assert pq.read_metadata(recorded / "scores.parquet").num_rows == 600


def test_json_is_one_document_and_a_budget_is_compared(recorded: Path) -> None:
    report = recorded / "report.html"
    done = CliRunner().invoke(app, asked(recorded, "--json", "--budget-per-day", "2", "--report", str(report)))
    told = json.loads(done.stdout)
    assert (told["events"], told["budget_per_day"], told["verdicts"]) == (600, 2.0, 0)
    assert told["written"]["confusion"] is None
    assert "<svg" in report.read_text(encoding="utf-8")


def test_a_candidate_is_shown_beside_the_rules_in_force(recorded: Path) -> None:
    (recorded / "mine").mkdir()
    (recorded / "mine" / "large-for-everybody.yaml").write_text(DETECTOR, encoding="utf-8")
    more = ("--verdicts", str(recorded / "verdicts.csv"), "--rules", str(recorded / "mine"))
    told = json.loads(CliRunner().invoke(app, asked(recorded, "--json", *more)).stdout)
    fired = {one["id"]: one for one in told["written"]["detectors"]}
    assert fired["large-for-everybody"]["true_positives"] == 10
    large = [row for row in pq.read_table(recorded / "events.parquet").to_pylist() if row["amount_usd"] >= 1000]
    assert fired["large-for-everybody"]["deciding"] == len(large)
    assert "large-for-everybody" not in {one["id"] for one in told["in_force"]["detectors"]}
    assert told["written"]["confusion"]["true_positives"] >= 10
    missed = [one for one in told["written"]["examples"]["missed"] if one["event_id"] == "e11"]
    assert "large-for-everybody" in [near["detector"] for near in missed[0]["near_misses"]]
    assert "amount_usd >= 1000 did not hold" in missed[0]["near_misses"][0]["because"]
    shown = CliRunner().invoke(app, asked(recorded, *more)).stdout
    assert "raised, rightly" in shown
    assert "in force" in shown


def listed_in(told: dict[str, Any]) -> dict[str, int]:
    """How often each detector of listed destinations decided."""
    fired = {one["id"]: one["deciding"] for one in told["written"]["detectors"]}
    return {name: times for name, times in fired.items() if "-listed-" in name or "-sanctioned-" in name}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_address_list_is_tried_on_the_archive(recorded: Path, processes: str) -> None:
    address = "0x5a0b54d5dc17e0aadc383d2db43b0a0d3e029c4c"
    rows = payments(600)
    for number, row in enumerate(rows):
        row["destination"] = f"eip155:1:{address}" if number % 100 == 50 else row["destination"]
    write(recorded / "events.parquet", rows)
    (recorded / "bad.txt").write_text(f"{address}\n", encoding="utf-8")
    (recorded / "own.csv").write_text(f"address,name,kind\n{address},Ours,own\n", encoding="utf-8")
    lists = ("--lists", str(recorded / "bad.txt"), "--lists", str(recorded / "own.csv"), "--processes", processes)
    told = json.loads(CliRunner().invoke(app, asked(recorded, "--json", *lists)).stdout)
    assert listed_in(told) == {"paid-to-sanctioned-destination": 6}
    held = [one["decision"] for one in pq.read_table(recorded / "scores.parquet").to_pylist()]
    assert [number for number, decision in enumerate(held) if decision == "hold"][:6] == [50, 150, 250, 350, 450, 550]
    mixed = json.loads(CliRunner().invoke(app, asked(recorded, "--json", *lists, "--list-kind", "mixer")).stdout)
    assert listed_in(mixed) == {"paid-to-listed-mixer": 6}


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        (("--verdicts", "none.csv"), InputError, "none.csv: cannot be read: No such file"),
        (("--rules", "none"), ConfigurationError, "none"),
        (("--settings", "none.json"), InputError, "none.json cannot be read"),
        (("--lists", "none.txt"), InputError, "none.txt cannot be read"),
        (("--lists", str(ROOT / "docs/pictures/flow.svg")), InputError, "flow.svg: line 1: "),
        (("--lists", "none.txt", "--list-kind", "bad"), InputError, "'bad' is no kind of label"),
        (("--celery", "redis://127.0.0.1:1/0"), InputError, "--celery needs --celery-folder"),
    ],
)
def test_what_is_wrong_is_said(recorded: Path, more: tuple[str, ...], error: type[Exception], says: str) -> None:
    done = CliRunner().invoke(app, asked(recorded, *more))
    assert isinstance(done.exception, error)
    assert says in str(done.exception)
    assert not (recorded / "scores.parquet").exists()


def test_settings_are_read_and_checked(recorded: Path) -> None:
    path = recorded / "settings.json"
    path.write_text('{"memory_days": -1}', encoding="utf-8")
    done = CliRunner().invoke(app, asked(recorded, "--settings", str(path)))
    assert isinstance(done.exception, InputError)
    assert "memory_days" in str(done.exception)


def test_ctrl_c_ends_with_130_and_leaves_nothing(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rules.backtest.ordered.OrderedPass.score", interrupted)
    done = CliRunner().invoke(app, asked(recorded))
    assert isinstance(done.exception, StoppedError)
    assert EXIT_CODES[StoppedError.code] == 130
    assert sorted(path.name for path in recorded.iterdir()) == ["events.parquet", "verdicts.csv"]


def test_no_database_no_broker_and_no_token_is_loaded(recorded: Path) -> None:
    """In a process of its own: this one has loaded everything for other tests."""
    script = (
        "import sys; from pathlib import Path; import typer; from service.commands.backtest import backtest\n"
        "app = typer.Typer(); app.command()(backtest)\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], [n for n in sys.modules if n.startswith('hsm')])"
    )
    command = [sys.executable, "-c", script, *asked(recorded, "--json")[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[] []"], done.stderr
