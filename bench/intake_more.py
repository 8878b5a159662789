"""What else is asked of intake: batches, decisions beside the load, pauses, and where a microsecond goes.

Run from the repository: `python -m bench.intake_more [--seconds N] [--minute]`.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import jwt
import psycopg
import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.intake import CONNECTIONS, PREPARED, Place, Processors, servers, serving
from bench.intake_load import AUTHORIZED, SECRET, Load, closed_loop, documents, paced, post, webhooks
from rules.engine import Engine
from rules.loader import DetectorSet, load_directory
from rules.observation import Observation, encode
from rules.settings import EngineSettings
from service.api.plain import plain_request
from service.custody.standard.platform import PLATFORM
from service.domain.activity import Received
from service.domain.ids import ActivityId, ConnectionId, new_id
from service.domain.observing import observe
from service.domain.wire import parse_wire, to_activity
from service.ports.custody import ConnectionConfig

LINES: Final = 250
RATE: Final = 500.0
WARM_UP_S: Final = 1.5
STAGE_EVENTS: Final = 4096
BATCH: Final = 32


def batches(count: int) -> Iterator[bytes]:
    """NDJSON requests of 250 lines each."""
    made = documents(count * LINES, prefix="b")
    for number in range(count):
        lines = [json.dumps(next(made) | {"id": f"batch-{number}-{at}"}).encode() for at in range(LINES)]
        yield post("/v1/activities", b"\n".join(lines), AUTHORIZED)


def questions(count: int, prefix: str) -> Iterator[bytes]:
    """Requests to `/v1/decisions`."""
    for number, document in enumerate(documents(count, prefix=prefix)):
        body = json.dumps(document | {"id": f"{prefix}{number}", "deadline_ms": 5000}).encode()
        yield post("/v1/decisions", body, AUTHORIZED)


def callbacks(count: int, prefix: str, key: Any) -> Iterator[bytes]:
    """Requests to a co-signer's callback."""
    for number in range(count):
        claims = {
            "txId": f"{prefix}{number}",
            "operation": "TRANSFER",
            "sourceType": "VAULT",
            "sourceId": str(number % 100),
            "destType": "UNMANAGED",
            "asset": "ETH",
            "amountStr": "0.01",
            "destinations": [
                {"amountNativeStr": "0.01", "amountUSD": 27.5, "displayDstAddress": f"0x{number % 50:040x}"}
            ],
            "requestId": f"{prefix}{number}",
        }
        yield post("/cosigner/fb/v2/tx_sign_request", jwt.encode(claims, key, "RS256").encode())


def add_fireblocks(place: Place, key: Any) -> None:
    """A second connection, whose co-signer asks."""
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    config = json.dumps(
        {"workspace_id": "w", "cosigner_public_key": pem, "webhook_public_key": pem, "rate_per_s": "1000000"}
    )
    with psycopg.connect(place.database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO connections (id, platform, name, config, state, created_at)"
            " VALUES ('fb', 'fireblocks', 'fb', %s, 'active', now())",
            (config,),
        )
        connection.execute(
            "INSERT INTO accounts (id, connection_id, ref, holder, created_at, live_since)"
            " SELECT 'fb-' || i, 'fb', i::text, 'platform', now(), now() FROM generate_series(0, 99) AS i"
        )


async def beside(
    socket: str, seconds: float, asked: Iterator[bytes], load: Iterator[bytes], connections: int
) -> tuple[Load, Load]:
    """Ask at 500 a second while webhooks are sent over so many connections."""
    if not connections:
        return await paced(socket, seconds, asked, RATE), Load()
    found = await asyncio.gather(paced(socket, seconds, asked, RATE), closed_loop(socket, seconds, load, connections))
    return found[0], found[1]


