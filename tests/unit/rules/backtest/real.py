"""Recorded events that the real engine and rules find something in, and back-tests with them."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from rules.backtest.parallel import Hands, Here
from rules.backtest.runner import Backtest, Request
from rules.engine import Engine
from rules.outcome import MAX_REASONS
from rules.settings import EngineSettings
from tests.support.detectors import shipped
from tests.unit.rules.backtest.recorded import Row, payments, verdicts_on, write

SETTINGS = EngineSettings(min_scores=100, alerts_per_day=3.0)
DETECTORS = shipped()
DRAINED = 24
STEADY: Row = {
    "type": "withdrawal.requested",
    "account": "steady",
    "actor": "q",
    "balance_usd": 1e4,
    "country": "SG",
    "device": "desk",
    "ip": "203.0.113.7",
    "session": "s-0",
}
AWAY: Row = {"country": "RO", "device": "burner", "ip": "198.51.100.9"}


def mixed(count: int, seed: int = 3) -> list[Row]:
    """Payments, now and then very large, and logins of the people who order them."""
    chance = np.random.default_rng(seed)
    rows = payments(count, seed)
    for number, row in enumerate(rows):
        row |= {"actor": f"p{chance.integers(5)}", "asset": "eip155:1/slip44:60", "balance_usd": 1e6}
        if number % 7 == 3:
            country, device = str(chance.choice(["SG", "DE", "BR"])), f"dev{chance.integers(6)}"
            row |= {"type": "access.login_succeeded", "country": country, "device": device, "ip": "203.0.113.7"}
            row |= {"account": None, "destination": None, "amount_usd": None, "balance_usd": None, "asset": None}
        elif number % 97 == 50:
            row["amount_usd"] = 250_000.0
    return rows


def eventful(count: int) -> list[Row]:
    """As `mixed`, with a steady account that in the end is a little odd in everything, and with a drain after it.

    In the drain a thief in a stolen session resets the second factor and empties several accounts.
    """
    rows = mixed(count)
    for number in range(1, count, 5):
        rows[number].update(STEADY)
        rows[number].update({"destination": f"s{number // 60}", "asset": f"eip155:1/erc20:0x{number // 100}"})
        rows[number]["amount_usd"] = 100.0 + number % 7
    odd = {"destination": "new", "asset": "eip155:1/erc20:0x99", "amount_usd": 101.0}
    rows[-DRAINED - 6].update(STEADY | AWAY | odd)
    for number, row in enumerate(rows[-DRAINED:]):
        row.update({"actor": "p1", "session": "s-1"} | AWAY)
        if number < 2:
            row.update(dict.fromkeys(("account", "destination", "amount_usd", "balance_usd", "asset")))
            row["type"] = ("access.login_succeeded", "access.mfa_reset")[number]
        else:
            row.update({"type": "withdrawal.requested", "account": f"a{number % 6}", "destination": "thief"})
            row.update({"amount_usd": 4e5, "balance_usd": 5e5, "asset": f"eip155:{number}/erc20:0x{number}"})
    return rows


def verdicts(rows: list[Row]) -> list[Row]:
    """A verdict on each event, all of them told when the drain begins: what was very large was bad."""
    bad = [str(row["event_id"]) for row in rows if row["amount_usd"] == 250_000.0]
    return [one | {"known_at": rows[-DRAINED]["occurred_at"]} for one in verdicts_on(rows, 0.0, bad)]


def backtest(
    folder: Path,
    rows: list[Row],
    known: list[Row] | None = None,
    workers: Hands | None = None,
    suffix: str = ".parquet",
) -> Path:
    """Run the real engine over rows; return SCORES."""
    events = write(folder / f"events{suffix}", rows)
    told = write(folder / "verdicts.parquet", known) if known is not None else None
    request = Request(events, folder / "scores.parquet", SETTINGS, DETECTORS, verdicts=told)
    Backtest(request, Engine, workers or Here(), lambda _: None).run()
    return request.scores


def assert_all_is_there(scores: Path) -> None:
    """What may differ between ways to share out a run must occur: every decision, both histories, a full list of reasons."""
    table = pq.read_table(scores).to_pylist()
    assert {row["decision"] for row in table} == {"allow", "alert", "hold"}
    assert {row["history"] for row in table} == {"enough", "not_enough"}
    assert max(len(json.loads(row["reasons"])) for row in table) == MAX_REASONS
