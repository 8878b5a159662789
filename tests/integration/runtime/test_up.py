import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from service.runtime.accounts import myself
from service.store.grants import ROLES
from tests.support.servers import running_postgres, running_valkey, short_folder

pytestmark = pytest.mark.servers
SCRIPT = Path(__file__).parents[2] / "support" / "up_with_fakes.py"


@pytest.fixture
def home() -> Iterator[Path]:
    with short_folder(myself()) as folder:
        folder.chmod(0o711)
        yield folder / "home"


def environment(home: Path, **more: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTCULLIS_")}
    return {**kept, "PORTCULLIS_HOME": str(home), "SOFTHSM2_CONF": "/nonexistent", **more}


def portcullis(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def running_up(home: Path, **more: str) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """`up` with fake processes, from the moment it says that it is up."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "up", "--port", "0"],
        env=environment(home, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process, said_until(process, "up: http")
    finally:
        process.terminate()
        process.communicate()


def said_until(process: "subprocess.Popen[str]", start: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith(start):
            return lines
    raise AssertionError("it ended without saying so:\n" + "\n".join(lines))


def status(home: Path) -> dict[str, Any]:
    done = portcullis(home, "status", "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_whole_life_of_an_installation(home: Path) -> None:
    with running_up(home) as (up, lines):
        names = [line.split()[0] for line in lines]
        order = ["postgres", "valkey", "authority", "containment", "keys", "schedule", "api"]
        assert set(order) <= set(names)
        assert sum("set-up token" in line for line in lines) == 1

        parts = {part["name"]: part for part in status(home)["parts"]}
        assert list(parts) == [*order, "supervisor"]
        assert {part["state"] for part in parts.values()} == {"ready"}
        assert all(part["pss_mb"] > 0 for part in parts.values())
        assert psutil.Process(parts["postgres"]["pid"]).uids().real != 0

        second = portcullis(home, "up", "--port", "0")
        assert second.returncode == 75
        assert f"pid {up.pid}" in second.stderr

        os.kill(parts["keys"]["pid"], signal.SIGKILL)
        told = said_until(up, "keys         signs with wallet keys (again)")
        assert any("ended with code -9; starting it again" in line for line in told)
        again = {part["name"]: part for part in status(home)["parts"]}["keys"]
        assert again["restarts"] == 1
        assert again["pid"] != parts["keys"]["pid"]

        doctor = {check["name"]: check for check in json.loads(portcullis(home, "doctor", "--json").stdout)}
        for name in ("migrations", "locks", "redis", "commits are durable", "secret files", "token gate: login"):
            assert doctor[name]["outcome"] == "ok", doctor[name]

        assert portcullis(home, "down").returncode == 0
        assert said_until(up, "stopped: everything ended cleanly")
        assert up.wait() == 0
        assert not [part["pid"] for part in again_alive(parts)]
    assert portcullis(home, "status").returncode == 3
    assert portcullis(home, "down").returncode == 3
    with running_up(home) as (_, lines):
        assert not [line for line in lines if "set-up token" in line]


def again_alive(parts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for part in parts.values() if psutil.pid_exists(part["pid"])]


def test_nothing_survives_a_killed_supervisor_and_its_successor_starts(home: Path) -> None:
    with running_up(home) as (up, _):
        children = psutil.Process(up.pid).children(recursive=True)
        up.kill()
        _, alive = psutil.wait_procs(children, timeout=90)
        assert not alive
    with running_up(home):
        assert status(home)["parts"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_during_the_start_leaves_nothing_behind(home: Path, number: signal.Signals) -> None:
    (home.parent / "nobody-is-ready").touch()  # so that it is still starting, however slow this test is
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "up", "--port", "0"],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said_until(process, "postgres ")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    said, _ = process.communicate()
    assert process.returncode == 130, said
    assert "nothing is left running" in said
    assert not [child for child in children if child.is_running()]


def test_processes_are_apart_where_this_machine_allows_it(home: Path) -> None:
    with running_up(home) as (_, lines):
        if any(line.startswith("isolation missing") for line in lines):
            pytest.skip(next(line for line in lines if line.startswith("isolation missing")))
        pids = {part["name"]: part["pid"] for part in status(home)["parts"]}
        users = {name: psutil.Process(pid).uids() for name, pid in pids.items() if name != "supervisor"}
        assert len({user.real for user in users.values()}) == len(users)
        assert all(0 not in (user.real, user.effective, user.saved) for user in users.values())
        for process, user in users.items():
            files = (home / "env").glob("*.env")
            assert {path.stem for path in files if path.stat().st_uid == user.real} <= {process}
        assert (home / "public").stat().st_mode & 0o022 == 0
        guardian = home / "public" / "guardian-address.txt"
        assert (len(guardian.read_text().strip()), guardian.stat().st_mode & 0o777) == (42, 0o644)


def test_ones_own_servers_are_used_and_none_is_started(home: Path) -> None:
    with running_postgres() as postgres, running_valkey() as valkey:
        url = postgres.empty_database()
        with running_up(home, PORTCULLIS_DATABASE_URL=url, PORTCULLIS_REDIS_URL=valkey.url()):
            assert {part["name"] for part in status(home)["parts"]}.isdisjoint({"postgres", "valkey"})
            assert "test-only" not in (home / "env" / "api.env").read_text().replace(valkey.url(), "")
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper").fetchall()
        assert set(ROLES) <= {role for (role,) in found}


def test_a_taken_port_is_refused_with_what_to_do(home: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = portcullis(home, "up", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 75
    assert f"pid {os.getpid()} has it): choose another with --port" in done.stderr
    assert not (home / "postgres").exists()


def test_running_one_process_needs_its_settings(home: Path) -> None:
    unknown = portcullis(home, "run", "everything")
    assert (unknown.returncode, "one of authority" in unknown.stderr) == (64, True)
    early = portcullis(home, "run", "api")
    assert (early.returncode, "up --only-prepare" in early.stderr) == (78, True)


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"PORTCULLIS_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}, 69, "PostgreSQL does not answer"),
        ({"PORTCULLIS_DATABASE_URL": "nonsense="}, 78, "not a PostgreSQL URL"),
        ({"PORTCULLIS_REDIS_URL": "redis://127.0.0.1:1/0"}, 69, "no Redis-protocol server answers"),
        ({"PORTCULLIS_REDIS_URL": "nonsense"}, 78, "not a Redis URL"),
        ({"PORTCULLIS_PKCS11_MODULE": "/nonexistent.so"}, 78, "no file is there"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_stays(home: Path, settings: dict[str, str], code: int, says: str) -> None:
    done = portcullis(home, "up", "--port", "0", **settings)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert portcullis(home, "status").returncode == 3


def test_a_refused_pin_is_said_once_and_not_tried_again(home: Path) -> None:
    with running_up(home):
        pass
    pin = home / "tokens" / "gate" / "pin"
    right = pin.read_text()
    pin.write_text("wrong-pin\n")
    first = portcullis(home, "up", "--port", "0")
    pin.write_text(right)
    second = portcullis(home, "up", "--port", "0")
    assert (first.returncode, second.returncode) == (78, 78)
    assert "pin-clear" in second.stderr