def tell(name: str, load: Load, seconds: float, each: int = 1) -> None:
    """Print one line."""
    cuts = statistics.quantiles(load.latencies, n=100) if len(load.latencies) > 1 else [0.0] * 99
    rate = len(load.latencies) * each / seconds
    print(f"{name:46}{rate:10.0f}/s   p50 {cuts[49] * 1000:7.1f} ms   p99 {cuts[98] * 1000:7.1f} ms")


def measure_doors(place: Place, seconds: float) -> dict[str, float]:
    """Print rates of webhooks and batches, and latencies of decisions with and without a load beside them.

    Returns the processor time of one webhook, in µs, by process.
    """
    key = generate_private_key(65537, 2048)
    add_fireblocks(place, key)
    count = int(seconds * RATE) + 100
    with serving("ours", place) as (socket, server, _):
        prepared = iter(list(webhooks(int((3 * seconds + WARM_UP_S) * PREPARED))))
        uvloop.run(closed_loop(socket, WARM_UP_S, prepared, CONNECTIONS))
        processors = Processors(server, place.postgres)
        singles = uvloop.run(closed_loop(socket, seconds, prepared, CONNECTIONS))
        each_us = {part: 1e6 * used / len(singles.latencies) for part, used in processors.spent().items()}
        tell("webhooks, 64 connections", singles, seconds)
        lines = iter(list(batches(int(seconds * 60))))
        processors = Processors(server, place.postgres)
        many = uvloop.run(closed_loop(socket, seconds, lines, 4))
        tell(f"NDJSON batches of {LINES} over 4 connections, lines", many, seconds, LINES)
        spent = processors.spent()
        count_lines = len(many.latencies) * LINES
        each = {part: round(1e6 * used / count_lines) for part, used in spent.items()}
        rate = count_lines / len(singles.latencies)
        print(f"{'':46}{rate:10.2f}x the webhooks; processor µs a line: {each}")
        for name, connections in (("alone", 0), ("beside 64 connections of webhooks", CONNECTIONS)):
            asked = iter(list(questions(count, f"q{connections}-")))
            answered, _ = uvloop.run(beside(socket, seconds, asked, prepared, connections))
            tell(f"decisions at 500/s, {name}", answered, seconds)
            called = iter(list(callbacks(count, f"c{connections}-", key)))
            answered, _ = uvloop.run(beside(socket, seconds, called, prepared, connections))
            tell(f"co-signer callbacks at 500/s, {name}", answered, seconds)
    return each_us


def segments_made(place: Place) -> int:
    """How many segments of its log PostgreSQL has made because none was left to be used again; each one is a pause."""
    with psycopg.connect(place.database) as connection:
        query = "SELECT coalesce(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal' AND context = 'init'"
        row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def measure_pauses(place: Place, seconds: float) -> None:
    """Print the longest pauses of a long run."""
    with serving("ours", place, socket_name="long") as (socket, _, told):
        prepared = webhooks(10_000_000, prefix="long-")
        first = uvloop.run(closed_loop(socket, WARM_UP_S, prepared, CONNECTIONS))
        before = segments_made(place)
        load = uvloop.run(closed_loop(socket, seconds, prepared, CONNECTIONS))
        made = segments_made(place) - before
    tell(f"webhooks, {seconds:.0f} s", load, seconds)
    print(f"  segments that PostgreSQL's log grew by while commits waited: {made}")
    print(f"  longest time without any answer right after the start {first.longest_gap_s * 1000:.0f} ms")
    stall, work = told["longest stall"] * 1000, told["longest work"] * 1000
    print(f"  longest stall of the event loop {stall:.0f} ms; longest of this process's own work {work:.0f} ms")
    print(f"  longest time without any answer {load.longest_gap_s * 1000:.0f} ms")
    write, facts = told["longest write"] * 1000, told["longest facts"] * 1000
    stood = load.longest_stall_s * 1000
    print(
        f"  longest write of a batch {write:.0f} ms, look-up {facts:.0f} ms, pause of the load generator {stood:.0f} ms"
    )


