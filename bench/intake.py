"""Durable events a second of one intake process, beside two yardsticks built and measured in the same run.

Run from the repository: `python -m bench.intake [--seconds N]`. Every answer counted was given after a commit with fsync on.
The load generator shares this machine's processors with the servers, so ratios travel between machines, figures do not.
"""

import argparse
import asyncio
import base64
import hmac
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import uvloop

from bench.intake_apps import KEY, SECRET
from service.domain.secrets import Secret
from service.runtime.accounts import myself, server_account
from service.runtime.postgres import EmbeddedPostgres, PostgresPlace
from service.runtime.valkey import EmbeddedValkey, ValkeyPlace
from service.store.migrate import upgrade

CONNECTIONS = 64
ACCOUNTS = 500
SEED = 20
TABLES = """
CREATE TABLE bench_events (id text PRIMARY KEY, account text, at timestamptz, raw bytea, state bytea);
CREATE TABLE bench_state (entity text PRIMARY KEY, state bytea);
"""


@dataclass
class Measured:
    """What one server did."""

    name: str
    events_per_s: float
    p50_ms: float
    p99_ms: float
    inside: dict[str, float]


def requests(count: int) -> Iterator[bytes]:
    """Signed webhooks of about 600 bytes, seeded."""
    chance = random.Random(SEED)  # noqa: S311  a load that can be repeated, not a secret
    stamp = str(int(time.time()))
    for number in range(count):
        usd = chance.lognormvariate(6, 1)
        document = {
            "type": "withdrawal.requested",
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {
                "account": f"hot-{chance.randrange(ACCOUNTS)}",
                "actor": f"ops-{chance.randrange(20)}",
                "transaction": f"tx-{number}",
                "asset": "eip155:1/slip44:60",
                "amount_base_units": str(int(usd / 3000 * 10**18)),
                "amount_usd": f"{usd:.2f}",
                "balance_usd": "25000000.00",
                "destination": f"eip155:1:0x{chance.randrange(5000):040x}",
                "destination_kind": "one_time",
                "ip": "203.0.113.7",
                "country": "SG",
                "device": "d-1",
                "session": "s-1",
                "user_agent": "x" * 60,
            },
        }
        body = json.dumps(document).encode()
        key = f"msg_{number}"
        mac = base64.b64encode(hmac.digest(KEY, f"{key}.{stamp}.".encode() + body, "sha256")).decode()
        head = (
            f"POST /webhooks/std HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"webhook-id: {key}\r\nwebhook-timestamp: {stamp}\r\nwebhook-signature: v1,{mac}\r\n\r\n"
        )
        yield head.encode() + body


async def load(socket: str, seconds: float, prepared: Iterator[bytes]) -> list[float]:
    """Send over keep-alive connections until time is up; return each answer's latency."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_unix_connection(socket)
        for request in prepared:
            began = time.perf_counter()
            if began > end:
                break
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return latencies


def measure(name: str, folder: Path, environment: dict[str, str], seconds: float) -> Measured:
    """Run one server and load it."""
    socket = str(folder / f"{name}.sock")
    command = [
        sys.executable, "-m", "uvicorn", f"bench.intake_apps:{name}", "--factory", "--uds", socket, "--no-access-log",
        "--log-level", "error", "--loop", "uvloop", "--http", "httptools",
    ]  # fmt: skip
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE) as server:
        try:
            while not Path(socket).exists():
                if server.poll() is not None:
                    raise RuntimeError(f"{name} did not start")
                time.sleep(0.05)
            prepared = iter(list(requests(int(seconds * 25_000))))
            uvloop.run(load(socket, min(1.0, seconds / 4), prepared))
            latencies = sorted(uvloop.run(load(socket, seconds, prepared)))
        finally:
            server.terminate()
            told = (server.stdout.read() if server.stdout else b"").decode().strip().splitlines()
    percentiles = statistics.quantiles(latencies, n=100)
    inside = json.loads(told[-1]) if told else {}
    return Measured(name, len(latencies) / seconds, percentiles[49] * 1000, percentiles[98] * 1000, inside)


@contextmanager
def servers() -> Iterator[tuple[Path, str, str]]:
    """A durable PostgreSQL with a connection and its accounts, and a Valkey."""
    password = Secret("bench-only")
    account = server_account("portcullis-postgres")
    with tempfile.TemporaryDirectory(prefix="pcl-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "pg").mkdir()
        account.own(folder / "pg")
        database = EmbeddedPostgres(
            PostgresPlace(folder / "pg/data", folder / "pg/s", folder / "pg/log", account), password
        )
        valkey = EmbeddedValkey(ValkeyPlace(folder / "valkey", folder / "v" / "v", folder / "vlog", myself()), password)
        database.start()
        try:
            upgrade(database.url())
            with psycopg.connect(database.url(), autocommit=True) as connection:
                connection.execute(TABLES)
                prepare(connection)
            valkey.start()
            yield folder, database.url(), valkey.url()
        finally:
            valkey.stop()
            database.stop()


def prepare(connection: psycopg.Connection) -> None:
    """Register the connection and its accounts."""
    connection.execute(
        "INSERT INTO connections (id, platform, name, config, state, created_at)"
        " VALUES ('std', 'standard', 'std', '{\"rate_per_s\": \"1000000\"}', 'active', now())"
    )
    connection.execute(
        "INSERT INTO connection_secrets (connection_id, name, opened_by, sealed, created_at)"
        " VALUES ('std', 'webhook_secret', 'api', %s, now())",
        (SECRET,),
    )
    connection.execute(
        "INSERT INTO accounts (id, connection_id, ref, holder, created_at)"
        " SELECT 'acc-' || i, 'std', 'hot-' || i, 'platform', now() FROM generate_series(0, %s) AS i",
        (ACCOUNTS,),
    )


def report(found: list[Measured]) -> None:
    """Print the figures, the ratios and where ours spends its time."""
    ours = found[0]
    print(
        f"\n{CONNECTIONS} connections, {ACCOUNTS} accounts, seed {SEED}, {os.cpu_count()} processors shared with the load"
    )
    print(f"{'':8}{'events/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'ours is':>10}")
    for one in found:
        ratio = ours.events_per_s / one.events_per_s
        print(f"{one.name:8}{one.events_per_s:10.0f}{one.p50_ms:9.1f}{one.p99_ms:9.1f}{ratio:9.2f}x")
    inside = ours.inside
    batches = inside.get("batches", 0)
    if not batches:
        return
    waiting = sum(
        inside.get(part, 0) for part in ("lock", "requests", "events", "accounts", "transactions", "write", "commit")
    )
    print(f"\nwhere our time goes ({batches:.0f} batches, {inside['cpu']:.1f} s of processor in the process)")
    parts = {**{part: inside.get(part, 0.0) for part in ("lock", "requests", "events", "accounts", "transactions")},
             "write rows and baselines": inside["write"], "commit": inside["commit"],
             "engine and book-keeping between statements": inside["in batches"] - waiting}  # fmt: skip
    for part, seconds in parts.items():
        print(f"  {part:44}{seconds:7.2f} s {100 * seconds / inside['in batches']:5.1f} % of a batch")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each server is loaded")
    seconds = parser.parse_args().seconds
    with servers() as (folder, database, valkey):
        environment = {"BENCH_DATABASE": database, "BENCH_REDIS": valkey}
        report([measure(name, folder, environment, seconds) for name in ("ours", "bare", "naive")])


if __name__ == "__main__":
    main()
