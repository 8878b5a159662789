"""Servers die under a running installation: senders are told 503, nothing is lost, nothing is done twice, all recovers."""

import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from tests.support.stack import INTAKE, VAULTS, Stack, standard_headers, wait_until, withdrawal

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
EVENTS = 40


def kill(stack: Stack, name: str) -> Callable[[], bool]:
    """kill -9 one process and wait until it is gone; returns the question whether the supervisor brought it back."""
    before = stack.processes()[name]
    process = psutil.Process(before["pid"])
    os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs([process], timeout=30)

    def is_back() -> bool:
        now = stack.processes()[name]
        return bool(now["state"] == "ready" and now["pid"] != before["pid"])

    return is_back


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
    sender = Sender(stack, "pg-killed")
    is_back = kill(stack, "postgres")
    assert not sender.send_round(), "the first delivery after the kill cannot be taken"
    wait_until(sender.send_round, "everything is taken")
    wait_until(is_back, "PostgreSQL is back")
    assert sender.unanswered == 0
    assert {r.status_code for r in sender.refusals} == {503}
    assert all(int(r.headers["retry-after"]) >= 1 and r.json()["code"] == "unavailable" for r in sender.refusals)
    assert sender.stored() == sorted(sender.all)
    assert stack.attack(VAULTS[1], "after-pg-killed").status_code == 200
    done_once(stack.incident_of(VAULTS[1]))
    proofs(stack)


def test_redis_killed_and_emptied_in_mid_run(stack: Stack) -> None:
    assert stack.attack(VAULTS[2], "before-redis-killed").status_code == 200
    is_back = kill(stack, "valkey")
    shutil.rmtree(stack.home / "valkey" / "appendonlydir", ignore_errors=True)
    assert stack.attack(VAULTS[3], "while-redis-is-away").status_code == 200, "intake needs no Redis"
    wait_until(is_back, "Valkey is back")
    for vault in VAULTS[2:4]:
        done_once(stack.incident_of(vault))
    proofs(stack)


def test_the_api_killed_in_mid_run(stack: Stack) -> None:
    sender = Sender(stack, "api-killed")
    is_back = kill(stack, "api")
    wait_until(sender.send_round, "everything is taken")
    wait_until(is_back, "the API is back")
    assert sender.stored() == sorted(sender.all)
    proofs(stack)


@pytest.mark.parametrize("process", ["containment", "authority", "keys", "schedule"])
def test_a_process_killed_is_started_again_and_the_incident_is_contained(stack: Stack, process: str) -> None:
    if process != "containment":
        wait_until(kill(stack, process), f"{process} is back")
        assert stack.http.get("/v1/health").status_code == 200
        return
    assert stack.attack(VAULTS[4], "containment-killed").status_code == 200
    is_back = kill(stack, "containment")
    done_once(stack.incident_of(VAULTS[4]))
    wait_until(is_back, "the containment worker is back")
