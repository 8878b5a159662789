"""How well the engine detects, beside what else there is: the marks that the documents quote.

Run from the repository: `python -m bench.detection [--data PAYMENTS.parquet] [--simulate]`. It runs `portcullis backtest`
as a user would, on payments that it makes itself where no others are given. PAYMENTS is the simulated card data of the
Fraud Detection Handbook (public repository Fraud-Detection-Handbook/simulated-data-raw), its daily files joined into one
Parquet with the columns transaction_id, tx_datetime, customer_id, terminal_id, tx_amount and tx_fraud_scenario. It is not
part of this project.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq

from bench.marks import Bools, Floats, Labelled, Week, book_weeks, intervals, label_free, weekly_rates
from bench.peers import FEATURES, Peer, all_peers
from bench.poisoning import HOW, SIGNS, Said, caught
from bench.simulated import report_worlds
from bench.traffic import WORLDS, Traffic, make, poisoned, read

SEED = 20180401
SCORED_FROM = 30
BOOK_FROM = 37
MADE = WORLDS[-1]
SHOWN = ("auc", "all@0.01", "all@0.001", "1+3@0.01", "1+3@0.001", "1@0.01", "1@0.001", "3@0.01", "3@0.001", "2@0.01")
TARGETS = {"auc": 0.675, "1+3@0.001": 0.90, "1+3@0.01": 0.96}
PUBLISHED = ("XGBoost, tuned, as the book prints", 0.869, 0.687, 0.303)
"""Not run here: the Fraud Detection Handbook's own figures for one test week, supervised, with delayed labels."""
BOOK_TARGETS = {"auc": 0.88, "average_precision": 0.73, "card_precision": 0.31}


@dataclass(frozen=True)
class Ours:
    """What `portcullis backtest` gave."""

    scores: Floats
    raised: Bools
    held: Bools
    seconds: float
    summary: dict[str, Any]


def backtest(folder: Path, traffic: Traffic, *, verdicts: bool = False, options: Sequence[str] = ()) -> Ours:
    """Run the command on payments, as a user would."""
    events, known = traffic.write(folder)
    output = folder / "scores.parquet"
    command = [
        sys.executable,
        "-m",
        "service.cli",
        "backtest",
        "--input",
        str(events),
        "--output",
        str(output),
        "--json",
    ]
    command += ["--verdicts", str(known)] if verdicts else []
    began = time.perf_counter()
    done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE)
    seconds = time.perf_counter() - began
    table = pq.read_table(output, columns=["event_id", "score", "decision"])
    assert np.array_equal(table["event_id"].to_numpy(), np.arange(len(traffic.at_us)))
    decisions = np.array(table["decision"].to_pylist())
    told = json.loads(done.stdout)
    return Ours(table["score"].to_numpy(), decisions != "allow", decisions == "hold", seconds, told)


def book_means(weeks: list[Week]) -> dict[str, float]:
    """Means over the test weeks."""
    names = ("auc", "average_precision", "card_precision")
    return {name: float(np.mean([getattr(week, name) for week in weeks])) for name in names}


def measure(traffic: Traffic, folder: Path, budget: float, *, peers: bool) -> dict[str, Any]:
    """All marks on one set of payments."""
    scored = traffic.day >= SCORED_FROM
    data = traffic.labelled.part(scored)
    options = ["--budget-per-day", f"{budget:g}"]
    free, told = backtest(folder, traffic, options=options), backtest(folder, traffic, verdicts=True, options=options)
    rows = {
        "Portcullis, no verdicts": label_free(data, free.scores[scored]),
        "Portcullis, verdicts 7 days late": label_free(data, told.scores[scored]),
    }
    book = {"Portcullis, verdicts 7 days late": _book(traffic.labelled, told.scores)}
    speeds = {"Portcullis, no verdicts": len(scored) / free.seconds}
    if peers:
        for peer in all_peers(traffic, int(np.argmax(scored)), SEED):
            _add(peer, rows, book, speeds, (traffic.labelled, data, scored))
    return {
        "seed": SEED,
        "payments": len(scored),
        "label_free": rows,
        "interval": intervals(data, free.scores[scored], SEED),
        "book": {name: book_means(weeks) for name, weeks in book.items()},
        "book_weeks": [asdict(week) for week in book["Portcullis, verdicts 7 days late"]],
        "budget_per_day": budget,
        "weekly_rate": weekly_rates(traffic.day, free.raised, budget),
        "weekly_rate_with_verdicts": weekly_rates(traffic.day, told.raised, budget),
        "events_per_s": speeds,
        "seconds_with_verdicts": told.seconds,
        "poisoning": {how: _poisoning(traffic, folder, how, options) for how in HOW},
    }


