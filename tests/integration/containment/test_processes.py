"""The shipped processes as the supervisor starts them: `python -m workers keys` on a real token, and the schedule."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from hsm.pkcs11.config import TokenConfig
from hsm.power import Power
from tests.integration.hsm.tokens import set_up
from tests.support.servers import SoftHsm, url_of_role

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[3]
PATIENCE_S = 150.0
LIMITED = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY


@contextmanager
def process(kind: str, home: Path, more: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "PORTCULLIS_PROCESS": kind,
        "PORTCULLIS_HOME": str(home),
        **more,
    }
    command = [sys.executable, "-m", "workers", kind]
    with (home / f"{kind}.log").open("w") as log:
        started = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()
            started.wait()


def ended_or_ready(started: subprocess.Popen[str], kind: str, home: Path) -> bool:
    """Wait until the process says that it is ready (True) or has ended (False)."""
    ready = home / "run" / "ready" / kind
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if started.poll() is not None:
            return False
        if ready.exists() and (told := ready.read_text().strip()):  # it is made first, then written
            assert told == str(started.pid)
            return True
        time.sleep(0.05)
    pytest.fail((home / f"{kind}.log").read_text())


@pytest.fixture
def vault(softhsm: SoftHsm, tmp_path: Path) -> TokenConfig:
    folder = tmp_path / "token"
    folder.mkdir()
    return set_up(softhsm.module, softhsm.configuration, folder, Power.VAULT, f"vault-{tmp_path.name[-20:]}")


@pytest.fixture
def settings(
    fresh_postgres_url: str, redis_url: str, vault: TokenConfig, softhsm: SoftHsm, tmp_path: Path
) -> dict[str, str]:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "authority-votes.pem").write_text("not asked for here")
    (tmp_path / "pin").write_text(vault.pin())
    (tmp_path / "pin").chmod(0o600)
    return {
        "PORTCULLIS_DATABASE_URL": url_of_role(fresh_postgres_url, "portcullis_keys"),
        "PORTCULLIS_REDIS_URL": redis_url,
        "PORTCULLIS_TOKEN_URI": (
            f"pkcs11:token={vault.label}?module-path={vault.module}&pin-source=file:{tmp_path}/pin"
        ),
        "PORTCULLIS_SOFTHSM2_CONF": str(softhsm.configuration),
    }


def test_the_key_worker_starts_on_its_token_and_stops_when_told(settings: dict[str, str], tmp_path: Path) -> None:
    with process("keys", tmp_path, settings) as started:
        ready = ended_or_ready(started, "keys", tmp_path)
        assert ready, (tmp_path / "keys.log").read_text()
        end = time.monotonic() + PATIENCE_S
        while LIMITED and "LimitMEMLOCK" not in (tmp_path / "keys.log").read_text():
            assert time.monotonic() < end, "it did not say that its memory can be swapped"
            time.sleep(0.05)
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE_S) == 0
    assert (tmp_path / "run" / "ready" / "keys").read_text() == ""


def test_a_refused_pin_ends_the_worker_with_a_message(settings: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("wrong-pin")
    with process("keys", tmp_path, settings) as started:
        ended_or_ready(started, "keys", tmp_path)
        assert started.wait(PATIENCE_S) != 0
    log = (tmp_path / "keys.log").read_text()
    assert "worker.cannot_start" in log
    assert "wrong-pin" not in log


def test_the_schedule_reminds(settings: dict[str, str], redis_url: str, tmp_path: Path) -> None:
    with process("schedule", tmp_path, settings) as started:
        assert ended_or_ready(started, "schedule", tmp_path), (tmp_path / "schedule.log").read_text()
        with redis.Redis.from_url(redis_url) as client:
            end = time.monotonic() + PATIENCE_S
            while client.llen("flow") == 0 and time.monotonic() < end:
                time.sleep(0.1)
            assert client.llen("flow") != 0
        started.send_signal(signal.SIGTERM)
        assert started.wait(PATIENCE_S) == 0
