"""The co-signer's callback while many ask at once and while the database dies: answered, signed, never approved blindly."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from service.api import connections, doors
from service.flow.gate import Gate
from tests.support.fireblocks import WORKSPACE, callback, pem, rsa_key, sign_request
from tests.support.intake import World, add_account, add_connection, running, seed
from tests.support.servers import PostgresForTests, running_postgres

pytestmark = pytest.mark.servers
BURST = 500
"""As many as arrive in a second of the busiest workspace that this is made for."""


def sign(message: bytes, key: str = "") -> bytes:
    assert key in {"", "2027"}
    return rsa_key(f"callback{key}").sign(message, padding.PKCS1v15(), hashes.SHA256())


@pytest.fixture
def own_postgres() -> Iterator[PostgresForTests]:
    """A server that the test may kill."""
    with running_postgres() as server:
        yield server


def connect(url: str, deadline_s: str) -> str:
    for name in ("callback", "callback2027"):
        rsa_key(name)  # made here, because many threads at once would each make one
    settings = {
        "workspace_id": WORKSPACE,
        "tenant_id": "tenant-1",
        "webhook_public_key": pem(rsa_key("webhook")),
        "cosigner_public_key": pem(rsa_key("cosigner")),
        "gate_deadline_s": deadline_s,
    }
    add_connection(url, "fb", "fireblocks", settings, {})
    add_account(url, "fb", "0")
    return url


async def ask(world: World, claims: Mapping[str, object], key: str = "") -> str:
    path = f"/cosigner/fb/{f'key/{key}/' if key else ''}v2/tx_sign_request"
    answer = await world.client.post(path, content=callback(claims, rsa_key("cosigner")))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = jwt.decode(answer.text, pem(rsa_key(f"callback{key}")), ["RS256"])
    assert found["requestId"] == claims["requestId"]
    return str(found["action"])


def numbered(count: int) -> list[dict[str, object]]:
    return [sign_request(txId=f"tx-{i}", requestId=f"tx-{i}-batch-0") for i in range(count)]


def test_hundreds_at_once_are_all_answered_and_decided_once(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(fresh_postgres_url, "25")
    monkeypatch.setattr(connections, "CACHE_S", 3600.0)  # however slow the machine, one look is enough here

    async def play() -> None:
        async with running(fresh_postgres_url, signer=sign, connection="fb") as world:
            questions = numbered(BURST)
            told = await asyncio.gather(*(ask(world, one) for one in questions))
            assert set(told) <= {"APPROVE", "RETRY"}
            assert world.count("decisions") == BURST
            assert world.count("activities") == BURST
            again = await asyncio.gather(*(ask(world, one) for one in questions[:50]))
            assert again == told[:50]
            assert world.count("decisions") == BURST, "asked again, decided once"

    asyncio.run(play())


def test_too_little_time_is_a_hold_and_the_decision_is_there_when_asked_again(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(fresh_postgres_url, "0.1")
    gate_open = asyncio.Event()
    genuine = Gate._decide

    async def slow(self: Gate, question: Any) -> Any:
        await gate_open.wait()
        return await genuine(self, question)

    monkeypatch.setattr(Gate, "_decide", slow)

    async def play() -> None:
        async with running(fresh_postgres_url, signer=sign, connection="fb") as world:
            assert await asyncio.gather(*(ask(world, one) for one in numbered(20))) == ["RETRY"] * 20
            gate_open.set()
            seed(fresh_postgres_url, [("UPDATE connections SET config = config::jsonb - 'gate_deadline_s'", ())])
            monkeypatch.setattr(connections, "CACHE_S", 0.0)
            world.connections._open.clear()
            assert await asyncio.gather(*(ask(world, one) for one in numbered(20))) == ["APPROVE"] * 20

    asyncio.run(play())


def test_a_database_killed_while_questions_run_holds_all_that_it_did_not_store(own_postgres: PostgresForTests) -> None:
    url = connect(own_postgres.migrated_database(), "25")

    async def play() -> None:
        async with running(url, signer=sign, connection="fb") as world:
            assert await ask(world, sign_request(txId="first", requestId="first")) == "APPROVE"
            asked = [asyncio.create_task(ask(world, one)) for one in numbered(60)]
            await asked[0]
            server = own_postgres._server
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            told = Counter(await asyncio.gather(*asked))
            assert set(told) <= {"APPROVE", "RETRY"}
            world.connections._open = {name: (0.0, known) for name, (_, known) in world.connections._open.items()}
            late = sign_request(txId="late", requestId="late")
            assert await ask(world, late) == "RETRY", "its connection is known from before, and nothing more"
            assert await ask(world, late, key="2027") == "RETRY", "in the answer of whichever key is asked for"
            stranger = callback(late, rsa_key("stranger"))
            answer = await world.client.post("/cosigner/fb/v2/tx_sign_request", content=stranger)
            assert answer.status_code == 401
            server._process.wait()  # type: ignore[union-attr]  # it ran a moment ago
            server.start()
            assert await ask(world, late) == "APPROVE"
            approved = told["APPROVE"] + 2
            assert world.count("decisions", "decision = 'approve'") >= approved, "nothing was approved and forgotten"

    asyncio.run(play())


@dataclass
class Clock:
    """The event loop's time, and the door's, which goes on only when the test says so."""

    now_s: float

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def hanging(server: PostgresForTests) -> Iterator[None]:
    """Let the server and everything it started stand still, connections open, as with a disk that is away."""
    main = server._server.pid
    assert main is not None
    stopped = [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]
    _signal(stopped, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(stopped, signal.SIGCONT)


def _signal(processes: Sequence[int], number: signal.Signals) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):  # of those that the server starts for a moment one may have ended
            os.kill(pid, number)


async def until(reached: Callable[[], bool]) -> None:
    """Let the loop run, without its clock."""
    while not reached():  # noqa: ASYNC110  what it waits for knows nothing of us
        await asyncio.sleep(0)


def test_a_database_that_hangs_makes_no_answer_later_than_the_deadline_and_none_an_approval(
    own_postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, many = connect(own_postgres.migrated_database(), "25"), 100
    given: list[float] = []
    looked: list[str] = []
    decide, get = Gate.decide, connections.Connections.get

    async def noted(self: Gate, question: Any, *, deadline_s: float) -> Any:
        given.append(deadline_s)
        return await decide(self, question, deadline_s=deadline_s)

    async def looking(self: connections.Connections, name: str) -> Any:
        looked.append(name)
        return await get(self, name)

    async def play() -> None:
        async with running(url, signer=sign, connection="fb") as world:
            monkeypatch.setattr(connections, "CACHE_S", 3600.0)
            assert await ask(world, sign_request(txId="first", requestId="first")) == "APPROVE"
            monkeypatch.setattr(Gate, "decide", noted)
            monkeypatch.setattr(connections.Connections, "get", looking)
            loop = asyncio.get_running_loop()
            clock = Clock(loop.time())
            with monkeypatch.context() as patch, hanging(own_postgres):
                patch.setattr(loop, "time", clock)
                patch.setattr(doors, "time", SimpleNamespace(monotonic=clock, time=time.time))
                patch.setattr(doors, "_LOOK_UP_S", 5.0)
                patch.setattr(doors, "_ANSWERED_BY_S", 28.0)
                asked = [asyncio.create_task(ask(world, one)) for one in numbered(many)]
                await until(lambda: len(given) == many)
                assert given == [25.0] * many
                clock.now_s += 24.9
                for _ in range(1_000):
                    await asyncio.sleep(0)
                assert not any(task.done() for task in asked), "there is time left, and an answer may come"
                clock.now_s += 0.2
                assert await asyncio.gather(*asked) == ["RETRY"] * many
                world.connections._open = {name: (0.0, known) for name, (_, known) in world.connections._open.items()}
                before = len(looked)
                late = asyncio.create_task(ask(world, sign_request(txId="late", requestId="late")))
                await until(lambda: len(looked) > before)
                clock.now_s += 5.1
                assert await late == "RETRY", "nothing tells whether its connection still counts"
                assert len(given) == many, "it was held without being weighed"
            told = [await ask(world, one) for one in numbered(many)]
            assert told == ["APPROVE"] * many
            assert world.count("decisions") == many + 1, "what was begun went on: weighed once, however often asked"

    asyncio.run(play())
