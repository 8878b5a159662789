"""What the engine is compared with: three detectors that people use, and yardsticks of a few lines each.

Six of these see the amount alone; two see what verdicts tell of destinations, seven days late, as the engine does.

Every peer gets the features a user would make in an afternoon, all of them causal: amount, its logarithm, hour, weekday,
time since the account's last payment, how many payments it made, and the amount over the account's running mean.
HalfSpaceTrees scores and learns one payment at a time; ECOD and IsolationForest are fitted on the days before the first
scored one.
"""

import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import log1p
from typing import Any

import numpy as np

from bench.marks import Floats
from bench.traffic import DAY_US, DELAY_DAYS, Traffic

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


def ewma_of_logarithm(traffic: Traffic, memory: float = 50.0) -> Floats:
    """The same of the amount's logarithm, nothing clipped."""
    logged = Traffic(traffic.at_us, traffic.account, traffic.destination, np.log1p(traffic.amount), traffic.scenario)
    return ewma(logged, memory, clip=float("inf"))


def window_median(traffic: Traffic, length: int = 64) -> Floats:
    """Distance of the logarithm from the median of the account's last payments in their quartile ranges, either way."""
    found = np.zeros(len(traffic.amount))
    windows: dict[int, tuple[deque[float], list[float]]] = {}
    for index, (account, value) in enumerate(
        zip(traffic.account.tolist(), np.log1p(traffic.amount).tolist(), strict=True)
    ):
        recent, ordered = windows.setdefault(account, (deque(), []))
        if len(ordered) > 1:
            low, middle, high = (ordered[len(ordered) * part // 4] for part in (1, 2, 3))
            found[index] = abs(value - middle) / max(high - low, 1e-9)
        if len(recent) == length:
            ordered.pop(bisect_left(ordered, recent.popleft()))
        recent.append(value)
        insort(ordered, value)
    return found


def fraud_rate(traffic: Traffic, delay_days: int = DELAY_DAYS, span_days: int = 28) -> Floats:
    """Share of fraud among the destination's payments of four weeks whose verdicts are known by now."""
    found = np.zeros(len(traffic.amount))
    known: dict[int, deque[tuple[int, bool]]] = {}
    told = 0
    for index, (at_us, destination) in enumerate(
        zip(traffic.at_us.tolist(), traffic.destination.tolist(), strict=True)
    ):
        while traffic.at_us[told] + delay_days * DAY_US <= at_us:
            judged = known.setdefault(int(traffic.destination[told]), deque())
            judged.append((int(traffic.at_us[told]), bool(traffic.scenario[told] > 0)))
            told += 1
        recent = known.get(destination)
        while recent and recent[0][0] <= at_us - (delay_days + span_days) * DAY_US:
            recent.popleft()
        if recent:
            found[index] = sum(fraud for _, fraud in recent) / len(recent)
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
        "EWMA z, clipped, + 0.02 x amount": lambda: ewma(traffic) + 0.02 * traffic.amount,
        "EWMA z of log amount": lambda: ewma_of_logarithm(traffic),
        "median and quartiles of 64": lambda: window_median(traffic),
        "amount alone": lambda: traffic.amount,
        "destination's fraud rate, verdicts": lambda: fraud_rate(traffic),
        "EWMA z + 20 x that rate, verdicts": lambda: ewma(traffic) + 20.0 * fraud_rate(traffic),
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
