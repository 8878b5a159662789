"""Durable events a second of one intake process, beside two yardsticks built and measured in the same run.

Run from the repository: `python -m bench.intake [--seconds N] [--rounds N]`. Every answer counted was given after a commit
with fsync on. The load generator shares this machine's processors with the servers, so ratios travel between machines,
figures do not. A machine is not equally quick all the time, so the servers are measured in turn, several times: a ratio is
the median of the rounds', with the least and the greatest beside it, everything else the median of its figures. Who is
first changes from round to round. All servers get the same load, and the same again in each round, under new ids.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import uvloop

from bench.intake_load import ACCOUNTS, SECRET, SEED, closed_loop, webhooks
from service.domain.secrets import Secret
from service.runtime.accounts import myself, server_account
from service.runtime.postgres import EmbeddedPostgres, PostgresPlace
from service.runtime.valkey import EmbeddedValkey, ValkeyPlace
from service.store.migrate import upgrade

CONNECTIONS = 64
WARM_UP_S = 4.0
"""Until most accounts were seen."""
PREPARED = 20_000
"""Requests that are made ready for each second of load; more than any server here answers."""
TABLES = """
CREATE TABLE bench_events (id text PRIMARY KEY, account text, at timestamptz, raw bytea);
CREATE TABLE bench_state (entity text PRIMARY KEY, state bytea) WITH (fillfactor = 50, toast_tuple_target = 8160);
ALTER TABLE bench_state ALTER state SET STORAGE PLAIN;
CREATE TABLE bench_naive (id text PRIMARY KEY, account text, at timestamptz, raw bytea, state bytea);
"""


@dataclass(frozen=True)
class Place:
    """The servers that every measured one uses."""

    folder: Path
    database: str
    redis: str
    postgres: int
    """Process id of PostgreSQL."""
    state_bytes: int
    """What the yardsticks write of baselines, an event."""


@dataclass
class Measured:
    """What one server did."""

    name: str
    events_per_s: float
    p50_ms: float
    p99_ms: float
    each_us: dict[str, float]
    """Processor time an event, by process."""
    inside: dict[str, float]


class Processors:
    """Processor seconds of the server, of PostgreSQL and of this load generator."""

    def __init__(self, server: int, postgres: int) -> None:
        self._pids = {"server": server, "postgres": postgres, "load": os.getpid()}
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {name: _seconds(pid, tree=name == "postgres") for name, pid in self._pids.items()}

    def spent(self) -> dict[str, float]:
        """Seconds since this was made."""
        now = self._now()
        return {name: now[name] - self._before[name] for name in now}


def _seconds(pid: int, *, tree: bool) -> float:
    process = psutil.Process(pid)
    found = 0.0
    for one in (process, *(process.children(recursive=True) if tree else ())):
        with suppress(psutil.Error):
            times = one.cpu_times()
            found += times.user + times.system
    return found


def measure(name: str, place: Place, seconds: float, turn: int) -> Measured:
    """Run one server and load it with webhooks."""
    with serving(name, place, socket_name=f"{name}-{turn}") as (socket, server, told):
        prepared = iter(list(webhooks(int((seconds + WARM_UP_S) * PREPARED), prefix=f"{name[0]}{turn:03}-")))
        uvloop.run(closed_loop(socket, WARM_UP_S, prepared, CONNECTIONS))
        processors = Processors(server, place.postgres)
        load = uvloop.run(closed_loop(socket, seconds, prepared, CONNECTIONS))
        spent = processors.spent()
        if next(prepared, None) is None:
            raise RuntimeError(f"{name} answered more than was prepared: raise PREPARED")
    percentiles = statistics.quantiles(load.latencies, n=100)
    count = len(load.latencies)
    return Measured(
        name=name,
        events_per_s=count / seconds,
        p50_ms=percentiles[49] * 1000,
        p99_ms=percentiles[98] * 1000,
        each_us={part: 1e6 * used / count for part, used in spent.items()},
        inside=told,
    )


@contextmanager
def serving(name: str, place: Place, *, socket_name: str = "") -> Iterator[tuple[str, int, dict[str, float]]]:
    """Run one of `bench.intake_apps`; yield its socket, its pid and what it tells when it ends."""
    socket = str(place.folder / f"{socket_name or name}.sock")
    command = [sys.executable, "-m", "bench.intake_apps", name, socket]
    environment = os.environ | {
        "BENCH_DATABASE": place.database,
        "BENCH_REDIS": place.redis,
        "BENCH_STATE_BYTES": str(place.state_bytes),
    }
    told: dict[str, float] = {}
    output = Path(f"{socket}.out")  # not a pipe: nobody would read the log, and a full one stops who writes it
    with output.open("wb") as written, subprocess.Popen(command, env=environment, stdout=written) as server:
        try:
            while not Path(socket).exists():
                if server.poll() is not None:
                    raise RuntimeError(f"{name} did not start")
                time.sleep(0.05)
            yield socket, server.pid, told
        finally:
            server.terminate()
            server.wait()
            lines = output.read_text(encoding="utf-8").strip().splitlines()
            told.update(json.loads(lines[-1]) if lines else {})


def _state_bytes() -> int:
    # In a process of its own: what the engine leaves behind would have the load generator pause.
    command = [sys.executable, "-m", "bench.intake_state"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


@contextmanager
def servers() -> Iterator[Place]:
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
            yield Place(folder, database.url(), valkey.url(), database.pid or 0, _state_bytes())
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
        "INSERT INTO accounts (id, connection_id, ref, holder, created_at, live_since)"
        " SELECT 'acc-' || i, 'std', 'hot-' || i, 'platform', now(), now() FROM generate_series(0, %s) AS i",
        (ACCOUNTS,),
    )


def report(rounds: list[list[Measured]]) -> None:
    """Print the figures, the ratios and where the processors' time goes."""
    print(
        f"\n{CONNECTIONS} connections, {ACCOUNTS} accounts, seed {SEED}, {os.cpu_count()} processors shared with the load,"
        f" {len(rounds)} rounds"
    )
    print(
        f"{'':8}{'events/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'ours is':>10}{'from to':>13}{'its p99':>10}"
        "   processor µs: server, PG, load"
    )
    for measured in zip(*rounds, strict=True):
        _tell(measured, [each[0] for each in rounds])
    inside = rounds[-1][0].inside
    batches = inside.get("batches", 0)
    if not batches:
        return
    named = {
        name: seconds
        for name, seconds in inside.items()
        if name not in {"batches", "in batches", "cpu"} and not name.startswith("longest ")
    }
    print(f"\nwhere a batch's time goes ({batches:.0f} batches of the last round)")
    rest = {"engine and book-keeping": inside["in batches"] - sum(named.values())}
    for part, seconds in (named | rest).items():
        print(f"  {part:30}{seconds:7.2f} s {100 * seconds / inside['in batches']:5.1f} %")


