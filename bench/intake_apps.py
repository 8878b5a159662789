"""The three servers that bench/intake.py compares, each a factory for uvicorn, configured by environment.

- `ours`: the intake app as it runs in production, webhooks of a standard connection, engine and detectors included.
- `bare`: the floor. Bare ASGI: verify the HMAC, decode, and a natural group commit that writes the activity
  and as many changed state bytes as ours. No deduplication, no scoring, no alerts, no audit.
- `naive`: what one writes first: FastAPI, a pydantic body, state in Redis, one commit per request.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, cast

import asyncpg
import msgspec
import redis.asyncio
import uvicorn
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from fastapi import FastAPI, Request
from pydantic import BaseModel

from bench.intake_load import KEY, TOKEN, TOKEN_ID
from rules.loader import load_directory
from rules.warm import exercise
from service.api.auth import Authenticator, Principal, StoredToken
from service.api.connections import Connections
from service.api.front import Front
from service.api.intake import IntakeApp
from service.api.plain import PlainRequest
from service.api.quick import quick
from service.clock import SystemClock
from service.custody.fireblocks.platform import PLATFORM as FIREBLOCKS
from service.custody.standard.platform import PLATFORM as STANDARD
from service.domain.ids import ConnectionId, new_id
from service.domain.intake import Outcome
from service.domain.quorum import Role
from service.domain.secrets import Secret
from service.domain.wire import WireActivity
from service.flow.gate import Gate
from service.flow.intake.batcher import Intake
from service.flow.intake.keeper import EngineKeeper
from service.flow.intake.waiting import Settle
from service.serving import settle_down
from service.store.connections import load_connection
from service.store.intake import PostgresIntakeStore, PostgresTurn, connect

CALLBACK_KEY = generate_private_key(65537, 2048)
LOOK_S = 0.01
STATE_BYTES = int(os.environ.get("BENCH_STATE_BYTES", "0"))
"""Changed baseline bytes an event (`bench/intake_state.py`), which the two yardsticks write."""
INSERT = (
    "INSERT INTO bench_events SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bytea[])"
    " ON CONFLICT DO NOTHING"
)
UPSERT = (
    "INSERT INTO bench_state SELECT * FROM unnest($1::text[], $2::bytea[])"
    " ON CONFLICT (entity) DO UPDATE SET state = excluded.state"
)


class Served(NamedTuple):
    """An application, and the protocol that its connections speak."""

    app: Any
    protocol: Any


class TimedStore(PostgresIntakeStore):
    """Counts the seconds that each statement of the batches takes, and the batches."""

    seconds: dict[str, float]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[PostgresTurn]:
        began = time.perf_counter()
        async with super().turn() as turn:
            taken = time.perf_counter()
            for name in ("facts", "write"):
                if not hasattr(getattr(turn, name), "timed"):
                    setattr(turn, name, self._timed(name, getattr(turn, name)))
            yield turn
        self.seconds["turn"] += taken - began
        self.seconds["batches"] += 1
        self.seconds["in batches"] += time.perf_counter() - began

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        async def timed(*arguments: object) -> Any:
            began = time.perf_counter()
            try:
                return await call(*arguments)
            finally:
                took = time.perf_counter() - began
                self.seconds[name] += took
                self.seconds[f"longest {name}"] = max(self.seconds[f"longest {name}"], took)

        timed.timed = True  # type: ignore[attr-defined]  # marks what is wrapped already
        return timed


def sign(message: bytes, key: str = "") -> bytes:  # noqa: ARG001  one key signs here
    """Sign answers with a key of software; a token's takes longer."""
    return CALLBACK_KEY.sign(message, PKCS1v15(), SHA256())


def token() -> StoredToken:
    """The load's token for batches and decisions."""
    principal = Principal(TOKEN_ID, Role.INGEST, None, ConnectionId("std"))
    return StoredToken(principal, hashlib.sha256(TOKEN.encode()).digest(), None, None)


async def watch(seconds: dict[str, float]) -> None:
    """Note the longest time for which a task that was due had to wait, and the longest in which this process worked."""
    while True:
        began, worked = time.perf_counter(), time.process_time()
        await asyncio.sleep(LOOK_S)
        late = time.perf_counter() - began - LOOK_S
        seconds["longest stall"] = max(seconds["longest stall"], late)
        seconds["longest work"] = max(seconds["longest work"], min(late, time.process_time() - worked))


class _Later:
    """The intake app, once the server has started it."""

    @staticmethod
    def answer_to(outcome: Outcome) -> bytes:
        return IntakeApp.answer_to(outcome)

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def take_plain(self, request: PlainRequest, client: str, trace_id: str, settle: Settle) -> bool:
        return cast("IntakeApp", self._state["intake"]).take_plain(request, client, trace_id, settle)


