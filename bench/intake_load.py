"""The load of bench/intake.py: signed webhooks, NDJSON batches and questions over keep-alive connections.

Each connection waits for its answer before it sends again, as a platform's delivery workers do. The generator is a bare
protocol so that as little as possible of the shared processors goes to it.
"""

import asyncio
import base64
import hmac
import json
import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

KEY: Final = bytes(range(32))
TOKEN_ID: Final = "tok_01ARZ3NDEKTSV4RRFFQ69G5FAV"  # noqa: S105  opens nothing but this bench
TOKEN: Final = "pcl_01ARZ3NDEKTSV4RRFFQ69G5FAV_bench-only"  # noqa: S105  as above
AUTHORIZED: Final = f"authorization: Bearer {TOKEN}\r\n"
SECRET: Final = b"whsec_" + base64.b64encode(KEY)
ACCOUNTS: Final = 10_000
DESTINATIONS: Final = 20_000
SEED: Final = 20
LOOK_S: Final = 0.005
P = TypeVar("P", bound=asyncio.Protocol)
_OK: Final = b"HTTP/1.1 200"


@dataclass
class Load:
    """What the load generator saw."""

    latencies: list[float] = field(default_factory=list)
    longest_gap_s: float = 0.0
    """The longest time in which nobody got an answer."""
    longest_stall_s: float = 0.0
    """The longest time for which this generator itself was late."""
    refused: str = ""
    """An answer that was no success."""


def documents(count: int, *, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Withdrawals of about 600 bytes, seeded."""
    chance = random.Random(SEED + len(prefix))  # noqa: S311  a load that can be repeated, not a secret
    usual = [chance.lognormvariate(6, 1) for _ in range(ACCOUNTS)]
    for number in range(count):
        account = chance.randrange(ACCOUNTS)
        usd = usual[account] * chance.lognormvariate(0, 0.5)
        yield {
            "type": "withdrawal.requested",
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {
                "account": f"hot-{account}",
                "actor": f"ops-{account % 200}",
                "transaction": f"tx-{prefix}{number}",
                "asset": "eip155:1/slip44:60",
                "amount_base_units": str(int(usd / 3000 * 10**18)),
                "amount_usd": f"{usd:.2f}",
                "balance_usd": "25000000.00",
                "destination": f"eip155:1:0x{(account * 7 + chance.randrange(3)) % DESTINATIONS:040x}",
                "destination_kind": "one_time",
                "ip": "203.0.113.7",
                "country": "SG",
                "device": f"d-{account % 200}",
                "session": f"s-{account % 200}",
                "user_agent": "x" * 60,
            },
        }


def webhooks(count: int, *, prefix: str = "") -> Iterator[bytes]:
    """Signed requests to `/webhooks/std`."""
    stamp = str(int(time.time()))
    for number, document in enumerate(documents(count, prefix=prefix)):
        body = json.dumps(document).encode()
        key = f"msg_{prefix}{number}"
        mac = base64.b64encode(hmac.digest(KEY, f"{key}.{stamp}.".encode() + body, "sha256")).decode()
        yield post(
            "/webhooks/std", body, f"webhook-id: {key}\r\nwebhook-timestamp: {stamp}\r\nwebhook-signature: v1,{mac}\r\n"
        )


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """One HTTP/1.1 request."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}{headers}\r\n".encode() + body


class _Client(asyncio.Protocol):
    """One keep-alive connection: request, answer, request."""

    done: "asyncio.Future[None]"

    def __init__(self, prepared: Iterator[bytes], load: Load, end: float) -> None:
        self._prepared = prepared
        self._load = load
        self._end = end
        self._began = 0.0
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._next()

    def _next(self) -> None:
        now = time.perf_counter()
        request = next(self._prepared, None) if now < self._end else None
        if request is None:
            self._transport.close()
            self.done.set_result(None)
            return
        self._began = now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        got = self._got + data if self._got else data
        if not _whole(got):
            self._got = got
            return
        self._got = b""
        if got.startswith(_OK):
            self._load.latencies.append(time.perf_counter() - self._began)
            self._next()
        else:
            self._transport.close()
            self.done.set_exception(RuntimeError(got.decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection"))


class _Paced(asyncio.Protocol):
    """One connection that sends when it is told."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._due = 0.0
        self._got = b""
        self.idle = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self.idle = True

    def send(self, due: float, request: bytes) -> None:
        self.idle, self._due, self._got = False, due, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if _whole(self._got):
            if self._got.startswith(_OK):
                self._load.latencies.append(time.perf_counter() - self._due)
                self.idle = True
            else:
                self._load.refused = self._got.decode()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.idle = False  # the server ends what nobody used for seconds; after a stall it would be next

    def close(self) -> None:
        self._transport.close()


def _whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = answer.find(b"content-length: ", 0, head)
    if at < 0:
        return answer.endswith(b"\r\n0\r\n\r\n")
    return len(answer) >= head + 4 + int(answer[at + 16 : answer.find(b"\r", at)])


async def closed_loop(socket: str, seconds: float, prepared: Iterator[bytes], connections: int) -> Load:
    """Load a server until time is up or nothing is left to send; every connection waits for its answers."""
    load = Load()
    end = time.perf_counter() + seconds
    watching = asyncio.create_task(_watch(load))
    await asyncio.gather(*(_run(socket, _Client(prepared, load, end)) for _ in range(connections)))
    watching.cancel()
    return load


async def paced(socket: str, seconds: float, prepared: Iterator[bytes], rate: float, connections: int = 128) -> Load:
    """Send at a steady rate whatever the answers take; a latency counts from when the request was due."""
    load = Load()
    loop = asyncio.get_running_loop()
    clients = [_Paced(load) for _ in range(connections)]
    for client in clients:
        await loop.create_unix_connection(partial(_itself, client), socket)
    waiting: deque[tuple[float, bytes]] = deque()
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) - began < seconds:
        while began + sent / rate <= now and (request := next(prepared, None)) is not None:
            waiting.append((began + sent / rate, request))
            sent += 1
        for client in clients:
            if waiting and client.idle:
                client.send(*waiting.popleft())
        await asyncio.sleep(max(0.001, began + sent / rate - now))
    await asyncio.sleep(0.2)
    for client in clients:
        client.close()
    if load.refused:
        raise RuntimeError(load.refused)
    return load


async def _run(socket: str, client: _Client) -> None:
    loop = asyncio.get_running_loop()
    client.done = loop.create_future()
    await loop.create_unix_connection(partial(_itself, client), socket)
    await client.done


def _itself(protocol: P) -> P:
    return protocol


async def _watch(load: Load) -> None:
    """Note the longest time in which no answer came, and how much of one this generator itself missed."""
    last = now = time.perf_counter()
    count = 0
    while True:
        before = now
        await asyncio.sleep(LOOK_S)
        now = time.perf_counter()
        load.longest_stall_s = max(load.longest_stall_s, now - before - LOOK_S)
        if len(load.latencies) > count:
            last, count = now, len(load.latencies)
        load.longest_gap_s = max(load.longest_gap_s, now - last)
