"""When patient attackers are caught: those who raise their amounts slowly, and those who hide among their own payments.

Three answers to "when", because they mean different things: the first payment that stands among the highest thousandth of
the whole span's scores, which is known only afterwards; the first that raised an alert under the budget that was asked
for; the first that was held. Beside each stands the share of honest accounts with such a payment in the same days.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bench.marks import Bools, Floats, Ints
from bench.traffic import POISONED, Traffic

HOW: Final = {
    "creeping": "amounts that grow by 10 % a day",
    "hidden": "every third payment five times its size, for 14 days",
}
"""The attackers of `bench.traffic.poisoned`, in words."""

SIGNS: Final = {
    "ranked": "among the highest 0.1 % of scores",
    "alerted": "first alert",
    "held": "first hold",
}
_HIGH: Final = 0.999


@dataclass(frozen=True)
class Caught:
    """The day of each attacker's first sign, counted from 1 at his beginning; None where there was none."""

    days: list[int | None]
    by_chance: float
    """Share of all other accounts that show the sign in the same days."""

    @property
    def known(self) -> list[int]:
        """The days of those who were caught, earliest first."""
        return sorted(day for day in self.days if day is not None)

    def told(self) -> dict[str, Any]:
        """What the bench prints and writes as JSON."""
        known = self.known
        return {
            "attackers": len(self.days),
            "caught": len(known),
            "days": self.days,
            "median_day": float(np.median(known)) if known else None,
            "slowest_day": known[-1] if known else None,
            "by_chance": self.by_chance,
        }


@dataclass(frozen=True)
class Said:
    """What an engine said of each payment."""

    scores: Floats
    raised: Bools
    held: Bools


def caught(traffic: Traffic, said: Said, attackers: Ints, first: int) -> dict[str, Caught]:
    """By sign, when attackers who begin on day `first` are caught."""
    recent, theirs = traffic.day >= first, np.isin(traffic.account, attackers)
    level = np.quantile(said.scores[recent & ~theirs], _HIGH)
    signs = {"ranked": said.scores > level, "alerted": said.raised, "held": said.held}
    others = len(np.unique(traffic.account[recent & ~theirs]))
    found = {}
    for sign, seen in signs.items():
        shown = seen & recent
        days = []
        for account in attackers:
            his = shown & (traffic.account == account) & (traffic.scenario == POISONED)
            days.append(int(traffic.day[his][0]) - first + 1 if his.any() else None)
        found[sign] = Caught(days, len(np.unique(traffic.account[shown & ~theirs])) / others)
    return found
