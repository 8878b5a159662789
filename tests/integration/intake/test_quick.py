"""The short cut for webhooks on a real server: the same answers, in order, and the parser for all that is unusual."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from service.api.front import Front
from service.api.plain import PlainRequest
from service.api.quick import quick
from service.api.raw import answer, read_body
from service.domain.errors import PortcullisError, UnauthenticatedError, UnavailableError
from service.domain.ids import ActivityId
from service.domain.intake import Outcome, Status
from service.flow.intake.waiting import Settle

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Taking:
    """Takes what it is told to, and answers when it is told to."""

    def __init__(self) -> None:
        self.due: list[tuple[PlainRequest, str, Settle]] = []
        self.told: set[int] = set()
        self.at_once = True
        self.slow: list[bytes] = []

    def take_plain(self, request: PlainRequest, client: str, trace_id: str, settle: Settle) -> bool:
        if request.name == "wrong":
            raise UnauthenticatedError("the webhook's signature does not verify")
        if request.name == "broken":
            raise RuntimeError("hunter2")
        if not self.at_once:
            return False
        assert len(trace_id) == 32
        self.due.append((request, client, settle))
        return True

    @staticmethod
    def answer_to(outcome: Outcome) -> bytes:
        return outcome.activity_id.encode()

    def settle(self, at: int, told: str | PortcullisError) -> None:
        self.told.add(at)
        self.due[at][2](Outcome(ActivityId(told), Status.SCORED) if isinstance(told, str) else told)

    def stop(self) -> None:
        for at in set(range(len(self.due))) - self.told:
            self.settle(at, UnavailableError("the service is stopping: send it again"))

    async def slowly(self, scope: Any, receive: Any, send: Any) -> None:
        body = await read_body(scope, receive, 1000)
        self.slow.append(body)
        await answer(send, b"slow " + body)


class Client:
    """One connection."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, body: bytes, *, path: str = "std", more: str = "") -> None:
        head = f"POST /webhooks/{path} HTTP/1.1\r\nhost: x\r\n{more}content-length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    async def answer(self) -> tuple[int, Mapping[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)).decode()
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ended(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 60) == b""


