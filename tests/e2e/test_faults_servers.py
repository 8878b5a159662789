"""Servers die under a running installation: senders are told 503, nothing is lost, nothing is done twice, all recovers."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from tests.support.stack import INTAKE, VAULTS, Stack, standard_headers, wait_until, withdrawal

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
EVENTS = 40


class Victim:
    """One process that is about to be killed; found beforehand, so that nothing passes between a cause and the kill."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack = stack
        self._name = name
        self._process = psutil.Process(stack.processes()[name]["pid"])

    def kill(self) -> None:
        """kill -9, and wait until it has ended: whoever started it may not have noticed yet."""
        self._process.kill()
        wait_until(self._has_ended, f"{self._name} is gone")

    def _has_ended(self) -> bool:
        try:
            return self._process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def is_back(self) -> bool:
        """Whether the supervisor has brought it back."""
        now = self._stack.processes()[self._name]
        return bool(now["state"] == "ready" and now["pid"] != self._process.pid)


@contextmanager
def supervisor_paused(stack: Stack) -> Iterator[None]:
    """Nobody brings a killed server back within the block, however slow the machine is."""
    supervisor = psutil.Process(stack.processes()["supervisor"]["pid"])
    supervisor.suspend()
    try:
        yield
    finally:
        supervisor.resume()


class Sender:
    """A platform that repeats what was not taken, as platforms do after a 5xx or no answer."""

    def __init__(self, stack: Stack, prefix: str) -> None:
        self._stack = stack
        self._waiting = {f"{prefix}-{number}": withdrawal(9000 + number) for number in range(EVENTS)}
        self.all = set(self._waiting)
        self.refusals: list[httpx.Response] = []
        self.unanswered = 0

    def send_round(self) -> bool:
        """Send everything that was not taken yet; returns whether all is."""
        for event_id, body in list(self._waiting.items()):
            headers = standard_headers(self._stack.secrets[f"{INTAKE} webhook secret"], event_id, body)
            try:
                answer = self._stack.http.post(f"/webhooks/{INTAKE}", content=body, headers=headers)
            except httpx.TransportError:
                self.unanswered += 1
                return False
            if answer.status_code != 200:
                self.refusals.append(answer)
                return False
            del self._waiting[event_id]
        return True

    def stored(self) -> list[str]:
        """Event ids of this sender that are stored."""
        return sorted(a["event_id"] for a in self._stack.activities(connection=INTAKE) if a["event_id"] in self.all)


def proofs(stack: Stack) -> None:
    """The baselines and the audit log prove themselves."""
    for command in (("replay", "--verify"), ("audit", "verify")):
        done = stack.cli(*command)
        assert done.returncode == 0, done.stdout + done.stderr


def done_once(incident: dict[str, Any]) -> None:
    """Every step is done, and no step is there twice."""
    steps = [(s["action"], s["target"]["value"]) for s in incident["steps"]]
    assert len(steps) == len(set(steps))
    assert {s["state"] for s in incident["steps"]} == {"done"}, incident["steps"]


def test_postgresql_killed_in_mid_run(stack: Stack) -> None:
    sender, victim = Sender(stack, "pg-killed"), Victim(stack, "postgres")
    with supervisor_paused(stack):
        victim.kill()
        assert not sender.send_round(), "while PostgreSQL is away nothing can be taken"
    wait_until(sender.send_round, "everything is taken")
    wait_until(victim.is_back, "PostgreSQL is back")
    assert sender.unanswered == 0
    assert {r.status_code for r in sender.refusals} == {503}
    assert all(int(r.headers["retry-after"]) >= 1 and r.json()["code"] == "unavailable" for r in sender.refusals)
    assert sender.stored() == sorted(sender.all)
    assert stack.attack(VAULTS[1], "after-pg-killed").status_code == 200
    done_once(stack.incident_of(VAULTS[1]))
    proofs(stack)


@pytest.mark.parametrize(
    ("vaults", "pause_s"), [(VAULTS[2:4], 0.0), (VAULTS[4:6], 1.0)], ids=["at once", "in mid-step"]
)
def test_redis_killed_and_emptied_in_mid_run(stack: Stack, vaults: tuple[str, str], pause_s: float) -> None:
    victim = Victim(stack, "valkey")
    assert stack.attack(vaults[0], f"before-redis-killed-{vaults[0]}").status_code == 200
    time.sleep(pause_s)  # where jobs are when it dies; whatever they do, the outcome must be the same
    victim.kill()
    shutil.rmtree(stack.home / "valkey" / "appendonlydir", ignore_errors=True)
    assert stack.attack(vaults[1], f"while-redis-is-away-{vaults[1]}").status_code == 200, "intake needs no Redis"
    wait_until(victim.is_back, "Valkey is back")
    for vault in vaults:
        done_once(stack.incident_of(vault))
    proofs(stack)


def test_the_api_killed_in_mid_run(stack: Stack) -> None:
    sender, victim = Sender(stack, "api-killed"), Victim(stack, "api")
    victim.kill()
    wait_until(sender.send_round, "everything is taken")
    wait_until(victim.is_back, "the API is back")
    assert sender.stored() == sorted(sender.all)
    proofs(stack)


def test_the_containment_worker_killed_in_mid_run(stack: Stack) -> None:
    victim = Victim(stack, "containment")
    assert stack.attack(VAULTS[6], "containment-killed").status_code == 200
    victim.kill()
    done_once(stack.incident_of(VAULTS[6]))
    wait_until(victim.is_back, "the containment worker is back")


def test_the_processes_that_only_serve_others_come_back(stack: Stack) -> None:
    victims = [Victim(stack, name) for name in ("authority", "keys", "schedule")]
    for victim in victims:
        victim.kill()
    wait_until(lambda: all(victim.is_back() for victim in victims), "all three are back")
    assert stack.http.get("/v1/health").status_code == 200
