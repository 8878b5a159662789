"""Whole drills on the real stack: `portcullis up`, the emulated platform, votes with TOTP codes, the written review."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
DRILL_TIMEOUT_S = 240


def drill(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run a drill in an empty folder; returns how it ended and its summary."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=DRILL_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done, json.loads((folder / ".portcullis" / "demo" / "summary.json").read_text())


def test_kucoin_2020_is_contained_by_a_sweep(tmp_path: Path) -> None:
    done, summary = drill(tmp_path, "-m", "drills", "demo")

    assert summary["scenario"] == "kucoin-2020"
    assert float(summary["value_lost_usd"]) < float(summary["value_at_risk_usd"]) / 2
    assert 0 <= summary["detected_after_s"] <= summary["held_after_s"] <= summary["contained_after_s"]
    assert summary["incident_id"] in Path(summary["review_path"]).read_text()
    assert "in reality" in done.stdout
    assert "119 min" in done.stdout
    assert not _left_over(tmp_path)


def test_bybit_2025_without_the_gate_loses_one_safe_and_locks_the_other_in_time(tmp_path: Path) -> None:
    done, summary = drill(tmp_path, "-m", "service.cli", "drill", "bybit-2025-gate-off")

    assert "THE GATE IS OFF" in done.stdout
    assert summary["gate"] is False
    assert (summary["value_lost_usd"], summary["value_saved_usd"]) == ("1393200129.00", "194400000.00")
    assert 0 <= summary["detected_after_s"] <= summary["locked_after_s"]
    assert {"check": "the guard is what refuses it", "held": True} in summary["checks"]
    assert not _left_over(tmp_path)


def test_bybit_2025_is_refused_before_anything_is_signed(tmp_path: Path) -> None:
    done, summary = drill(tmp_path, "-m", "service.cli", "drill", "bybit-2025")

    assert "THE GATE IS OFF" not in done.stdout
    assert summary["gate"] is True
    assert (summary["value_at_risk_usd"], summary["value_lost_usd"]) == ("1587600129.00", "0.00")
    assert 0 <= summary["detected_after_s"] <= summary["locked_after_s"]
    assert all(check["held"] for check in summary["checks"])
    assert not _left_over(tmp_path)


def test_ronin_2024_loses_no_more_than_in_reality_and_what_is_left_is_swept(tmp_path: Path) -> None:
    done, summary = drill(tmp_path, "-m", "service.cli", "drill", "ronin-2024")

    assert "38 min" in done.stdout
    assert float(summary["value_lost_usd"]) <= 12_000_000 < float(summary["value_saved_usd"])
    assert 0 <= summary["detected_after_s"] <= summary["held_after_s"] <= summary["contained_after_s"]
    assert {"check": "every account at risk was swept by quorum", "held": True} in summary["checks"]
    assert all(check["held"] for check in summary["checks"])
    assert not _left_over(tmp_path)


def test_a_benign_day_ends_with_no_hold(tmp_path: Path) -> None:
    done, summary = drill(tmp_path, "-m", "drills", "run", "benign-day", "--json")

    assert json.loads(done.stdout.splitlines()[-1]) == summary
    assert summary["held_after_s"] is None
    assert {"check": "the service held nothing", "held": True} in summary["checks"]
    assert {"check": "every score is the same when scored again", "held": True} in summary["checks"]


def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "drills", "demo"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("parts started: 2/"):
            break
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=100)

    assert process.returncode == 130
    assert "everything that was started has been stopped" in errors
    assert not _left_over(tmp_path)


def _left_over(folder: Path) -> list[str]:
    """Return the processes that still run with this folder among their arguments, after a moment to end."""
    end = time.monotonic() + 60
    while True:
        found = [
            " ".join(p.info["cmdline"]) for p in psutil.process_iter(["cmdline"]) if _is_of(p.info["cmdline"], folder)
        ]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.2)


def _is_of(arguments: list[str] | None, folder: Path) -> bool:
    return any(str(folder) in one for one in arguments or ())