class Running:
    """A server, and connections to it."""

    def __init__(self, server: uvicorn.Server, taking: Taking, serving: "asyncio.Task[None]", path: str) -> None:
        self.server, self.taking, self.serving, self._path = server, taking, serving, path
        self._clients: list[Client] = []

    async def client(self) -> Client:
        self._clients.append(Client(*await asyncio.open_unix_connection(self._path)))
        return self._clients[-1]

    async def close(self) -> None:
        for client in self._clients:
            client.writer.close()
            with suppress(OSError):
                await client.writer.wait_closed()

    async def taken(self, count: int) -> None:
        while len(self.taking.due) < count:  # noqa: ASYNC110  what is waited for counts up, it is no one event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    taking, path = Taking(), str(folder / "s")
    config = uvicorn.Config(
        Front(taking.slowly, bounded=False),
        uds=path,
        http=quick(taking),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        **settings,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn says so in no other way
        await asyncio.sleep(0.005)
    world = Running(server, taking, serving, path)
    try:
        yield world
    finally:
        taking.stop()
        await world.close()
        server.should_exit = True
        await serving


def test_both_ways_give_the_same_answer_but_for_order(tmp_path: Path) -> None:
    async def play() -> None:
        async with running(tmp_path) as world:
            client = await world.client()
            found = []
            for at_once in (True, False):
                world.taking.at_once = at_once
                client.send(b"slow it", more=f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n")
                if at_once:
                    await world.taken(1)
                    world.taking.settle(0, "slow slow it")
                status, headers, body = await client.answer()
                found.append((status, {**headers, "date": ""}, body))
            assert found[0] == found[1]
            assert found[0][1]["x-trace-id"] == TRACE
            assert world.taking.slow == [b"slow it"]

    asyncio.run(play())


def test_what_is_refused_is_a_problem_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def play() -> None:
        async with running(tmp_path) as world:
            client = await world.client()
            for path, status in (("wrong", 401), ("broken", 500)):
                client.send(b"{}", path=path)
                got, headers, body = await client.answer()
                assert (got, headers["content-type"]) == (status, "application/problem+json")
                assert b"hunter2" not in body
                assert headers["x-content-type-options"] == "nosniff"
            client.send(b"{}")
            await world.taken(1)
            world.taking.settle(0, UnauthenticatedError("later"))
            assert (await client.answer())[0] == 401

    asyncio.run(play())


def test_answers_keep_their_order_whatever_is_sent_ahead(tmp_path: Path) -> None:
    async def play() -> None:
        async with running(tmp_path) as world:
            client = await world.client()
            client.send(b"1")
            await world.taken(1)
            client.send(b"2")
            client.send(b"3", more="connection: keep-alive\r\n")
            client.writer.write(b"GET /else HTTP/1.1\r\nhost: x\r\n\r\n")
            await client.writer.drain()
            await asyncio.sleep(0.05)
            assert len(world.taking.due) == 1
            assert not world.taking.slow
            world.taking.settle(0, "first")
            assert (await client.answer())[2] == b"first"
            assert [(await client.answer())[2] for _ in range(3)] == [b"slow 2", b"slow 3", b"slow "]
            client.send(b"4")
            await world.taken(2)
            world.taking.settle(1, "fourth")
            assert (await client.answer())[2] == b"fourth"

    asyncio.run(play())


@pytest.mark.parametrize("split", [1, 20, 60, -1])
def test_a_request_in_two_parts_and_one_after_it(tmp_path: Path, split: int) -> None:
    async def play() -> None:
        async with running(tmp_path) as world:
            client = await world.client()
            whole = b"POST /webhooks/std HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
            client.writer.write(whole[:split])
            await asyncio.sleep(0.02)
            client.writer.write(whole[split:])
            assert (await client.answer())[2] == b"slow {}"
            client.send(b"x")
            await world.taken(1)
            world.taking.settle(0, "quick")
            assert (await client.answer())[2] == b"quick"

    asyncio.run(play())


def test_a_body_that_looks_like_a_request_is_a_body(tmp_path: Path) -> None:
    async def play() -> None:
        async with running(tmp_path) as world:
            client = await world.client()
            inner = b"POST /webhooks/wrong HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
            client.writer.write(b"POST /webhooks/std HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(inner))
            await client.writer.drain()
            await asyncio.sleep(0.02)
            client.writer.write(inner)
            assert (await client.answer())[2] == b"slow " + inner

    asyncio.run(play())


def test_a_server_that_stops_answers_what_is_due_and_closes(tmp_path: Path) -> None:
    async def play() -> None:
        async with running(tmp_path) as world:
            busy, idle = await world.client(), await world.client()
            busy.send(b"1")
            await world.taken(1)
            world.server.should_exit = True
            assert await idle.ended()
            world.taking.settle(0, "still")
            _, headers, body = await busy.answer()
            assert (headers["connection"], body) == ("close", b"still")
            assert await busy.ended()
            await asyncio.wait_for(world.serving, 60)

    asyncio.run(play())


def test_an_idle_connection_is_closed_and_a_waiting_one_is_not(tmp_path: Path) -> None:
    async def play() -> None:
        async with running(tmp_path, timeout_keep_alive=1) as world:
            idle, waiting = await world.client(), await world.client()
            for number, client in enumerate((idle, waiting)):
                client.send(b"1")
                await world.taken(number + 1)
                world.taking.settle(number, "one")
                await client.answer()
            waiting.send(b"2")
            await world.taken(3)
            assert await idle.ended()
            await asyncio.sleep(1)
            world.taking.settle(2, "two")
            assert (await waiting.answer())[2] == b"two"
            assert await waiting.ended()

    asyncio.run(play())


def test_a_client_that_went_away_is_not_answered(tmp_path: Path) -> None:
    async def play() -> None:
        async with running(tmp_path) as world:
            client, other = await world.client(), await world.client()
            client.send(b"1")
            await world.taken(1)
            client.writer.close()
            await client.writer.wait_closed()
            other.send(b"2")
            await world.taken(2)
            world.taking.settle(0, "nobody")
            world.taking.settle(1, "somebody")
            assert (await other.answer())[2] == b"somebody"

    asyncio.run(play())


def test_a_limit_of_connections_or_a_root_path_is_left_to_the_server(tmp_path: Path) -> None:
    async def play() -> None:
        async with running(tmp_path, limit_concurrency=100) as world:
            client = await world.client()
            client.send(b"1")
            assert (await client.answer())[2] == b"slow 1"

    asyncio.run(play())