def _add(
    peer: Peer,
    rows: dict[str, dict[str, float]],
    book: dict[str, list[Week]],
    speeds: dict[str, float],
    data: tuple[Labelled, Labelled, Bools],
) -> None:
    everything, part, scored = data
    rows[peer.name] = label_free(part, peer.scores[scored])
    book[peer.name] = _book(everything, peer.scores)
    if peer.events_per_s:
        speeds[peer.name] = peer.events_per_s


def _book(data: Labelled, scores: Floats) -> list[Week]:
    return list(book_weeks(data, scores, BOOK_FROM))


def _poisoning(traffic: Traffic, folder: Path, how: str, options: Sequence[str]) -> dict[str, Any]:
    attacked, attackers, first = poisoned(traffic, how, SEED)
    ours = backtest(folder, attacked, options=options)
    found = caught(attacked, Said(ours.scores, ours.raised, ours.held), attackers, first)
    return {sign: one.told() for sign, one in found.items()}


def show(found: dict[str, Any], *, aims: bool) -> None:
    """Print the tables; what is aimed at and what the book prints is about the handbook's payments alone."""
    print(f"\n{found['payments']:,} payments, all marks from day {SCORED_FROM} on, seed {found['seed']}")
    print(f"peers see: {', '.join(FEATURES)}\n")
    print(f"{'':34}" + "".join(f"{name:>11}" for name in SHOWN))
    for name, marks in found["label_free"].items():
        print(f"{name:34}" + "".join(f"{marks.get(mark, float('nan')):11.3f}" for mark in SHOWN))
    spans = found["interval"]
    print(f"{'  95 % over accounts':34}" + "".join(_span(spans.get(mark)) for mark in SHOWN))
    if aims:
        print(f"{'  target':34}" + "".join(f"{TARGETS.get(mark, ''):>11}" for mark in SHOWN))
    else:
        print(f"made payments ({MADE}): no target is for them")
    print("\nhandbook's protocol, mean over weeks      AUC    avg precision    card precision@100")
    for name, marks in found["book"].items():
        print(f"{name:34}{marks['auc']:11.3f}{marks['average_precision']:17.3f}{marks['card_precision']:22.3f}")
    for name, *marks in (PUBLISHED, ("  target", *BOOK_TARGETS.values())) if aims else ():
        print(f"{name:34}{marks[0]:11.3f}{marks[1]:17.3f}{marks[2]:22.3f}")
    for name in ("weekly_rate", "weekly_rate_with_verdicts"):
        rates = found[name]
        print(f"\n{name.replace('_', ' ')}, realised / asked ({found['budget_per_day']:g} a day), from the fifth week: "
              + " ".join(f"{rate:.2f}" for rate in rates))  # fmt: skip
    for how, words in HOW.items():
        print(f"\n{words}:")
        for sign, meant in SIGNS.items():
            result = found["poisoning"][how][sign]
            print(f"  {meant:34}{result['caught']:3} of {result['attackers']} attackers, median day {result['median_day']}, "
                  f"slowest day {result['slowest_day']}; of honest accounts {result['by_chance']:.0%}")  # fmt: skip
    print("\nevents/s: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in found["events_per_s"].items()))


def _span(span: tuple[float, float] | None) -> str:
    """Without zeros that say nothing: both ends fit into one column."""
    return (
        "-".join(f"{end:.3f}".removeprefix("0").replace("1.000", "1") for end in span).rjust(11) if span else " " * 11
    )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the handbook's payments as one Parquet file")
    parser.add_argument("--simulate", action="store_true", help="measure what is lost in worlds of other constants")
    parser.add_argument("--budget-per-day", type=float, default=20.0, help="alerts a day that are asked for")
    parser.add_argument("--no-peers", action="store_true", help="leave out the peers, which take minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        traffic = make(MADE, SEED) if asked.data is None else read(asked.data)
        found = measure(traffic, Path(name), asked.budget_per_day, peers=not asked.no_peers)
        if asked.simulate:
            found["worlds"] = report_worlds(
                lambda traffic, options: backtest(Path(name), traffic, options=options).scores
            )
        if asked.json:
            print(msgspec.json.encode(found).decode())
        else:
            show(found, aims=asked.data is not None)


if __name__ == "__main__":
    main()
