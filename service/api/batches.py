"""`POST /v1/activities`: NDJSON in, one answer line per input line, in order, while the rest still arrives.

Rules: a token of role ingest speaks for its one connection; a bad line is answered as a problem and spoils nothing else;
at most 512 lines are under way at once, and reading stops while too many answers wait for a slow client. An answer goes out
as soon as it and all before it are there, while the body is still arriving; a client that reads nothing before it has sent
everything is served too, up to a bound. Every line is charged to the connection's rate; beyond it reading waits, and lines
leave the connection's webhooks and questions their part.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

import msgspec

from service.api.auth import Authenticator, Principal
from service.api.connections import Bucket, Connections
from service.api.failures import address_of
from service.api.problems import details
from service.api.raw import ClientGoneError, Receive, Scope, Send, trace_id
from service.domain.activity import Received
from service.domain.errors import ForbiddenError, InputError, PortcullisError, TooLargeError
from service.domain.ids import ActivityId, ConnectionId, new_id
from service.domain.intake import Item, Mode, Outcome
from service.domain.quorum import Role
from service.domain.wire import MAX_BODY_BYTES, check_event_id, parse_wire, to_activity
from service.flow.intake.batcher import Intake
from service.ports.clock import Clock

UNDER_WAY: Final = 512
"""Two batches: one is parsed while the other is committed."""
MAX_UNREAD_BYTES: Final = 32 * 1024 * 1024

_ENCODER: Final = msgspec.json.Encoder()
_BREATH_S: Final = 0.02
"""A request over its connection's rate waits at least so long: then there is room for many lines at once."""

T = TypeVar("T")


class _Line:
    """One line under way: its id, and what became of it once that is there."""

    __slots__ = ("_bell", "outcome", "told")

    def __init__(self, bell: asyncio.Event, told: str | None = None, outcome: PortcullisError | None = None) -> None:
        self._bell = bell
        self.told = told
        self.outcome: Outcome | PortcullisError | None = outcome

    def settle(self, outcome: Outcome | PortcullisError) -> None:
        """Note what became of it, and wake who waits for that."""
        self.outcome = outcome
        self._bell.set()


class _UnderWay:
    """The lines under way, in order. `bell` rings when one of them was settled, or something else may go on."""

    def __init__(self) -> None:
        self.lines: deque[_Line] = deque()
        self.bell = asyncio.Event()

    def ready(self) -> bytes:
        """Take the answers that are ready from the front, in order."""
        found: list[bytes] = []
        while self.lines and (outcome := self.lines[0].outcome) is not None:
            found.append(_answered(self.lines.popleft().told, outcome))
        return b"".join(found)

    async def oldest(self) -> bytes:
        """Wait for the oldest line's answer; return it and all that are ready behind it."""
        while not (ready := self.ready()):
            self.bell.clear()
            await self.bell.wait()
        return ready


async def ingest_principal(authenticator: Authenticator, scope: Scope) -> Principal:
    """Return the ingest token's principal. Raises UnauthenticatedError, ForbiddenError."""
    principal = authenticator.remembered(scope["headers"])
    if principal is None:
        principal = await asyncio.to_thread(authenticator.authenticate, scope["headers"], address_of(scope))
    if principal.role is not Role.INGEST or principal.connection_id is None:
        raise ForbiddenError("this needs a token of role ingest, which is bound to one connection")
    return principal


