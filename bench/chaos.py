"""Containment while everything around it dies: faults from a printed seed, then proofs that nothing was lost or doubled.

Run from the repository: `python -m bench.chaos [--seed N] [--faults 34] [--seconds 130] [--json] [--picture FILE.svg]`. It
starts a real `portcullis up` beside the emulated platform. Webhooks come at a steady rate all the time; some incidents are
opened in the calm, then the others while processes are killed and the platform's answers are cut. The exit code is 0 when
every proof holds. Times are from the first try to deliver the webhook to the platform acting on the hold, on shared
processors: they say what a user of such a machine sees, and only ratios travel to another one. People vote meanwhile.
"""

import argparse
import json
import math
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.chaos_cosigner import answers
from bench.chaos_faults import Fault, Hand, plan
from bench.chaos_fireblocks import FIREBLOCKS, Payer
from bench.chaos_load import Sender
from bench.chaos_picture import draw
from bench.chaos_proofs import Proof, holds_ms, moving, proofs
from bench.chaos_stage import CALM, FORGETFUL, GUARDED, VAULT, Cast, Stage, running, scratch
from bench.chaos_votes import People

CALM_GAP_S: Final = 0.6
HOLDS_S: Final = 30.0
SETTLE_S: Final = 125.0
"""Longer than the deadline after which a hold that nobody can ask about is `unknown`."""
TICK_S: Final = 0.02
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """How a run shall be. `seconds`: for how long faults happen."""

    seed: int
    faults: int = 34
    seconds: float = 130.0
    per_s: float = 200.0
    warm_up_s: float = 6.0
    cast: Cast = field(default_factory=lambda: Cast(calm=14, guarded=36, forgetful=5, vault=9, fireblocks=6))
    votes: int = 6
    """How many requests people vote on."""


SMALL: Final = Cast(calm=2, guarded=4, forgetful=0, vault=1, fireblocks=2)
"""For a look, and for the tests. What a forgetful platform did is `unknown` only after the deadline of two minutes."""


@dataclass(slots=True)
class Happened:
    """What was done and seen; times in Unix milliseconds."""

    began_ms: float = 0.0
    done: list[tuple[float, Fault]] = field(default_factory=list)
    missed: int = 0
    webhooks: int = 0
    sent_ms: dict[str, float] = field(default_factory=dict)
    held_ms: dict[str, float] = field(default_factory=dict)
    settled_s: float = 0.0
    unsettled: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The requests that people voted on."""
    unanswered: int = 0
    """How often somebody who votes got no answer, or was told to try again."""
    questions: dict[str, int] = field(default_factory=dict)
    """The co-signer's, by what came of them at the platform."""
    proofs: list[Proof] = field(default_factory=list)

    def latencies(self, accounts: Sequence[tuple[str, str]]) -> list[float]:
        """Milliseconds from webhook to hold, of those accounts that were held."""
        return [self.held_ms[ref] - self.sent_ms[ref] for _, ref in accounts if ref in self.held_ms]