def measure_stages(loaded_us: dict[str, float]) -> None:
    """Print what each step of one event costs by itself, in one process without a network.

    ``loaded_us`` is what a whole event cost each process under load: what is left of it is the server and the store.
    """
    sent = list(webhooks(STAGE_EVENTS))
    config = ConnectionConfig(ConnectionId("std"), "standard", {}, lambda _: SECRET, ("webhook_secret",))
    receiver = PLATFORM.receiver(config)
    now_s, now = time.time(), datetime.now(UTC)
    print(f"\nwhere a microsecond goes ({STAGE_EVENTS} events, one process, nothing else)")
    steps = [_stage("head and body of a plain request", plain_request, sent)]
    requests = [one for one in map(plain_request, sent) if one is not None]
    both = _stage("verify and parse", lambda one: receiver.receive(one.headers, one.body, now_s=now_s), requests)
    bodies = [one.body for one in requests]
    parse = _stage("  of that: parse", lambda body: to_activity(parse_wire(body), config.id, "e"), bodies)
    print(f"  {'  of that: verify':44}{both - parse:8.1f} µs")
    activities = [to_activity(parse_wire(body), config.id, "e") for body in bodies]

    def receive(pair: tuple[Any, bytes]) -> Received:
        digest = hashlib.sha256(pair[1]).digest()
        id_ = ActivityId(new_id("act"))
        return Received(activity_id=id_, received_at=now, body_digest=digest, raw=pair[1], activity=pair[0])

    steps.append(both)
    steps.append(_stage("id and digest", receive, zip(activities, bodies, strict=True)))
    received = [receive(pair) for pair in zip(activities, bodies, strict=True)]
    steps.append(_stage("observation", lambda one: encode(observe(one, None, counts=True)), received))
    observations = [observe(one, None, counts=True) for one in received]
    parts = [observations[at : at + BATCH] for at in range(0, STAGE_EVENTS, BATCH)]
    bare = Engine(EngineSettings(salt="bench"), DetectorSet((), ""))
    whole = Engine(EngineSettings(salt="bench"), load_directory())
    found: list[float] = []
    for engine, name in (
        (bare, "features, fusion, calibration, learning"),
        (whole, "  and all detectors behind guards"),
    ):
        engine.process_all(observations, [False] * STAGE_EVENTS)
        engine.take_changes()
        found.append(_stage(name, partial(_processed, engine), parts, each=BATCH))
    print(f"  {'  of that: detectors':44}{found[1] - found[0]:8.1f} µs")
    began = time.perf_counter()
    changes = whole.take_changes()
    spent = 1e6 * (time.perf_counter() - began) / STAGE_EVENTS
    print(f"  {f'copying {len(changes)} changed records':44}{spent:8.1f} µs")
    steps += [found[1], spent]
    left, postgres = loaded_us["server"] - sum(steps), loaded_us["postgres"]
    print(f"  {'sockets, batches and what is sent to the store *':44}{left:8.1f} µs")
    print(f"  {'the store: PostgreSQL *':44}{postgres:8.1f} µs")
    print(
        "  * of the loaded run above: what its processes used less these steps, which are quicker with nothing beside them"
    )


def _processed(engine: Engine, part: list[Observation]) -> None:
    engine.process_all(part, [False] * len(part))


def _stage(name: str, work: Callable[[Any], object], items: Iterable[Any], each: int = 1) -> float:
    work_on = list(items)
    began = time.perf_counter()
    for item in work_on:
        work(item)
    spent = 1e6 * (time.perf_counter() - began) / (each * len(work_on))
    print(f"  {name:44}{spent:8.1f} µs")
    return spent


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each load lasts")
    parser.add_argument("--minute", action="store_true", help="look for pauses in a run of 60 s")
    told = parser.parse_args()
    with servers() as place:
        loaded_us = measure_doors(place, told.seconds)
        measure_pauses(place, 60.0 if told.minute else told.seconds)
    measure_stages(loaded_us)


if __name__ == "__main__":
    main()
