"""Two API processes on one database, one of them killed under load: every event once, and baselines that follow."""

import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import LiteralString

import httpx
import psycopg
import pytest

from rules.learning import LearningRecord
from service.flow.intake import batcher, keeper
from service.store.grants import API
from service.store.intake import PostgresTurn
from tests.support.intake import (
    SECRET,
    World,
    add_account,
    add_connection,
    encoded,
    running,
    signed,
    verified,
    withdrawal,
)
from tests.support.scratch import scratch
from tests.support.servers import url_of_role

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
EVENTS = 1000
KILLED_AFTER = 300
CLIENTS = 16
STAMP = datetime.now(UTC).isoformat()
"""One for all: what is repeated has the same body."""


@pytest.fixture
def url(fresh_postgres_url: str) -> str:
    add_connection(fresh_postgres_url, "std", "standard", {"rate_per_s": "100000"}, {"webhook_secret": SECRET})
    for number in range(20):
        add_account(fresh_postgres_url, "std", f"hot-{number}")
    return fresh_postgres_url


@contextmanager
def process(url: str, socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run an intake process until the block ends."""
    command = [sys.executable, "-m", "tests.support.intake_process", str(socket)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as started:
        assert started.stdin is not None
        started.stdin.write(url_of_role(url, API).encode() + b"\n")
        started.stdin.flush()
        try:
            while not socket.exists():
                assert started.poll() is None, "the process ended"
                time.sleep(0.05)
            yield started
        finally:
            started.terminate()


def rows(url: str, query: LiteralString) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


class Senders:
    """Sends every event twice, to whichever process takes it, until it is answered."""

    def __init__(self, sockets: list[Path]) -> None:
        self._clients = [
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(socket)),
                base_url="http://intake",
                timeout=30,
                trust_env=False,
            )
            for socket in sockets
        ]
        self.answered: dict[str, set[str]] = {}
        self.reached = asyncio.Event()

    async def send(self, number: int, first: int) -> None:
        """Send one event until somebody answers it."""
        body = encoded(withdrawal(number, account=f"hot-{number % 20}", timestamp=STAMP))
        event_id = f"m-{number}"
        for attempt in range(5000):
            client = self._clients[(first + attempt) % len(self._clients)]
            try:
                answer = await client.post("/webhooks/std", content=body, headers=signed(event_id, body))
            except httpx.TransportError:
                await asyncio.sleep(0.01)
                continue
            if answer.status_code == 200:
                self.answered.setdefault(event_id, set()).add(answer.json()["activity_id"])
                if len(self.answered) >= KILLED_AFTER:
                    self.reached.set()
                return
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.05)
        raise AssertionError(f"event {number} was never answered")

    async def send_all(self) -> None:
        """Send everything twice in random order."""
        order = [number for number in range(EVENTS) for _ in range(2)]
        random.Random(7).shuffle(order)  # noqa: S311  an order that can be repeated
        waiting = iter(order)

        async def client(which: int) -> None:
            for number in waiting:
                await self.send(number, which)

        await asyncio.gather(*(client(which) for which in range(CLIENTS)))
        for one in self._clients:
            await one.aclose()


@pytest.mark.repeats
def test_one_of_two_processes_is_killed_under_load(url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="pcl-", dir=scratch()) as folder:
        sockets = [Path(folder) / name for name in ("one", "other")]

        async def play(victim: subprocess.Popen[bytes]) -> Senders:
            senders = Senders(sockets)
            sending = asyncio.create_task(senders.send_all())
            await asyncio.wait({sending, asyncio.create_task(senders.reached.wait())}, return_when="FIRST_COMPLETED")
            victim.send_signal(signal.SIGKILL)
            await sending
            return senders

        with process(url, sockets[0]) as victim, process(url, sockets[1]) as survivor:
            senders = asyncio.run(play(victim))
            assert victim.wait(60) == -signal.SIGKILL
            during = verified(url)
            assert during.differences == ()
            assert during.snapshot > 0
            survivor.send_signal(signal.SIGKILL)
            survivor.wait(60)

    assert len(senders.answered) == EVENTS
    stored = rows(url, "SELECT count(*), count(DISTINCT event_id) FROM activities")
    assert stored == [(EVENTS, EVENTS)]
    assert all(len(ids) == 1 for ids in senders.answered.values()), "a repeat gets the first answer"
    report = verified(url)
    assert report.differences == ()
    assert report.snapshot >= during.snapshot


def test_a_process_that_is_far_behind_catches_up_without_the_turn(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "FOLLOW_S", 1e9)
    monkeypatch.setattr(keeper, "FOLLOWED", 5)
    genuine = PostgresTurn.rows_after
    within: list[int] = []

    async def counted(self: PostgresTurn, seq: int, *limit: int) -> Sequence[LearningRecord]:
        rows = await genuine(self, seq, *limit)
        within.append(len(rows))
        return rows

    monkeypatch.setattr(PostgresTurn, "rows_after", counted)

    async def send(world: World, *numbers: int) -> None:
        for number in numbers:
            body = encoded(withdrawal(number))
            answer = await world.client.post("/webhooks/std", content=body, headers=signed(f"m-{number}", body))
            assert answer.status_code == 200, answer.text

    async def play() -> None:
        async with running(url) as one, running(url) as other:
            await send(one, 0)
            await send(other, *range(1, 33))
            await send(one, 33)
            await send(other, 34)

    asyncio.run(play())
    assert max(within) <= 5
    assert verified(url).differences == ()
