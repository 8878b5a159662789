"""Bodies are read only up to their limit and only for so long."""

import asyncio
from typing import Any

import pytest

from service.api import raw
from service.api.raw import ClientGoneError, read_body
from service.domain.errors import InputError, TooLargeError

SCOPE: dict[str, Any] = {"headers": []}


def arriving(*parts: bytes, last: bool = True) -> raw.Receive:
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.get_running_loop().create_future()
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting) or not last}

    return receive


def test_a_body_comes_whole_from_its_parts() -> None:
    assert asyncio.run(read_body(SCOPE, arriving(b"a", b"b", b"c"), 3)) == b"abc"


def test_more_than_the_limit_is_refused_told_or_not() -> None:
    with pytest.raises(TooLargeError):
        asyncio.run(read_body(SCOPE, arriving(b"ab", b"cd"), 3))
    with pytest.raises(TooLargeError):
        asyncio.run(read_body({"headers": [(b"content-length", b"4")]}, arriving(), 3))


def test_a_body_that_does_not_arrive_is_refused_and_later_ones_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "BODY_TIMEOUT_S", 0.0)
    monkeypatch.setattr(raw, "_SWEEP_S", 0.01)

    async def play() -> None:
        with pytest.raises(InputError, match="did not arrive"):
            await read_body(SCOPE, arriving(b"half", last=False), 100)
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0
        assert await read_body(SCOPE, arriving(b"whole"), 100) == b"whole"

    for _ in range(2):  # each with an event loop of its own
        asyncio.run(play())


def test_a_cancelled_request_stays_cancelled() -> None:
    async def play() -> None:
        reading = asyncio.create_task(read_body(SCOPE, arriving(b"half", last=False), 100))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(play())


def test_a_client_that_goes_away_is_told_apart() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGoneError):
        asyncio.run(read_body(SCOPE, gone, 10))
