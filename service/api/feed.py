"""The stream of events: one reader of the outbox in this process, and any number of listeners behind it.

Rules:

- One query every quarter of a second serves everybody; without a listener there is none.
- Ids are given before commit, so a lower id may appear after a higher one. A gap is asked for again for `GAP_S`, and an
  event's number in the stream is the highest below which nothing is missing: whoever comes back with it may get an event
  twice, and misses none.
- Everything is bounded: listeners in all and per token, events kept for slow ones, gaps. A listener who falls behind is
  let go and comes back with `Last-Event-ID`.
"""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from service.domain.errors import PortcullisError, RateLimitedError
from service.store.queries.pages import Record

MAX_LISTENERS: Final = 100
MAX_PER_TOKEN: Final = 10
POLL_S: Final = 0.25
RETRY_S: Final = 2.0
GAP_S: Final = 60.0
"""How long a missing id may still appear: twice what a transaction may take at most."""
MAX_GAPS: Final = 1000
LOOK_BACK: Final = 200
KEPT: Final = 2000
BATCH: Final = 500

_log = structlog.get_logger(__name__)

Read = Callable[[int, Sequence[int], int], Awaitable[Sequence[Record]]]
"""Events after an id or among missing ids, oldest first, at most so many; `settled` when older than `GAP_S`."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event as it is sent. `floor` is what to come back with; `row_id` the event's own id."""

    row_id: int
    floor: int
    event: str
    ids: dict[str, str]

    def encoded(self) -> bytes:
        """Return it as server-sent event (WHATWG HTML, section 9.2)."""
        body = json.dumps({"event": self.event, "ids": self.ids})
        return f"id: {self.floor}\nevent: {self.event}\ndata: {body}\n\n".encode()


class Tail:
    """Where one reader of the outbox is, and which ids below may still appear. Pure: no clock, no database."""

    def __init__(self, after: int) -> None:
        self.after = after
        self._missing: dict[int, float] = {}

    @property
    def missing(self) -> list[int]:
        """Ids that were passed over and may still appear."""
        return list(self._missing)

    @property
    def floor(self) -> int:
        """The highest id below which nothing is missing."""
        return min(self._missing, default=self.after + 1) - 1

    def take(self, rows: Sequence[Record], now: float) -> list[Told]:
        """Take what was read at `now` (monotonic seconds) and return it as it is to be sent."""
        for row_id, until in list(self._missing.items()):
            if until <= now:
                del self._missing[row_id]
        return [self._told(row, now) for row in rows]

    def _told(self, row: Record, now: float) -> Told:
        # The number is taken before the next row of the batch is: a listener may leave between the two.
        row_id = int(row["id"])
        self._pass(row_id, now, settled=bool(row["settled"]))
        return Told(row_id, self.floor, str(row["event"]), _ids(row["payload"]))

    def _pass(self, row_id: int, now: float, *, settled: bool) -> None:
        self._missing.pop(row_id, None)
        if row_id > self.after:
            # Below an event that is older than any transaction may be, what is missing was rolled back.
            first = row_id if settled else max(self.after + 1, row_id - MAX_GAPS)
            self._missing |= dict.fromkeys(range(first, row_id), now + GAP_S)
            while len(self._missing) > MAX_GAPS:
                del self._missing[next(iter(self._missing))]
            self.after = row_id


def _ids(payload: object) -> dict[str, str]:
    """Return what an event tells; nothing of a row that is no event, which must not end the stream for everybody."""
    return {str(name): str(value) for name, value in payload.items()} if isinstance(payload, dict) else {}


class Feed:
    """The one reader and its listeners; belongs to one event loop."""

    def __init__(self, read: Read, newest: Callable[[], Awaitable[int]]) -> None:
        self._read = read
        self._newest = newest
        self._seats: Counter[str] = Counter()
        self._kept: deque[Told] = deque(maxlen=KEPT)
        self._total = 0
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return self._seats.total()

    @contextmanager
    def seat(self, token_id: str) -> Iterator[None]:
        """Hold a listener's place. Raises RateLimitedError when there is none, in all or for this token."""
        if self._closed or self.listeners >= MAX_LISTENERS or self._seats[token_id] >= MAX_PER_TOKEN:
            raise RateLimitedError("too many listeners: close one, or try again later", retry_after_s=10)
        self._seats[token_id] += 1
        try:
            yield
        finally:
            self._seats[token_id] -= 1
            self._seats += Counter()
            if not self._seats and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    def close(self) -> None:
        """End every stream, so that a stopping server need not wait for its listeners."""
        self._closed = True
        self._news.set()

    async def follow(self, after: int | None, beat_s: float) -> AsyncGenerator[Told | None]:
        """Yield events from now on, or from after an id; None whenever `beat_s` passed without one.

        Ends when the feed is closed or the listener fell behind. Hold a seat while iterating.
        Raises UnavailableError when the database is not there at the beginning.
        """
        async with self._starting:
            if self._reader is None:
                tail = await self._start()
                self._reader = asyncio.get_running_loop().create_task(self._poll(tail))
        place, sent = self._total, dict[int, None]()
        if after is not None:
            async for told in self._backlog(after):
                sent[told.row_id] = None
                if len(sent) > KEPT:
                    del sent[next(iter(sent))]
                yield told
        while not self._closed:
            if place < self._total - len(self._kept):
                return
            while place < self._total:
                told = self._kept[place - (self._total - len(self._kept))]
                place += 1
                if told.row_id not in sent:
                    yield told
                    if place < self._total - len(self._kept):
                        return
            news = self._news
            try:
                await asyncio.wait_for(news.wait(), beat_s)
            except TimeoutError:
                yield None

    async def _start(self) -> Tail:
        tail = Tail(max(0, await self._newest() - LOOK_BACK))
        while rows := await self._read(tail.after, (), BATCH):
            tail.take(rows, time.monotonic())
        return tail

    async def _backlog(self, after: int) -> AsyncGenerator[Told]:
        tail = Tail(after)
        while rows := await self._read(tail.after, (), BATCH):
            for told in tail.take(rows, time.monotonic()):
                yield told

    async def _poll(self, tail: Tail) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                rows = await self._read(tail.after, tail.missing, BATCH)
            except PortcullisError as error:
                _log.warning("events.unread", error_code=error.code)
                await asyncio.sleep(RETRY_S)
                continue
            if rows:
                told = tail.take(rows, time.monotonic())
                self._kept.extend(told)
                self._total += len(told)
                news, self._news = self._news, asyncio.Event()
                news.set()