def ours() -> Served:
    """The intake app."""
    state: dict[str, Any] = {}

    async def start() -> None:
        url = Secret(os.environ["BENCH_DATABASE"])
        store = TimedStore((await connect(url)).pool, url)
        store.seconds = defaultdict(float)
        clock = SystemClock()
        keeper = EngineKeeper(store.baselines, load_directory())
        await asyncio.to_thread(exercise)  # as the service does before it listens
        await keeper.prepare()
        await store.warm()
        intake = Intake(store, keeper, clock)
        connections = Connections(
            partial(load_connection, store.pool),
            lambda sealed, _aad: sealed,
            {"standard": STANDARD, "fireblocks": FIREBLOCKS},
        )
        app = IntakeApp(
            connections,
            intake,
            Gate(intake.submit, store, clock),
            Authenticator({TOKEN_ID: token()}.get),
            sign,
            clock,
        )
        state["intake"], state["app"] = app, Front(app, bounded=False)
        state["task"] = asyncio.create_task(intake.run())
        state["watching"] = asyncio.create_task(watch(store.seconds))
        settle_down()
        state["seconds"], state["cpu"] = store.seconds, time.process_time()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await state["app"](scope, receive, send)

    def timings() -> dict[str, float]:
        return {**state["seconds"], "cpu": time.process_time() - state["cpu"]}

    return Served(_with_lifespan(app, start, timings), quick(_Later(state)))


def bare() -> Served:
    """The floor."""
    waiting: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
    work = asyncio.Event()
    decoder = msgspec.json.Decoder(WireActivity)
    state: dict[str, Any] = {}
    blobs = [os.urandom(STATE_BYTES // 2) + bytes(STATE_BYTES // 2) for _ in range(64)]
    choice = random.Random(1).choice  # noqa: S311  which bytes does not matter

    async def commit() -> None:
        while True:
            await work.wait()
            work.clear()
            batch, waiting[:] = list(waiting), []
            if not batch:
                continue
            columns = [list(column) for column in zip(*(row for row, _ in batch), strict=True)]
            changed = {row[1]: choice(blobs) for row, _ in batch}
            async with state["connection"].transaction():
                await state["connection"].execute(INSERT, *columns)
                await state["connection"].execute(UPSERT, list(changed), list(changed.values()))
            for _, future in batch:
                future.set_result(None)
            if waiting:
                work.set()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        headers = dict(_scope["headers"])
        content = headers[b"webhook-id"] + b"." + headers[b"webhook-timestamp"] + b"." + body
        given = base64.b64decode(headers[b"webhook-signature"][3:])
        if not hmac.compare_digest(hmac.digest(KEY, content, "sha256"), given):
            raise PermissionError
        wire = decoder.decode(body)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        key = headers[b"webhook-id"].decode()
        row = (key, wire.data.account, datetime.now(UTC), body)
        waiting.append((row, future))
        work.set()
        await future
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def start() -> None:
        state["connection"] = await asyncpg.connect(os.environ["BENCH_DATABASE"])
        state["task"] = asyncio.create_task(commit())
        settle_down()

    return Served(_with_lifespan(app, start, dict), "httptools")


class Data(BaseModel):
    """The wire schema, as pydantic."""

    account: str
    transaction: str
    asset: str
    amount_base_units: str
    destination: str
    amount_usd: str | None = None


class Body(BaseModel):
    """One activity."""

    type: str
    timestamp: datetime
    data: Data


def naive() -> Served:
    """What one writes first."""
    state: dict[str, Any] = {}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        state["pool"] = await asyncpg.create_pool(os.environ["BENCH_DATABASE"], min_size=1, max_size=10)
        state["redis"] = redis.asyncio.Redis.from_url(os.environ["BENCH_REDIS"])
        yield
        await state["pool"].close()
        await state["redis"].aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/webhooks/std")
    async def take(request: Request, told: Body) -> dict[str, str]:
        body = await request.body()
        key = request.headers["webhook-id"]
        content = f"{key}.{request.headers['webhook-timestamp']}.".encode() + body
        given = base64.b64decode(request.headers["webhook-signature"][3:])
        if not hmac.compare_digest(hmac.digest(KEY, content, "sha256"), given):
            raise PermissionError
        cache: Any = state["redis"]
        before = await cache.get(f"state:{told.data.account}") or b""
        blob = hashlib.sha256(before + body).digest() * (STATE_BYTES // 32)
        await cache.set(f"state:{told.data.account}", blob)
        async with state["pool"].acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO bench_naive VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                key, told.data.account, datetime.now(UTC), body, blob,
            )  # fmt: skip
        return {"activity_id": new_id("act")}

    return Served(app, "httptools")


def _with_lifespan(
    app: Callable[..., Any], start: Callable[[], Any], timings: Callable[[], Mapping[str, float]]
) -> Any:
    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        await start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print(json.dumps(dict(timings())), flush=True)
        await send({"type": "lifespan.shutdown.complete"})

    return served


def main() -> None:
    """Serve one of the three at a Unix socket, until told to stop."""
    name, socket = sys.argv[1:]
    app, protocol = {"ours": ours, "bare": bare, "naive": naive}[name]()
    config = uvicorn.Config(
        app, uds=socket, http=protocol, loop="uvloop", ws="none", access_log=False, log_level="error"
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
