"""The senders of bench/chaos.py: signed webhooks at a steady rate, each sent again until it was taken, as platforms do.

Only a 200 counts as taken. What was taken and when is kept, so that afterwards every one of them can be asked for.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Self

CONNECTIONS: Final = 24
ANSWER_S: Final = 10.0
PAUSE_S: Final = 0.1
IDLE_S: Final = 3.0
"""Below the five seconds after which uvicorn closes a line."""
OK, TAKE_AGAIN = 200, frozenset({429, 502, 503})
_URGENT, _USUAL = 0, 1


@dataclass(frozen=True, slots=True)
class Event:
    """One webhook to deliver."""

    connection: str
    id: str
    body: bytes
    secret: str = field(repr=False)


@dataclass(slots=True)
class Told:
    """What became of one webhook; times are Unix milliseconds."""

    sent_ms: float = 0.0
    taken_ms: float = 0.0
    tries: int = 0


class Sender:
    """Delivers in a thread of its own; `told` grows as answers come. Use as a context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="load", daemon=True)
        self._running = threading.Event()
        self._usual: Iterator[Event] = iter(())
        self._numbers = count()
        self._lines: set[_Line] = set()
        self._rate = 0.0
        self.told: dict[tuple[str, str], Told] = {}
        self.refused: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._running.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    def send(self, event: Event) -> None:
        """Deliver one event at once, before what else waits."""
        self._loop.call_soon_threadsafe(self._put, _URGENT, event)

    def flow(self, events: Iterator[Event], per_s: float) -> None:
        """From now on deliver these, so many a second; 0: no more."""
        self._usual, self._rate = events, per_s

    @property
    def waiting(self) -> int:
        """How many were sent at least once, or should have been, and are not taken yet."""
        return sum(not one.taken_ms for one in list(self.told.values())) + self._queue.qsize()

    @property
    def taken(self) -> set[tuple[str, str]]:
        """(connection, event id) of all that were answered 200."""
        return {key for key, one in list(self.told.items()) if one.taken_ms}

    def _put(self, rank: int, event: Event) -> None:
        self._queue.put_nowait((rank, next(self._numbers), event))

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._queue: asyncio.PriorityQueue[tuple[int, int, Event]] = asyncio.PriorityQueue()
        tasks = [asyncio.create_task(self._deliver()) for _ in range(CONNECTIONS)]
        tasks.append(asyncio.create_task(self._pace()))
        self._running.set()
        await self._over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for line in tuple(self._lines):
            await line.end()

    async def _pace(self) -> None:
        owed, before = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(0.02)
            now = time.monotonic()
            owed, before = owed + self._rate * (now - before), now
            while owed >= 1.0 and (event := next(self._usual, None)) is not None:
                owed -= 1.0
                self._put(_USUAL, event)

    async def _deliver(self) -> None:
        line: _Line | None = None
        while True:
            _, _, event = await self._queue.get()
            told = self.told.setdefault((event.connection, event.id), Told())
            told.sent_ms = told.sent_ms or _now_ms()
            told.tries += 1
            try:
                async with asyncio.timeout(ANSWER_S):
                    if line is not None and line.is_idle:
                        self._lines.discard(line)
                        await line.end()
                        line = None
                    if line is None:
                        line = await _Line.open(*self._address)
                        self._lines.add(line)
                    status = await line.post(event)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                status = 0
                if line is not None:
                    self._lines.discard(line)
                    await line.end()
                line = None
            if status == OK:
                told.taken_ms = _now_ms()
            elif status == 0 or status in TAKE_AGAIN:
                self._loop.call_later(PAUSE_S, self._put, _URGENT, event)
            else:
                self.refused.append(f"{event.connection} {event.id}: {status}")


class _Line:
    """One keep-alive connection: RFC 9112, answers with a length only."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._used = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether the other side may close it just now: whoever sends then waits for an answer in vain."""
        return time.monotonic() - self._used > IDLE_S

    @classmethod
    async def open(cls, host: str, port: int) -> "_Line":
        return cls(*await asyncio.open_connection(host, port))

    async def post(self, event: Event) -> int:
        self._used = time.monotonic()
        self._writer.write(_request(event))
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length: ")[2].partition("\r\n")[0]
        await self._reader.readexactly(int(length))
        return int(head.split(" ", 2)[1])

    async def end(self) -> None:
        """Close it and wait until that is so; whatever the other side thinks of it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def headers_of(event: Event) -> dict[str, str]:
    """Sign a delivery now, as Standard Webhooks 1.0.0."""
    stamp = str(int(time.time()))
    key = base64.b64decode(event.secret.removeprefix("whsec_"))
    mac = hmac.new(key, b".".join((event.id.encode(), stamp.encode(), event.body)), hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": event.id, "webhook-timestamp": stamp, "webhook-signature": signature}


def _request(event: Event) -> bytes:
    signed = "".join(f"{name}: {value}\r\n" for name, value in headers_of(event).items())
    return (
        f"POST /webhooks/{event.connection} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(event.body)}\r\n{signed}\r\n"
    ).encode() + event.body


def _now_ms() -> float:
    return time.time_ns() / 1e6
