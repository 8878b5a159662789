"""Patient attackers are caught by real alerts within the budget, on a day that is stated.

Four hundred steady accounts make 1,200 payments a day; twelve alerts a day are asked for; twenty are attacked at once.
With clipping and drift taken out of the engine's model of sizes (`rules.features.size`) those who creep are caught on day 20
at the slowest, those who hide on day 10, and this fails: tried by hand, because it takes another compiled kernel.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.poisoning import Caught, Said, caught
from bench.traffic import DAY_US, START_US, Traffic, poisoned
from rules.backtest.parallel import Here
from rules.backtest.runner import Backtest, Request
from rules.engine import Engine
from rules.settings import EngineSettings
from tests.support.detectors import shipped

ACCOUNTS, DAYS, SEED = 400, 60, 11
A_DAY = 3.0
FORM = 4.0
"""Of the gamma distribution of an account's amounts: they stray by half of their mean."""
BUDGET = EngineSettings(alerts_per_day=12.0)


def steady() -> Traffic:
    """Payments of accounts that stay as they are."""
    chance = np.random.default_rng(SEED)
    account = chance.permutation(np.repeat(np.arange(ACCOUNTS), chance.poisson(A_DAY * DAYS, ACCOUNTS)))
    count = len(account)
    at_us = START_US + np.sort(chance.uniform(0.0, DAYS * DAY_US, count)).astype(np.int64)
    mean = np.exp(chance.normal(4.5, 0.7, ACCOUNTS))
    amount = np.round(mean[account] * chance.gamma(FORM, size=count) / FORM, 2)
    destination = chance.integers(0, ACCOUNTS // 2, count)
    return Traffic(at_us, account, destination, amount, np.zeros(count, np.int64))


def days_of(folder: Path, how: str) -> dict[str, Caught]:
    """When attackers of a kind show, by sign."""
    attacked, attackers, first = poisoned(steady(), how, seed=1, attackers=20)
    events, _ = attacked.write(folder)
    request = Request(events, folder / "scores.parquet", BUDGET, shipped())
    Backtest(request, Engine, Here(), lambda _: None).run()
    table = pq.read_table(request.scores)
    decisions = np.array(table["decision"].to_pylist())
    said = Said(table["score"].to_numpy(), decisions != "allow", decisions == "hold")
    return caught(attacked, said, attackers, first)


@pytest.mark.parametrize(("how", "half_by", "all_by"), [("creeping", 8, 18), ("hidden", 2, 8)])
def test_every_patient_attacker_raises_an_alert_by_a_stated_day(
    tmp_path: Path, how: str, half_by: int, all_by: int
) -> None:
    found = days_of(tmp_path, how)
    alerted = found["alerted"]
    assert len(alerted.known) == len(alerted.days) == 20, alerted
    assert np.median(alerted.known) <= half_by, alerted
    assert alerted.known[-1] <= all_by, alerted
    assert alerted.by_chance < 0.25, "so that twenty of twenty are no chance"
    assert len(found["ranked"].known) >= 18
    assert set(found["held"].known) <= set(range(1, 29))


def test_days_are_counted_from_the_attackers_first() -> None:
    day = np.array([0, 1, 2, 3, 3, 4])
    account, scenario = np.array([1, 2, 1, 2, 3, 1]), np.array([0, 0, 4, 4, 0, 4])
    traffic = Traffic(START_US + day * DAY_US, account, account, np.ones(6), scenario)
    raised = np.array([True, True, False, False, True, True])
    said = Said(np.array([9.0, 9.0, 1.0, 2.0, 1.5, 3.0]), raised, np.zeros(6, np.bool_))
    found = caught(traffic, said, np.array([1, 2]), 2)
    assert found["alerted"].days == [3, None], "what was before the attack, or not his doing, is no catch"
    assert found["alerted"].by_chance == 1.0
    assert found["ranked"].days == [3, 2]
    assert found["held"].told() == {
        "attackers": 2,
        "caught": 0,
        "days": [None, None],
        "median_day": None,
        "slowest_day": None,
        "by_chance": 0.0,
    }
