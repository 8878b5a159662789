"""What the engine is compared with: three detectors that people use, and three yardsticks on the amount alone.

Every peer gets the features a user would make in an afternoon, all of them causal: amount, its logarithm, hour, weekday,
time since the account's last payment, how many payments it made, and the amount over the account's running mean.
HalfSpaceTrees scores and learns one payment at a time; ECOD and IsolationForest are fitted on the days before the first
scored one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import log1p
from typing import Any

import numpy as np

from bench.marks import Floats
from bench.traffic import Traffic

FEATURES = (
    "amount",
    "log amount",
    "hour",
    "weekday",
    "log seconds since last",
    "log payments so far",
    "amount / mean so far",
)
FITTED_ON = 100_000
ENGINES = ("River HalfSpaceTrees", "scikit-learn IsolationForest", "PyOD ECOD")


@dataclass(frozen=True)
class Peer:
    name: str
    scores: Floats
    events_per_s: float
    """0 for yardsticks, which are no engines."""


def features(traffic: Traffic) -> Floats:
    """One row of FEATURES for each payment, from what came before it."""
    rows = np.empty((len(traffic.amount), len(FEATURES)))
    seen: dict[int, tuple[int, int, float]] = {}
    for index, (at_us, account, amount) in enumerate(
        zip(traffic.at_us.tolist(), traffic.account.tolist(), traffic.amount.tolist(), strict=True)
    ):
        last, count, mean = seen.get(account, (at_us, 0, amount))
        since = (at_us - last) / 1e6
        rows[index] = (
            amount, log1p(amount), at_us // 3_600_000_000 % 24, (at_us // 86_400_000_000 + 3) % 7,
            log1p(since), log1p(count), amount / (mean or 1.0),
        )  # fmt: skip
        seen[account] = (at_us, count + 1, mean + (amount - mean) / (count + 1))
    return rows


def hindsight(traffic: Traffic) -> Floats:
    """Distance from the mean of the account's genuine payments in their standard deviations, over all days: a cheat."""
    accounts, place = np.unique(traffic.account, return_inverse=True)
    genuine = (traffic.scenario == 0).astype(np.float64)
    count = np.maximum(1.0, np.bincount(place, genuine, len(accounts)))
    mean = np.bincount(place, genuine * traffic.amount) / count
    variance = np.bincount(place, genuine * (traffic.amount - mean[place]) ** 2) / count
    found: Floats = (traffic.amount - mean[place]) / (np.sqrt(variance[place]) + 1e-9)
    return found


def ewma(traffic: Traffic, memory: float = 50.0, clip: float = 3.0) -> Floats:
    """Distance from a running mean in running deviations; what is learned is clipped."""
    found = np.zeros(len(traffic.amount))
    state: dict[int, tuple[float, float, int]] = {}
    for index, (account, amount) in enumerate(zip(traffic.account.tolist(), traffic.amount.tolist(), strict=True)):
        mean, variance, count = state.get(account, (amount, (0.5 * amount) ** 2, 0))
        spread = max(variance**0.5, 1e-9)
        found[index] = (amount - mean) / spread
        rate = max(1.0 / (count + 2), 1.0 / memory)
        step = min(max(amount - mean, -clip * spread), clip * spread)
        state[account] = (mean + rate * step, variance + rate * (step * step - variance), count + 1)
    return found


def half_space_trees(rows: Floats, seed: int) -> Floats:
    """River's, 10 trees of height 8, features scaled as they come."""
    from river.anomaly import HalfSpaceTrees  # noqa: PLC0415  only `make bench` installs the peers
    from river.preprocessing import MinMaxScaler  # noqa: PLC0415  as above

    model: Any = HalfSpaceTrees(n_trees=10, height=8, seed=seed)
    scaler: Any = MinMaxScaler()
    found = np.zeros(len(rows))
    for index, values in enumerate(rows.tolist()):
        told = dict(enumerate(values))
        scaler.learn_one(told)
        scaled = scaler.transform_one(told)
        found[index] = model.score_one(scaled)
        model.learn_one(scaled)
    return found


def isolation_forest(rows: Floats, fit_until: int, seed: int) -> Floats:
    """scikit-learn's, fitted once on what came before."""
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415  as above

    model = IsolationForest(random_state=seed).fit(rows[:fit_until])
    found: Floats = -model.score_samples(rows)
    return found


def ecod(rows: Floats, fit_until: int, seed: int) -> Floats:
    """PyOD's, fitted once on a sample of what came before."""
    from pyod.models.ecod import ECOD  # noqa: PLC0415  as above

    chosen = np.random.default_rng(seed).choice(fit_until, min(FITTED_ON, fit_until), replace=False)
    model = ECOD().fit(rows[np.sort(chosen)])
    found = [model.decision_function(part) for part in np.array_split(rows, max(1, len(rows) // FITTED_ON))]
    return np.concatenate(found)


def all_peers(traffic: Traffic, fit_until: int, seed: int) -> list[Peer]:
    """Every peer and yardstick on the same payments."""
    made = features(traffic)
    runs: dict[str, Callable[[], Floats]] = {
        "hindsight z (a cheat)": lambda: hindsight(traffic),
        "EWMA z, clipped": lambda: ewma(traffic),
        "amount alone": lambda: traffic.amount,
        "River HalfSpaceTrees": lambda: half_space_trees(made, seed),
        "scikit-learn IsolationForest": lambda: isolation_forest(made, fit_until, seed),
        "PyOD ECOD": lambda: ecod(made, fit_until, seed),
    }
    found = []
    for name, run in runs.items():
        began = time.perf_counter()
        scores = run()
        seconds = time.perf_counter() - began
        found.append(Peer(name, scores, len(scores) / seconds if name in ENGINES else 0.0))
    return found