class Run:
    """One run on a stage that is set."""

    def __init__(self, stage: Stage, wish: Wish, tell: Tell) -> None:
        self._stage, self._wish, self._tell = stage, wish, tell
        self.happened = Happened()

    def play(self) -> Happened:
        """Play all of it."""
        cast = self._stage.cast
        calm, others = cast.of(CALM), cast.of(GUARDED, FORGETFUL, VAULT, FIREBLOCKS)
        stage = self._stage
        people = People(stage.service.url, stage.crew, stage.layout.home, self._wish.votes)
        with Sender(*stage.address) as sender, people, Payer(stage.workspace) as payer:
            sender.flow(self._stage.usual(self._wish.seed), self._wish.per_s)
            time.sleep(self._wish.warm_up_s)
            self._tell(f"calm: {len(calm)} incidents at {self._wish.per_s:.0f} webhooks/s")
            self._attack(sender, calm, CALM_GAP_S)
            self._until(lambda: len(self._held(calm)) == len(calm), HOLDS_S)
            self._disturb(sender, payer, others)
            self._settle(sender, people, payer)
            self._look(sender, people, [one for one in cast.accounts if one[1] not in payer.spared])
        return self.happened

    def _attack(self, sender: Sender, accounts: Sequence[tuple[str, str]], gap_s: float) -> None:
        for account in accounts:
            sender.send(self._stage.attack(account))
            time.sleep(gap_s)

    def _disturb(self, sender: Sender, payer: Payer, accounts: Sequence[tuple[str, str]]) -> None:
        wish, happened = self._wish, self.happened
        hand = Hand(self._stage.layout, self._stage.platform)
        due = _merged(plan(wish.seed, wish.faults, wish.seconds), accounts, wish.seconds)
        began, happened.began_ms = time.monotonic(), time.time_ns() / 1e6
        for at_s, what in due:
            time.sleep(max(0.0, began + at_s - time.monotonic()))
            if not isinstance(what, Fault):
                self._strike(sender, payer, what)
            elif hand.do(what):
                happened.done.append((time.time_ns() / 1e6, what))
                self._tell(f"{at_s:6.1f} s  {_shown(what)}")
            else:
                happened.missed += 1

    def _strike(self, sender: Sender, payer: Payer, account: tuple[str, str]) -> None:
        connection, ref = account
        if connection == FIREBLOCKS:
            payer.strike(ref)
            return
        sender.send(self._stage.attack(account))
        ended = self._stage.ended(account)
        if ended is not None:
            sender.send(ended)

    def _settle(self, sender: Sender, people: People, payer: Payer) -> None:
        began = time.monotonic()
        payer.stop()
        self._stage.platform.clear_faults()
        sender.flow(iter(()), 0)
        self._tell("no more faults: waiting for everything to come to rest")
        self._until(lambda: not (sender.waiting or people.waiting or payer.waiting() or self._moving()), SETTLE_S)
        self.happened.settled_s = time.monotonic() - began
        self.happened.unsettled = self._moving()

    def _moving(self) -> list[str]:
        try:
            return moving(self._stage.layout)
        except (OSError, psycopg.OperationalError) as error:
            return [f"the database: {error}"]

    def _look(self, sender: Sender, people: People, accounts: Sequence[tuple[str, str]]) -> None:
        happened = self.happened
        happened.asked, happened.unanswered = people.asked, people.unanswered
        happened.webhooks, happened.questions = len(sender.taken), answers(self._stage.workspace)
        happened.sent_ms = {name.removeprefix("attack-"): told.sent_ms for (_, name), told in sender.told.items()}
        happened.held_ms = holds_ms(self._stage)
        happened.proofs = [
            Proof(
                "every webhook was taken in the end", not sender.waiting and not sender.refused, str(sender.refused[:3])
            ),
            Proof("everything came to rest", not happened.unsettled, "; ".join(happened.unsettled[:5])),
            Proof("nobody who voted was refused", not people.refused, "; ".join(people.refused[:3])),
            *proofs(self._stage, sender.taken | self._delivered(), accounts, people.asked),
        ]

    def _delivered(self) -> set[tuple[str, str]]:
        """Return what the platform itself delivered: its webhooks that were answered 200."""
        told = self._stage.platform.deliveries()
        return {(FIREBLOCKS, str(one["event_id"])) for one in told if one["state"] == "delivered"}

    def _held(self, accounts: Sequence[tuple[str, str]]) -> set[str]:
        return set(holds_ms(self._stage)) & {ref for _, ref in accounts}

    def _until(self, done: Callable[[], bool], timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while not done() and time.monotonic() < end:
            time.sleep(0.5)


def _merged(
    faults: Sequence[Fault], accounts: Sequence[tuple[str, str]], seconds: float
) -> list[tuple[float, Fault | tuple[str, str]]]:
    """Faults and attacks in the order of time; the kinds of account take turns, so that the smaller kinds end early."""
    met: Counter[str] = Counter()
    rank = {}
    for name, ref in accounts:
        rank[name, ref] = (met[name], name)
        met[name] += 1
    turns = sorted(accounts, key=rank.__getitem__)
    attacks = [(seconds * (n + 0.5) / len(turns), one) for n, one in enumerate(turns)]
    both: list[tuple[float, Fault | tuple[str, str]]] = [*((f.at_s, f) for f in faults), *attacks]
    return sorted(both, key=lambda one: one[0])


def _shown(fault: Fault) -> str:
    if fault.kind in {"drop", "delay", "duplicate", "error_after_effect", "error_before_effect"}:
        late = f" by {fault.delay_s:.1f} s" if fault.delay_s else ""
        return f"the platform's next {fault.count} answers: {fault.kind.replace('_', ' ')}{late}"
    return f"kill -9 {fault.kind}{', its data lost' if fault.kind == 'valkey' else ''}"


def report(happened: Happened, wish: Wish) -> dict[str, object]:
    """Return the figures as JSON has them."""
    accounts = wish.cast.accounts
    parts = {"calm": wish.cast.of(CALM), "under faults": wish.cast.of(GUARDED, FORGETFUL, VAULT)}
    held = {name: happened.latencies(them) for name, them in parts.items()}
    return {
        "seed": wish.seed,
        "faults": [{"at_s": round((at - happened.began_ms) / 1e3, 2), **asdict(fault)} for at, fault in happened.done],
        "faults_without_a_victim": happened.missed,
        "incidents": len(accounts),
        "webhooks_taken": happened.webhooks,
        "hold_ms": {
            name: {"n": len(them), "of": len(parts[name]), "p50": percentile(them, 50), "p99": percentile(them, 99)}
            for name, them in held.items()
        },
        "cosigner": happened.questions,
        "votes": {"requests": len(happened.asked), "unanswered": happened.unanswered},
        "settled_s": round(happened.settled_s, 1),
        "proofs": [asdict(one) for one in happened.proofs],
        "holds": all(one.holds for one in happened.proofs),
    }


def show(console: Console, happened: Happened, wish: Wish) -> None:
    """Print the figures and the proofs for people."""
    told = report(happened, wish)
    times = Table("from webhook to the platform's hold", "incidents", "p50 ms", "p99 ms")
    hold_ms: dict[str, dict[str, float]] = told["hold_ms"]  # type: ignore[assignment]  # as built above
    for name, row in hold_ms.items():
        times.add_row(name, f"{row['n']:.0f} of {row['of']:.0f}", f"{row['p50']:.0f}", f"{row['p99']:.0f}")
    console.print(times)
    proved = Table("must be so", "", "contradicted by")
    for one in happened.proofs:
        proved.add_row(one.name, "[green]yes[/]" if one.holds else "[bold red]NO[/]", one.found)
    console.print(proved)
    told_by = ", ".join(f"{answer} {n}" for answer, n in sorted(happened.questions.items()))
    console.print(f"the co-signer's questions, by what came of them: {told_by}")
    console.print(
        f"seed {wish.seed}: {len(happened.done)} faults, {happened.webhooks} webhooks taken, {len(happened.asked)} requests "
        f"voted on ({happened.unanswered} of the people's calls unanswered), everything at rest {happened.settled_s:.1f} s "
        "after the last fault"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description="Containment under faults.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeats the faults of a run")
    parser.add_argument("--faults", type=int, default=Wish(0).faults)
    parser.add_argument("--seconds", type=float, default=Wish(0).seconds, help="for how long they happen; at most 130")
    parser.add_argument("--per-s", type=float, default=Wish(0).per_s, help="webhooks a second")
    parser.add_argument("--small", action="store_true", help="a few incidents only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--picture", type=Path, help="draw faults and holds to this SVG file")
    parser.add_argument("--keep", type=Path, help="use this empty folder and keep it, with all logs")
    chosen = parser.parse_args(arguments)
    wish = Wish(chosen.seed, chosen.faults, min(chosen.seconds, 130.0), chosen.per_s)
    if chosen.small:
        wish = replace(wish, cast=SMALL, warm_up_s=1.0, votes=1)
    console = Console(stderr=chosen.json)
    happened = carry_out(wish, console, chosen.keep)
    if chosen.picture is not None:
        chosen.picture.write_text(picture(happened, wish), encoding="utf-8")
    if chosen.json:
        print(json.dumps(report(happened, wish)))
    else:
        show(console, happened, wish)
    return 0 if all(one.holds for one in happened.proofs) else 1


def carry_out(wish: Wish, console: Console, keep: Path | None = None) -> Happened:
    """Set the stage, play, and stop everything. Raises DrillError when the stage cannot be set."""
    with Progress(console=console, transient=True) as bar, scratch(keep) as folder:
        spinner = bar.add_task(f"seed {wish.seed}: starting an installation", total=None)

        def tell(line: str) -> None:
            bar.update(spinner, description=line)
            bar.console.print(line, highlight=False)

        with running(folder, wish.cast) as stage:
            return Run(stage, wish, tell).play()


def picture(happened: Happened, wish: Wish) -> str:
    """Draw the run as SVG."""
    began = happened.began_ms
    faults = [((at - began) / 1e3, _shown(fault)) for at, fault in happened.done]
    held = [ref for _, ref in wish.cast.accounts if ref in happened.held_ms]
    holds = [((happened.sent_ms[r] - began) / 1e3, happened.held_ms[r] - happened.sent_ms[r]) for r in held]
    return draw(faults, holds, wish.seed)


def percentile(found: Sequence[float], percent: float) -> float:
    """Return the nearest rank's value; NaN of nothing."""
    ranked = sorted(found)
    return round(ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)], 1) if ranked else math.nan


if __name__ == "__main__":
    sys.exit(main())
