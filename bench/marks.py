"""Marks of a ranking: AUC, recall at a false-positive rate, the handbook's weekly protocol, alert rates, and intervals.

The threshold for a false-positive rate is taken on genuine payments alone. Intervals are percentiles over resamples of
whole accounts, because payments of one account are not independent of one another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RATES = (0.001, 0.01)
RESAMPLES = 200
CARDS = 100


@dataclass(frozen=True)
class Labelled:
    """Payments with what was true of them; `scenario` is 0 for genuine ones, `day` counts from the first."""

    account: Ints
    day: Ints
    scenario: Ints

    @property
    def fraud(self) -> Bools:
        return self.scenario > 0

    def part(self, chosen: Bools) -> "Labelled":
        return Labelled(self.account[chosen], self.day[chosen], self.scenario[chosen])


class Ranked:
    """Scores sorted once, so that every resample costs a few sums."""

    def __init__(self, scores: Floats) -> None:
        self.order = np.argsort(-scores, kind="stable")
        descending = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, descending[1:] != descending[:-1]])

    def recalls(self, wanted: Bools, genuine: Bools, weight: Floats, rates: tuple[float, ...] = RATES) -> list[float]:
        """Share of what is wanted that scores above all but a share of what is genuine."""
        hits, misses = self._sums(wanted, weight), self._sums(genuine, weight)
        before = np.r_[0.0, np.cumsum(hits)]
        false = np.cumsum(misses)
        return [float(before[np.argmax(false > rate * false[-1])] / before[-1]) for rate in rates]

    def auc(self, fraud: Bools, weight: Floats) -> float:
        """Chance that a fraud scores above a genuine payment; a tie counts half."""
        hits, misses = self._sums(fraud, weight), self._sums(~fraud, weight)
        above = np.cumsum(hits) - hits / 2.0
        return float(np.sum(misses * above) / (np.sum(misses) * np.sum(hits)))

    def average_precision(self, fraud: Bools) -> float:
        """Mean precision over the frauds, ties at their worst place."""
        hits, seen = (
            self._sums(fraud, np.ones(len(fraud))),
            np.cumsum(self._sums(np.ones_like(fraud), np.ones(len(fraud)))),
        )
        return float(np.sum(hits * np.cumsum(hits) / seen) / np.sum(hits))

    def _sums(self, chosen: Bools, weight: Floats) -> Floats:
        found: Floats = np.add.reduceat((chosen * weight)[self.order], self.starts)
        return found


SCENARIOS: dict[str, tuple[int, ...]] = {"1": (1,), "2": (2,), "3": (3,), "1+3": (1, 3), "all": (1, 2, 3)}


def label_free(data: Labelled, scores: Floats, weight: Floats | None = None) -> dict[str, float]:
    """AUC, and recall by scenario at each false-positive rate; scenarios that do not occur are left out."""
    ranked = Ranked(scores)
    return _marks(data, ranked, np.ones(len(scores)) if weight is None else weight)


def _marks(data: Labelled, ranked: Ranked, weight: Floats) -> dict[str, float]:
    found = {"auc": ranked.auc(data.fraud, weight)}
    for name, scenarios in SCENARIOS.items():
        wanted = np.isin(data.scenario, scenarios)
        if wanted.any():
            for rate, recall in zip(RATES, ranked.recalls(wanted, ~data.fraud, weight), strict=True):
                found[f"{name}@{rate:g}"] = recall
    return found


def intervals(data: Labelled, scores: Floats, seed: int, resamples: int = RESAMPLES) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals over accounts of every mark of `label_free`."""
    chance = np.random.default_rng(seed)
    _, account = np.unique(data.account, return_inverse=True)
    count = int(account.max()) + 1
    ranked = Ranked(scores)
    found: dict[str, list[float]] = {}
    for _ in range(resamples):
        weight = np.bincount(chance.integers(0, count, count), minlength=count).astype(np.float64)[account]
        for name, value in _marks(data, ranked, weight).items():
            found.setdefault(name, []).append(value)
    return {
        name: (float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5)))
        for name, values in found.items()
    }


@dataclass(frozen=True)
class Week:
    """The handbook's marks of one test week."""

    start: int
    auc: float
    average_precision: float
    card_precision: float
    payments: int
    frauds: int


def book_weeks(data: Labelled, scores: Floats, first: int, train: int = 7, delay: int = 7) -> Iterator[Week]:
    """Every whole test week from a day on.

    Cards known to be compromised are left out: those with a fraud in the training days, and, day by day, those whose
    fraud's verdict is known by then. Card precision: of the 100 cards with the day's highest scores, how many are
    compromised; a card that was caught is not looked at again that week.
    """
    last = int(data.day.max()) + 1
    for start in range(first, last - 6, 7):
        known = set(data.account[_days(data, start - delay - train, start - delay) & data.fraud].tolist())
        keep = np.zeros(len(scores), dtype=bool)
        for day in range(start, start + 7):
            known |= set(data.account[_days(data, day - delay - 1, day - delay) & data.fraud].tolist())
            keep |= _days(data, day, day + 1) & ~np.isin(data.account, np.fromiter(known, np.int64, len(known)))
        part, ranked = data.part(keep), Ranked(scores[keep])
        if part.fraud.any():
            yield Week(
                start,
                ranked.auc(part.fraud, np.ones(int(keep.sum()))),
                ranked.average_precision(part.fraud),
                card_precision(part, scores[keep]),
                int(keep.sum()),
                int(part.fraud.sum()),
            )


def card_precision(data: Labelled, scores: Floats, top: int = CARDS) -> float:
    """Mean over the days of the share of compromised cards among the `top` highest."""
    caught: set[int] = set()
    shares = []
    for day in np.unique(data.day):
        open_ = (data.day == day) & ~np.isin(data.account, np.fromiter(caught, np.int64, len(caught)))
        cards, place = np.unique(data.account[open_], return_inverse=True)
        highest = np.full(len(cards), -np.inf)
        np.maximum.at(highest, place, scores[open_])
        bad = np.zeros(len(cards), dtype=bool)
        np.logical_or.at(bad, place, data.fraud[open_])
        chosen = np.argsort(-highest, kind="stable")[:top]
        found = cards[chosen][bad[chosen]]
        caught |= set(found.tolist())
        shares.append(len(found) / top)
    return float(np.mean(shares))


def weekly_rates(day: Ints, alerted: Bools, asked_per_day: float, first_week: int = 4) -> list[float]:
    """Realised over asked alerts of each whole week from the fifth."""
    weeks = (int(day.max()) + 1) // 7
    counts = np.bincount(day[alerted] // 7, minlength=weeks)
    return [float(counts[week] / (7 * asked_per_day)) for week in range(first_week, weeks)]


def _days(data: Labelled, since: int, until: int) -> Bools:
    found: Bools = (data.day >= since) & (data.day < until)
    return found
