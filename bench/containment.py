"""What is contained, how and how fast: one figure for each row of the README's table that no other program measures.

Run from the repository: `python -m bench.containment [--rounds N] [--only WORDS] [--json]`. It starts its own PostgreSQL,
SoftHSM2 tokens, EVM node (anvil), mail server and, on Bitcoin Core's consensus code, a chain with an Esplora beside it, and
removes them. Each figure is the median wall time of a few rounds, from the call that a worker makes until the other side
says that it holds. Chains are alone on the machine and make a block at once: what a live network adds (a block's time, its
finality, a way to it) is not in here, nor what a disk adds: its PostgreSQL is the tests' and flushes nothing. The first
hold from a webhook on is `bench.hold`'s. The machine's load stands beside it: figures of a busy machine are not ours alone.
"""

import argparse
import json
import logging
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import structlog
from rich.console import Console
from rich.table import Table

from bench.containment_chains import bitcoin_wallet, own_wallet, safe, traced
from bench.containment_sides import frozen_wallet, imported_list, issuer_letter
from bench.keys import a_vault, one_round

LEAVES = 100
Times = dict[str, list[float]]
"""Seconds of each round, by what was done."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    median_s: float
    slowest_s: float
    rounds: int


def rotation(rounds: int) -> Times:
    """Rotate the leaves of an account, as `bench.keys` does."""
    with a_vault() as (house, token):
        took = [one_round(house, token, LEAVES).rotate_s for _ in range(rounds)]
    return {f"keys: {LEAVES} leaves made, proven in the token and written down": took}


STAGES: dict[str, Callable[[int], Times]] = {
    "list": imported_list,
    "wallet": own_wallet,
    "safe": safe,
    "bitcoin": bitcoin_wallet,
    "rotation": rotation,
    "trace": traced,
    "letter": issuer_letter,
    "bitgo": frozen_wallet,
}


def rows(stages: Sequence[str], rounds: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Run the stages one after another and yield a row for each thing that they did.

    Each runs in a process of its own, because a process opens one token module with one configuration (design D7).
    """
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as alone:
        for stage in stages:
            tell(f"{stage} …")
            for what, times in alone.submit(one_stage, stage, rounds).result().items():
                yield Row(what, round(statistics.median(times), 4), round(max(times), 4), len(times))


def one_stage(stage: str, rounds: int) -> Times:
    """Run one stage without a word of what the service logs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    return STAGES[stage](rounds)


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.containment", description="What is contained, and how fast.")
    parser.add_argument("--rounds", type=int, default=5, help="of each; the table has their median")
    parser.add_argument("--only", choices=STAGES, nargs="+", default=list(STAGES), help="some stages only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    console = Console(stderr=True)
    before = os.getloadavg()[0]
    found = list(rows(chosen.only, max(1, chosen.rounds), console.print))
    load = {"cores": os.cpu_count(), "load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    if chosen.json:
        print(json.dumps({**load, "rows": [asdict(row) for row in found]}))
        return 0
    table = Table(
        "what", "median", "slowest", "rounds", title="Containment, from the call until it holds", min_width=100
    )
    for row in found:
        table.add_row(row.what, f"{row.median_s * 1e3:,.0f} ms", f"{row.slowest_s * 1e3:,.0f} ms", str(row.rounds))
    out = Console(width=120)
    out.print(table)
    out.print(
        f"{load['cores']} cores, load {load['load_before']} before and {load['load_after']} after (its own in it)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
