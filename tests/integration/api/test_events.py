"""The stream of events under real commits: what is told, to whom, from where, and when it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from service.api import feed as feed_module
from service.api.routers import live
from service.domain.quorum import Role
from tests.support.api import ApiWorld, api_on, problem

WAIT_S = 150.0


@dataclass
class Stream:
    """One listener, driven by hand over ASGI."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    lines: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            for chunk in message["body"].split(b"\n\n"):
                if chunk:
                    self.lines.put_nowait(chunk)
            if not message.get("more_body", False):
                self.lines.put_nowait(None)

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def told(self) -> tuple[int, str, dict[str, str]] | None:
        """The next event as (number, name, ids); None when the stream ended."""
        while (chunk := await asyncio.wait_for(self.lines.get(), WAIT_S)) is not None:
            if chunk.startswith(b"id: "):
                number, name, data = (line.split(b": ", 1)[1] for line in chunk.split(b"\n"))
                return int(number), name.decode(), json.loads(data)["ids"]
        return None

    async def opened(self) -> None:
        assert await asyncio.wait_for(self.lines.get(), WAIT_S) == b"retry: 2000"


@asynccontextmanager
async def listening(world: ApiWorld, token: str, after: str | None = None) -> AsyncIterator[Stream]:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    if after is not None:
        headers.append((b"last-event-id", after.encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.1", 1),
        "asgi": {"spec_version": "2.3"},
    }
    stream = Stream()
    task = asyncio.create_task(world.app(scope, stream.receive, stream.send))
    try:
        yield stream
    finally:
        stream.gone.set()
        await asyncio.wait_for(task, WAIT_S)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110  what is waited for has no event to wait on
            await asyncio.sleep(0.01)


@pytest.fixture
def alone(world: ApiWorld, postgres_url: str, tmp_path: Any) -> Any:
    """An API process of its own: a feed belongs to one event loop."""
    found = api_on(postgres_url, world.parts.clock, tmp_path)
    yield found
    found.close()


def tell(world: ApiWorld, name: str) -> int:
    query = "INSERT INTO outbox (event, payload, created_at) VALUES (:n, :p, now()) RETURNING id"
    with world.database.begin() as uow:
        return int(
            uow.connection.execute(text(query), {"n": name, "p": json.dumps({"incident_id": name})}).scalar_one()
        )


def test_a_listener_hears_what_is_committed_from_now_on(alone: ApiWorld) -> None:
    token = alone.token(Role.VIEWER)
    tell(alone, "before")

    async def scene() -> None:
        async with listening(alone, token) as stream:
            await stream.opened()
            await until(lambda: alone.api.state.feed._reader is not None)
            number = await asyncio.to_thread(tell, alone, "after")
            assert await stream.told() == (number, "after", {"incident_id": "after"})
            assert (stream.status, stream.headers[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
        assert alone.api.state.feed.listeners == 0

    asyncio.run(scene())


def test_whoever_comes_back_gets_what_he_missed(alone: ApiWorld) -> None:
    token = alone.token(Role.VIEWER)
    first = tell(alone, "heard")
    tell(alone, "missed-1")
    tell(alone, "missed-2")

    async def scene() -> None:
        async with listening(alone, token, str(first)) as stream:
            names = [(await stream.told() or (0, "", {}))[1] for _ in range(2)]
            assert names == ["missed-1", "missed-2"]
            await asyncio.to_thread(tell, alone, "live")
            assert (await stream.told() or (0, "", {}))[1] == "live"

    asyncio.run(scene())


def test_an_event_that_commits_late_is_told_late_and_never_lost(alone: ApiWorld) -> None:
    token = alone.token(Role.VIEWER)
    query = "INSERT INTO outbox (event, payload, created_at) VALUES ('slow', '{}', now()) RETURNING id"

    async def scene() -> None:
        async with listening(alone, token) as stream:
            await stream.opened()
            await until(lambda: alone.api.state.feed._reader is not None)
            with alone.database.engine.connect() as connection:
                slow = connection.execute(text(query)).scalar_one()
                quick = await asyncio.to_thread(tell, alone, "quick")
                told = await stream.told()
                assert quick > slow
                assert told is not None
                assert (told[0], told[1]) == (slow - 1, "quick")
                connection.commit()
            assert await stream.told() == (quick, "slow", {})

    asyncio.run(scene())


def test_the_stream_of_a_revoked_token_ends(alone: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RECHECK_S", 0.05)
    monkeypatch.setattr("service.api.auth.CACHE_S", 0.0)
    token = alone.token(Role.RESPONDER)

    async def scene() -> None:
        async with listening(alone, token) as stream:
            await stream.opened()
            with alone.database.begin() as uow:
                uow.connection.execute(text("UPDATE api_tokens SET revoked_at = now()"))
            assert await stream.told() is None

    asyncio.run(scene())


def test_the_number_of_listeners_is_bounded(alone: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MAX_PER_TOKEN", 1)
    token = alone.token(Role.VIEWER)

    async def scene() -> None:
        async with listening(alone, token) as stream:
            await stream.opened()
            async with listening(alone, token) as other:
                await until(lambda: other.status != 0)
                assert other.status == 429

    asyncio.run(scene())


def test_a_server_that_stops_ends_every_stream(alone: ApiWorld) -> None:
    token = alone.token(Role.VIEWER)

    async def scene() -> None:
        async with listening(alone, token) as stream:
            await stream.opened()
            await until(lambda: alone.api.state.feed._reader is not None)
            alone.app.end_streams()
            assert await stream.told() is None

    asyncio.run(scene())


def test_a_wrong_last_event_id_is_refused(world: ApiWorld) -> None:
    for wrong in ("-1", "x", "1" * 19):
        answer = world.call("GET", "/v1/events", Role.VIEWER, headers={"last-event-id": wrong})
        assert problem(answer)["field"] == "last-event-id"