def _tell(measured: Sequence[Measured], ours: Sequence[Measured]) -> None:
    """Print one server's line."""
    median = statistics.median
    ratios = [mine.events_per_s / its.events_per_s for mine, its in zip(ours, measured, strict=True)]
    waits = median(mine.p99_ms / its.p99_ms for mine, its in zip(ours, measured, strict=True))
    each = [median(one.each_us[part] for one in measured) for part in ("server", "postgres", "load")]
    rate, p50, p99 = (median(getattr(one, what) for one in measured) for what in ("events_per_s", "p50_ms", "p99_ms"))
    spread = f"{min(ratios):.2f} {max(ratios):.2f}"
    print(
        f"{measured[0].name:8}{rate:10.0f}{p50:9.1f}{p99:9.1f}{median(ratios):9.2f}x{spread:>13}{waits:9.2f}x"
        f"   {each[0]:8.0f}{each[1]:8.0f}{each[2]:8.0f}"
    )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each server is loaded in a round")
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured, in turn")
    parser.add_argument("--only", default="ours,bare,naive", help="which servers")
    told = parser.parse_args()
    if told.rounds < 1:
        parser.error("--rounds must be 1 or more")
    names = told.only.split(",")
    with servers() as place:
        print(f"an event changes {place.state_bytes} bytes of entities' baselines, which the yardsticks write")
        rounds = []
        for turn in range(told.rounds):
            first = turn % len(names)
            found = {name: measure(name, place, told.seconds, turn) for name in (*names[first:], *names[:first])}
            rounds.append([found[name] for name in names])
            rates = ", ".join(f"{one.name} {one.events_per_s:.0f}/s" for one in rounds[-1])
            print(f"round {turn + 1} of {told.rounds}: {rates}", flush=True)
        report(rounds)


if __name__ == "__main__":
    main()
