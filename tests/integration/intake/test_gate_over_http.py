"""The co-signer's callback over real HTTP, asked at a pace that waits for nobody, while PostgreSQL is killed and hangs.

`bench/gate.py` measures it; here nothing is judged by a clock: which answers may come, that all do, that what was approved
is stored, and that a request keeps the answer that was final.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import jwt
import pytest
import uvicorn

from service.api import connections
from service.api.quick import quick
from tests.integration.intake.test_gate_under_fire import connect, hanging, sign
from tests.support.fireblocks import callback, pem, rsa_key, sign_request
from tests.support.intake import World, running
from tests.support.servers import PostgresForTests, running_postgres

pytestmark = pytest.mark.servers
MANY, GAP_S = 40, 0.002
"""Of each part, at 500 a second."""
OTHER = "0x00000000000000000000000000000000000000ee"


@pytest.fixture
def own_postgres() -> Iterator[PostgresForTests]:
    """A server that the test may kill."""
    with running_postgres() as server:
        yield server


@asynccontextmanager
async def served(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The app behind a real server on loopback."""
    config = uvicorn.Config(world.app, port=0, http=quick(world.app), lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    going = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not going.done()
    port = server.servers[0].sockets[0].getsockname()[1]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)  # none that the server closes just now
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=None) as client:  # noqa: S113  nothing is judged by a clock
        yield client
    server.should_exit = True
    await going


def question(part: str, number: int) -> dict[str, object]:
    """Every sixth pays somebody else than it shows."""
    name = f"{part}-{number}"
    claims = sign_request(txId=name, requestId=name)
    if number % 6 == 0:
        shown = {"amountNativeStr": "0.010000000000000000", "displayDstAddress": OTHER, "dstType": "UNMANAGED"}
        claims |= {"destAddress": OTHER, "destinations": [shown]}
    return claims


def is_honest(name: str) -> bool:
    return int(name.rpartition("-")[2]) % 6 != 0


async def ask(client: httpx.AsyncClient, claims: dict[str, object]) -> tuple[str, str]:
    answer = await client.post("/cosigner/fb/v2/tx_sign_request", content=callback(claims, rsa_key("cosigner")))
    assert answer.status_code == 200, answer.text
    found = jwt.decode(answer.text, pem(rsa_key("callback")), ["RS256"])
    assert found["requestId"] == claims["requestId"]
    return str(found["requestId"]), str(found["action"])


async def at_last(client: httpx.AsyncClient, name: str) -> tuple[str, str]:
    """Ask again as a co-signer does, until the answer is final."""
    part, _, number = name.rpartition("-")
    while (found := await ask(client, question(part, int(number))))[1] == "RETRY":  # noqa: ASYNC110  the server has no event for us
        await asyncio.sleep(0.1)
    return found


def asked(client: httpx.AsyncClient, part: str) -> "asyncio.Task[list[tuple[str, str]]]":
    """Ask, one after the other in time, and wait for none before the next."""

    async def all_of_them() -> list[tuple[str, str]]:
        going = []
        for number in range(MANY):
            going.append(asyncio.create_task(ask(client, question(part, number))))
            await asyncio.sleep(GAP_S)
        return await asyncio.gather(*going)

    return asyncio.create_task(all_of_them())


def test_while_the_database_dies_and_while_it_hangs_every_question_is_answered_and_by_right(
    own_postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = connect(own_postgres.migrated_database(), "1")
    monkeypatch.setattr(connections, "CACHE_S", 3600.0)

    async def play() -> None:
        async with running(url, signer=sign, connection="fb") as world, served(world) as client:
            told = [await ask(client, question("first", 1))]
            killed = asked(client, "killed")
            server = own_postgres._server
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            told += await killed
            server._process.wait()  # type: ignore[union-attr]  # it ran a moment ago
            server.start()
            with hanging(own_postgres):
                told += await asked(client, "hanging")
            again = dict(await asyncio.gather(*(at_last(client, name) for name, _ in told)))
            stored = {
                row["request_id"]: row["decision"] for row in world.rows("SELECT request_id, decision FROM decisions")
            }
        for name, action in told:
            assert action in ({"APPROVE", "RETRY"} if is_honest(name) else {"REJECT", "RETRY"}), name
            assert action in {"RETRY", again[name]}, "what was final stays"
            assert again[name] == ("APPROVE" if is_honest(name) else "REJECT"), name
            assert stored[name] == again[name].lower()

    asyncio.run(play())
