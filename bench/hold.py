"""From a webhook to the platform's hold, leg by leg, in the calm: where the time of one containment goes.

Run from the repository: `python -m bench.hold [--incidents 50] [--per-s 200] [--json]`. It starts a real `portcullis up`
beside the emulated platform and opens incidents on accounts that nothing else touches: one after another on a quiet
installation, one after another beside webhooks, and all at once beside them. Each moment is read from where it was written
down anyway: the sender's clock, the rows' times (when the transaction that wrote them began) and the platform's record.
Beside it stands how much processor time each part took for an incident, with its pages and mails, which neighbours on the
same processors change far less than they change milliseconds of waiting.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

from bench.chaos_load import Sender
from bench.chaos_proofs import database, holds_ms
from bench.chaos_stage import CALM, GUARDED, SINGLE, Cast, Stage, running, scratch
from service.runtime.layout import Layout

WARM_UP: Final = 6
"""Incidents of each part that are not counted: what a process does for the first time takes longer."""
GAP_S: Final = 0.4
REST_S: Final = 3.0
HOLDS_S: Final = 60.0
LEGS: Final = (
    ("sent", "taken", "webhook sent until it was answered (scored and committed)"),
    ("taken", "triage", "answered until triage begins: woken by the commit"),
    ("triage", "intent", "triage, plan and claim, until the step's intent is written"),
    ("intent", "held", "intent committed, call signed and sent, platform acts"),
    ("sent", "held", "webhook sent until the platform acts"),
)
"""(from, to, in words); the last is all of it."""
_ROWS: Final = """
    SELECT s.target->>'value' AS account, i.opened_at AS triage, s.intent_at AS intent
    FROM steps s JOIN incidents i ON i.id = s.incident_id
    WHERE s.action = 'suspend_withdrawals'
"""
Moments = Mapping[str, float]
"""Unix milliseconds by the names in `LEGS`."""


@dataclass(frozen=True, slots=True)
class Part:
    """One way of opening incidents, on the accounts of one connection."""

    name: str
    connection: str
    per_s: float
    gap_s: float


def play(
    stage: Stage, sender: Sender, parts: Sequence[Part], tell: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Open the incidents of every part and wait for their holds; return what processor time each part took."""
    took = {}
    for number, part in enumerate(parts):
        accounts = stage.cast.of(part.connection)
        tell(f"{part.name}: {len(accounts)} incidents")
        sender.flow(stage.usual(number), part.per_s)
        time.sleep(REST_S)
        before = spent_s(stage.layout)
        for account in accounts:
            sender.send(stage.attack(account))
            time.sleep(part.gap_s)
        end = time.monotonic() + HOLDS_S
        while not {ref for _, ref in accounts} <= set(holds_ms(stage)) and time.monotonic() < end:
            time.sleep(0.5)
        sender.flow(iter(()), 0)
        time.sleep(REST_S)
        after = spent_s(stage.layout)
        took[part.name] = {name: after[name] - before.get(name, 0.0) for name in after}
    return took


def spent_s(layout: Layout) -> dict[str, float]:
    """Return the processor seconds that each part has taken so far, with its children."""
    found = {}
    for one in json.loads(layout.state_file.read_text())["parts"]:
        if one["pid"] is not None:
            parent = psutil.Process(one["pid"])
            times = [p.cpu_times() for p in (parent, *parent.children(recursive=True))]
            found[str(one["name"])] = sum(t.user + t.system for t in times)
    return found


def moments(stage: Stage, sender: Sender) -> dict[str, Moments]:
    """Return what is known of each account's incident."""
    held = holds_ms(stage)
    told = {name.removeprefix("attack-"): one for (_, name), one in sender.told.items()}
    with database(stage.layout) as db:
        rows = {r["account"]: r for r in db.execute(_ROWS)}
    return {
        ref: {
            "sent": told[ref].sent_ms,
            "taken": told[ref].taken_ms,
            **{name: rows[ref][name].timestamp() * 1e3 for name in ("triage", "intent")},
            "held": held[ref],
        }
        for ref in held
        if ref in rows and ref in told
    }


def legs(found: Mapping[str, Moments], accounts: Sequence[tuple[str, str]]) -> list[dict[str, object]]:
    """Return each leg's distribution over these accounts, in milliseconds."""
    seen = [found[ref] for _, ref in accounts[WARM_UP:] if ref in found]
    rows: list[dict[str, object]] = []
    for begin, end, words in LEGS:
        took = sorted(one[end] - one[begin] for one in seen)
        rows.append({"leg": words, "n": len(took), **{f"p{p}": percentile(took, p) for p in (1, 50, 90, 99)}})
    return rows


def percentile(ranked: Sequence[float], percent: float) -> float:
    """Return the nearest rank's value of what is sorted; NaN of nothing."""
    return round(ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)], 1) if ranked else math.nan


def show(console: Console, name: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print one part's table."""
    table = Table("ms", "n", "p1", "p50", "p90", "p99", title=name)
    for row in rows:
        table.add_row(str(row["leg"]), *(str(row[key]) for key in ("n", "p1", "p50", "p90", "p99")))
    console.print(table)


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code: 1 when an account was never held."""
    parser = argparse.ArgumentParser(prog="python -m bench.hold", description="From webhook to hold, leg by leg.")
    parser.add_argument("--incidents", type=int, default=50, help="of each part; at most 50")
    parser.add_argument("--per-s", type=float, default=200.0, help="webhooks a second beside the incidents")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", choices=(SINGLE, CALM, GUARDED), help="one part only")
    parser.add_argument("--keep", type=Path, help="use this empty folder and keep it, with all logs")
    chosen = parser.parse_args(arguments)
    most = min(chosen.incidents, 50)
    parts = [
        Part("one after another, quiet", SINGLE, 0, GAP_S),
        Part(f"one after another, beside {chosen.per_s:.0f} webhooks/s", CALM, chosen.per_s, GAP_S),
        Part(f"all at once, beside {chosen.per_s:.0f} webhooks/s", GUARDED, chosen.per_s, 0),
    ]
    parts = [part for part in parts if chosen.only in {None, part.connection}]
    numbers = {part.connection: most for part in parts}
    cast = Cast(numbers.get(CALM, 0), numbers.get(GUARDED, 0), 0, 0, numbers.get(SINGLE, 0))
    console = Console(stderr=chosen.json)
    with scratch(chosen.keep) as folder, running(folder, cast) as stage, Sender(*stage.address) as sender:
        took = play(stage, sender, parts, console.print)
        found = moments(stage, sender)
    told = {part.name: legs(found, cast.of(part.connection)) for part in parts}
    each = {name: {part: round(1e3 * s / most, 1) for part, s in parts.items()} for name, parts in took.items()}
    if chosen.json:
        print(json.dumps({"legs_ms": told, "processor_ms_an_incident": each}))
    else:
        for name, rows in told.items():
            show(console, name, rows)
            console.print("processor ms an incident:", ", ".join(f"{k} {v}" for k, v in each[name].items()))
    return 0 if len(found) == len(cast.accounts) else 1


if __name__ == "__main__":
    sys.exit(main())
