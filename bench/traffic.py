"""Payments with labels for bench/detection: read from the handbook's data, or made from a printed seed.

The made ones differ from the handbook's in everything a constant could have been fitted to: shapes of amounts, how long
a spell of fraud lasts, what it multiplies, how many payments it touches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.marks import Bools, Floats, Ints, Labelled

DAY_US = 86_400_000_000
DELAY_DAYS = 7
START_US = 1_577_836_800_000_000  # 2020-01-01, for made payments
POISONED = 4
"""The scenario of what patient attackers changed."""

SHAPES = ("lognormal", "gamma", "bimodal", "payroll")
COLUMNS = ("transaction_id", "tx_datetime", "customer_id", "terminal_id", "tx_amount", "tx_fraud_scenario")


@dataclass(frozen=True)
class Traffic:
    """Payments in order of time; `scenario` is 0 for genuine ones."""

    at_us: Ints
    account: Ints
    destination: Ints
    amount: Floats
    scenario: Ints

    @property
    def day(self) -> Ints:
        found: Ints = (self.at_us - self.at_us[0] // DAY_US * DAY_US) // DAY_US
        return found

    @property
    def labelled(self) -> Labelled:
        return Labelled(self.account, self.day, self.scenario)

    def part(self, chosen: Bools) -> "Traffic":
        return Traffic(
            self.at_us[chosen],
            self.account[chosen],
            self.destination[chosen],
            self.amount[chosen],
            self.scenario[chosen],
        )

    def write(self, folder: Path) -> tuple[Path, Path]:
        """EVENTS and VERDICTS as a user would have them; a verdict is known seven days after its payment."""
        events, verdicts = folder / "events.parquet", folder / "verdicts.parquet"
        ids = pa.array(np.arange(len(self.at_us)))
        moment = pa.array(self.at_us).cast(pa.timestamp("us", "UTC"))
        known = pa.array(self.at_us + DELAY_DAYS * DAY_US).cast(pa.timestamp("us", "UTC"))
        words = pc.if_else(pa.array(self.scenario > 0), "true_positive", "false_positive")
        columns = {"account": self.account, "destination": self.destination, "amount_usd": self.amount}
        pq.write_table(pa.table({"event_id": ids, "occurred_at": moment, **columns}), events)
        pq.write_table(pa.table({"event_id": ids, "verdict": words, "known_at": known}), verdicts)
        return events, verdicts


def read(path: Path) -> Traffic:
    """The handbook's simulated card payments, one Parquet file with its own column names."""
    table = pq.read_table(path, columns=list(COLUMNS))
    table = table.sort_by([("tx_datetime", "ascending"), ("transaction_id", "ascending")])
    at_us = table["tx_datetime"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    columns = [table[name].to_numpy() for name in COLUMNS[2:]]
    return Traffic(at_us, columns[0].astype(np.int64), columns[1].astype(np.int64),
                   columns[2].astype(np.float64), columns[3].astype(np.int64))  # fmt: skip


@dataclass(frozen=True)
class World:
    """One kind of made payments: days a spell lasts, what it multiplies, the share of payments that it touches."""

    shape: str = "lognormal"
    spell_days: tuple[float, float] = (10.0, 10.0)
    times: tuple[float, float] = (5.0, 5.0)
    touched: tuple[float, float] = (0.4, 0.4)

    def __str__(self) -> str:
        spans = (
            f"{low:g}" if low == high else f"{low:g}-{high:g}"
            for low, high in (self.spell_days, self.times, self.touched)
        )
        days, times, touched = spans
        return f"{self.shape:9} {days:>5} days x {times:>6}, {touched:>6} of payments"


WORLDS = (
    *(World(shape=shape) for shape in SHAPES),
    World("mixed", spell_days=(3.0, 3.0), touched=(0.6, 0.6)),
    World("mixed", spell_days=(40.0, 40.0), touched=(0.2, 0.2)),
    World("mixed", times=(2.5, 2.5)),
    World("mixed", times=(20.0, 20.0)),
    World("mixed", spell_days=(3.0, 40.0), times=(2.5, 20.0), touched=(0.2, 1.0)),
)


def make(world: World, seed: int, accounts: int = 1000, days: int = 75) -> Traffic:
    """Payments of a world: scenario 1 is a single very large one, scenario 3 a payment touched by a spell."""
    chance = np.random.default_rng(seed)
    per_day = chance.gamma(2.0, 0.9, accounts) + 0.05
    account = np.repeat(np.arange(accounts), chance.poisson(per_day * days))
    count = len(account)
    time = np.floor(chance.uniform(0, days, count)) + np.clip(chance.normal(0.5, 0.2, count), 0.0, 0.9999)
    order = np.lexsort((time, account))
    time = time[order]
    mean = np.exp(chance.normal(4.5, 1.0, accounts))
    amount = mean[account] * _relative(world.shape, account, time, chance)
    scenario = np.zeros(count, np.int64)
    for touched, factor in _spells(world, account, time, days, chance):
        rows = touched[scenario[touched] == 0]
        amount[rows] *= factor
        scenario[rows] = 3
    single = np.flatnonzero((chance.random(count) < 2e-4) & (scenario == 0))
    amount[single] = np.quantile(amount[scenario == 0], 0.9995) * np.exp(chance.uniform(0.3, 2.5, len(single)))
    scenario[single] = 1
    order = np.argsort(time, kind="stable")
    at_us = START_US + (time[order] * DAY_US).astype(np.int64)
    destination = chance.integers(0, accounts // 2, count)
    return Traffic(at_us, account[order], destination, np.maximum(0.01, np.round(amount[order], 2)), scenario[order])


def _relative(shape: str, account: Ints, time: Floats, chance: np.random.Generator) -> Floats:
    """Amounts relative to the account's mean."""
    accounts, count = int(account.max()) + 1, len(account)
    kind = chance.integers(0, len(SHAPES), accounts) if shape == "mixed" else np.full(accounts, SHAPES.index(shape))
    spread = chance.uniform(0.3, 0.9, accounts)[account]
    normal = chance.normal(size=count)
    form = chance.uniform(1.0, 6.0, accounts)[account]
    payday = (np.floor(time) % 7 == account % 7) & (chance.random(count) < 0.6)
    found: Floats = np.choose(
        kind[account],
        (
            np.exp(spread * normal - spread * spread / 2.0),
            chance.gamma(form) / form,
            np.exp(0.25 * normal) * np.where(chance.random(count) < 0.2, 8.0, 1.0),
            np.where(payday, 10.0 * np.exp(0.1 * normal), np.exp(0.4 * normal)),
        ),
    )
    return found


def _spells(
    world: World, account: Ints, time: Floats, days: int, chance: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.intp], float]]:
    accounts = int(account.max()) + 1
    bounds = np.searchsorted(account, np.arange(accounts + 1))
    for _ in range(accounts * days // 1500):
        whose = int(chance.integers(accounts))
        start, length = chance.uniform(0, days), chance.uniform(*world.spell_days)
        low, high = bounds[whose], bounds[whose + 1]
        inside = (time[low:high] >= start) & (time[low:high] < start + length)
        touched = chance.random(high - low) < chance.uniform(*world.touched)
        factor = float(np.exp(chance.uniform(*np.log(world.times))))
        yield low + np.flatnonzero(inside & touched), factor


def poisoned(clean: Traffic, how: str, seed: int, attackers: int = 40, days: int = 28) -> tuple[Traffic, Ints, int]:
    """The same payments with attackers among them: (payments, accounts of attackers, day they begin).

    ``creeping``: every amount of theirs grows by 10 % a day. ``hidden``: one payment in three is five times its size,
    for fourteen days, among their normal ones.
    """
    chance = np.random.default_rng(seed)
    first = int(clean.day[-1]) + 1 - days
    genuine = clean.part(clean.scenario == 0) if (clean.scenario > 0).any() else clean
    recent = np.bincount(genuine.account[genuine.day >= first])
    steady = np.flatnonzero(recent >= days)
    chosen = np.sort(chance.choice(steady, min(attackers, len(steady)), replace=False))
    theirs = np.isin(genuine.account, chosen) & (genuine.day >= first)
    amount, scenario = genuine.amount.copy(), genuine.scenario.copy()
    if how == "creeping":
        amount[theirs] *= 1.1 ** (genuine.day[theirs] - first + 1)
    else:
        theirs &= (genuine.day < first + 14) & (chance.random(len(amount)) < 1.0 / 3.0)
        amount[theirs] *= 5.0
    scenario[theirs] = POISONED
    return replace(genuine, amount=np.round(amount, 2), scenario=scenario), chosen, first
