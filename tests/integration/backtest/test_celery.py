"""A back-test shared out over Celery writes the same bytes, and ends whatever becomes of broker and workers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from rules.backtest import blocks
from rules.backtest.exchange import QUEUE
from service.cli import app
from service.commands import backtest_workers
from service.commands.backtest_workers import celery_hands
from service.domain.errors import UnavailableError
from service.domain.secrets import Secret
from tests.unit.rules.backtest.real import SETTINGS, assert_all_is_there, backtest, eventful, verdicts
from tests.unit.rules.backtest.recorded import write

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[3]
ROWS = eventful(600)
VERDICTS = verdicts(ROWS)


@contextmanager
def worker(url: str, folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m workers backtest`, told of a broker and a folder and of nothing else."""
    environment = {"PATH": os.environ["PATH"], "PORTCULLIS_REDIS_URL": url, "PORTCULLIS_BACKTEST_FOLDER": str(folder)}
    command = [sys.executable, "-m", "workers", "backtest"]
    with log.open("wb") as opened:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=opened, stderr=opened, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 64)
    made = tmp_path / "shared"
    made.mkdir()
    return made


@pytest.fixture
def expected(tmp_path: Path, folder: Path) -> bytes:
    """What one process writes; the engine and the rules are the real ones."""
    (tmp_path / "alone").mkdir()
    scores = backtest(tmp_path / "alone", ROWS, VERDICTS)
    assert_all_is_there(scores)
    return scores.read_bytes()


def nothing(_: str) -> None:
    """Takes a remark that no test looks at."""


def test_the_command_shares_out_over_celery_and_writes_the_same_bytes(
    tmp_path: Path, redis_url: str, folder: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest_workers, "TIMES", 170)  # a worker may be slow to start
    events, known = write(tmp_path / "events.parquet", ROWS), write(tmp_path / "verdicts.parquet", VERDICTS)
    settings, scores = tmp_path / "settings.json", tmp_path / "scores.parquet"
    settings.write_bytes(SETTINGS.encode())
    asked = ["--input", str(events), "--verdicts", str(known), "--output", str(scores), "--settings", str(settings)]
    with worker(redis_url, folder, tmp_path / "worker.log"):
        done = CliRunner().invoke(
            app, ["backtest", *asked, "--json", "--celery", redis_url, "--celery-folder", str(folder)]
        )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["events"] == len(ROWS)
    assert done.stderr == "", "every part was done by the worker"
    assert scores.read_bytes() == expected
    assert list(folder.iterdir()) == []


def test_without_workers_the_run_ends_here(
    tmp_path: Path, redis_url: str, folder: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest_workers, "AGAIN_S", 0.1)
    remarks: list[str] = []
    with celery_hands(Secret(redis_url), folder, remarks.append) as workers:
        scores = backtest(tmp_path, ROWS, VERDICTS, workers)
    assert scores.read_bytes() == expected
    assert len(remarks) == 1
    assert "the rest is done here: start workers with `python -m workers backtest`" in remarks[0]


def test_a_lost_message_is_sent_again(
    tmp_path: Path, redis_url: str, folder: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest_workers, "AGAIN_S", 1.0)
    monkeypatch.setattr(backtest_workers, "TIMES", 170)
    remarks: list[str] = []
    with celery_hands(Secret(redis_url), folder, remarks.append) as workers:
        submit = workers.submit

        def losing(part: object) -> object:
            pending = submit(part)  # type: ignore[arg-type]  # passed on as it came
            redis.Redis.from_url(redis_url).delete(QUEUE)
            return pending

        monkeypatch.setattr(workers, "submit", losing)
        with worker(redis_url, folder, tmp_path / "worker.log"):
            scores = backtest(tmp_path, ROWS, VERDICTS, workers)
    assert scores.read_bytes() == expected
    assert remarks == [], "every part was done by the worker in the end"


def test_a_broker_that_takes_nothing_is_an_error(tmp_path: Path, folder: Path) -> None:
    with (
        pytest.raises(UnavailableError, match="check the URL given to --celery"),
        celery_hands(Secret("redis://127.0.0.1:1/0"), folder, nothing) as workers,
    ):
        backtest(tmp_path, ROWS, workers=workers)
    assert not (tmp_path / "scores.parquet").exists()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("missing", ["PORTCULLIS_REDIS_URL", "PORTCULLIS_BACKTEST_FOLDER"])
def test_a_worker_that_was_told_too_little_does_not_start(tmp_path: Path, missing: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PORTCULLIS_REDIS_URL": "redis://127.0.0.1:1/0",
        "PORTCULLIS_BACKTEST_FOLDER": str(tmp_path),
    }
    del environment[missing]
    command = [sys.executable, "-m", "workers", "backtest"]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 2
    assert missing in ended.stderr.decode()