class Batches:
    """Takes NDJSON requests."""

    def __init__(self, intake: Intake, connections: Connections, authenticator: Authenticator, clock: Clock) -> None:
        self._intake = intake
        self._connections = connections
        self._authenticator = authenticator
        self._clock = clock

    async def take(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, line by line."""
        principal = await ingest_principal(self._authenticator, scope)
        mode = _mode(scope)
        name = principal.connection_id or ConnectionId("")
        bucket = (await self._connections.get(name)).bucket
        headers = [(b"content-type", b"application/x-ndjson"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        writer = _Writer(send)
        try:
            await self._lines(_Sender(name, mode, trace_id(scope), bucket), receive, writer)
        finally:
            await writer.close()

    async def _lines(self, sender: "_Sender", receive: Receive, writer: "_Writer") -> None:
        under_way = _UnderWay()
        async with aclosing(split_lines(receive)) as chunks:
            while lines := await _beside(_next(chunks), under_way, writer):
                for line in lines:
                    while len(under_way.lines) >= UNDER_WAY:
                        await writer.put(await under_way.oldest())
                    while wait_s := sender.bucket.wait_s():
                        await _beside(asyncio.sleep(max(wait_s, _BREATH_S)), under_way, writer)
                    under_way.lines.append(self._taken(sender, line, under_way.bell))
        while under_way.lines:
            await writer.put(await under_way.oldest())

    def _taken(self, sender: "_Sender", line: bytes | None, bell: asyncio.Event) -> _Line:
        told = None
        try:
            if line is None:
                raise TooLargeError(f"a line is over {MAX_BODY_BYTES} bytes", field="line")
            wire = parse_wire(line)
            if wire.id is None:
                raise InputError("id is required on every line", field="id")
            told = check_event_id(wire.id, "id")
            received = Received(
                activity_id=ActivityId(new_id("act")),
                received_at=self._clock.now(),
                body_digest=hashlib.sha256(line).digest(),
                raw=line,
                activity=to_activity(wire, sender.connection, told),
            )
            taken = _Line(bell, told)
            self._intake.take(Item(received, sender.mode, trace_id=sender.trace_id), taken.settle)
        except PortcullisError as error:
            return _Line(bell, told, error)
        return taken


@dataclass(frozen=True, slots=True)
class _Sender:
    """For whom the lines of one request are taken."""

    connection: ConnectionId
    mode: Mode
    trace_id: str | None
    bucket: Bucket


async def _beside(coming: Coroutine[Any, Any, T], under_way: _UnderWay, writer: "_Writer") -> T:
    """Wait for what is coming and send the answers that become ready meanwhile."""
    task = asyncio.ensure_future(coming)
    task.add_done_callback(lambda _: under_way.bell.set())
    try:
        while True:
            under_way.bell.clear()
            if ready := under_way.ready():
                await writer.put(ready)
            if task.done():
                return task.result()
            await under_way.bell.wait()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _next(chunks: AsyncGenerator[list[bytes | None], None]) -> list[bytes | None]:
    """Return the next lines; none at the end."""
    async for lines in chunks:
        return lines
    return []


def _answered(told: str | None, outcome: Outcome | PortcullisError) -> bytes:
    if isinstance(outcome, PortcullisError):
        return _refused(told, outcome)
    return _ENCODER.encode({"id": told, "status": outcome.status, "activity_id": outcome.activity_id}) + b"\n"


def _refused(told: str | None, error: PortcullisError) -> bytes:
    return _ENCODER.encode({"id": told, "status": "refused", "problem": details(error)}) + b"\n"


class _Writer:
    """Sends answer lines from a task of its own, so that reading goes on while the client is slow to read."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[bytes] = []
        self._size = 0
        self._changed = asyncio.Condition()
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def put(self, line: bytes) -> None:
        """Queue one line; waits while too much is unread. Raises ClientGoneError once nobody listens."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._size < MAX_UNREAD_BYTES or self._task.done())
            if self._task.done():
                raise ClientGoneError
            self._waiting.append(line)
            self._size += len(line)
            self._changed.notify_all()

    async def close(self) -> None:
        """Send what is queued and end the answer."""
        async with self._changed:
            self._closing = True
            self._changed.notify_all()
        await self._task

    async def _run(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                body, self._waiting = b"".join(self._waiting), []
                last = self._closing
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})
            async with self._changed:
                self._size -= len(body)
                self._changed.notify_all()
            if last:
                return


async def split_lines(receive: Receive) -> AsyncGenerator[list[bytes | None], None]:
    """Yield the lines of each chunk as it arrives; None stands for a line over the limit. Empty lines are passed over."""
    rest = b""
    skipping = False
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        more = message.get("more_body", False)
        *whole, rest = (rest + message.get("body", b"")).split(b"\n")
        found: list[bytes | None] = []
        for line in whole:
            found.extend([] if skipping or not line.strip() else [_bounded(line)])
            skipping = False
        if len(rest) > MAX_BODY_BYTES:
            found.extend([] if skipping else [None])
            skipping, rest = True, b""
        if not more and rest.strip() and not skipping:
            found.append(_bounded(rest))
        if found:
            yield found


def _bounded(line: bytes) -> bytes | None:
    return line if len(line) <= MAX_BODY_BYTES else None


def _mode(scope: Scope) -> Mode:
    told = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("mode", ["live"])
    try:
        return Mode(told[-1])
    except ValueError as error:
        raise InputError("mode must be live or history", field="mode") from error
