"""Print what the engine's numbers are for four payments: the worked example of docs/concepts/score.md.

Run from the repository: `python -m bench.worked_example`. Forty accounts pay for sixty days, drawn from a fixed seed; then
one of them pays as usual and is robbed twice, and after people judged that, another account pays the same thief.
"""

from dataclasses import dataclass
from math import log10
from random import Random
from typing import Final

import msgspec

from rules.engine import Engine
from rules.features.catalogue import GROUP_NAMES
from rules.features.frame import (
    N_ANY_EVIDENCE,
    N_LIKELIHOOD,
    N_MEAN_USD,
    N_ODD,
    N_OWN_Z,
    N_RAW_EVIDENCE,
    N_SUMS,
    R_FREE_SCORE,
    R_RAW,
)
from rules.fusion import SIZE_KAPPA
from rules.learning import LearningRecord, RecordKind, Verdict
from rules.loader import DetectorSet
from rules.observation import Observation
from rules.settings import EngineSettings
from rules.signal import Assessment

SEED: Final = 7
ACCOUNTS: Final = 40
DAYS: Final = 60
ALERTS_PER_DAY: Final = 2.0
_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
_START_US: Final = 1_750_032_000_000_000  # 2025-06-16, a Monday
_SEEN: Final = 0.005


@dataclass(frozen=True)
class Payment:
    """One withdrawal."""

    at_us: int
    account: str
    destination: str
    usd: float

    def observed(self) -> Observation:
        return Observation(
            event_id=f"{self.at_us}-{self.account}",
            kind="withdrawal.requested",
            occurred_at_us=self.at_us,
            received_at_us=self.at_us,
            account=self.account,
            destination=self.destination,
            amount_usd=self.usd,
        )


def past() -> list[Payment]:
    """Each account pays two to four times a day, around a size of its own, to any of sixty destinations."""
    random = Random(SEED)  # noqa: S311 -- an example, not a secret
    drawn = []
    for account in range(ACCOUNTS):
        usual = 40.0 * 10.0 ** random.uniform(0.0, 1.5)
        for day in range(DAYS):
            for _ in range(random.randint(2, 4)):
                at_us = _START_US + day * _DAY_US + int(random.gauss(14.0, 2.5) * _HOUR_US)
                to = f"destination-{random.randrange(60)}"
                drawn.append(Payment(at_us, f"account-{account}", to, round(usual * random.lognormvariate(0, 0.4), 2)))
    return sorted(drawn, key=lambda one: one.at_us)


def show(name: str, engine: Engine, told: Assessment) -> None:
    """What was measured on the way to a score, by the steps of the page."""
    now, result = engine.frame.now, engine.frame.result
    size, odd = log10(now[N_LIKELIHOOD]), float(now[N_ODD])
    prior = log10(odd / (1.0 - odd)) - size
    added = {word: now[N_SUMS + at] for at, word in enumerate(GROUP_NAMES) if now[N_SUMS + at] >= _SEEN}
    groups = ", ".join(f"{word} {decades:+.2f}" for word, decades in added.items()) or "nothing"
    tail = ", beyond what was seen" if told.tail else ""
    print(f"\n{name}")
    print(f"  1 size        {now[N_OWN_Z]:.2f} spreads from the account's ${now[N_MEAN_USD]:,.2f}")
    print(f"  2 surprisal   {(size - log10(SIZE_KAPPA)) / (1.0 - SIZE_KAPPA):.2f}")
    print(f"  3 prior       {prior:+.2f}")
    print(f"  4 evidence    {size:+.2f}, so odd with a chance of {odd:.2%}")
    print(f"  5 groups      {groups}")
    print(
        f"  6 own path    {now[N_RAW_EVIDENCE]:+.2f}; beside it, the size among everybody's: {now[N_ANY_EVIDENCE]:.2f}"
    )
    print(f"  7 raw score   {result[R_RAW]:.2f}")
    print(f"  8 label-free  {result[R_FREE_SCORE]:.2f}")
    print(f"  9 score       {told.score:.2f}, p = {told.p_value:.2g}{tail}, history {told.history}: {told.decision}")
    for reason in told.reasons:
        print(f"      {reason.share:4.0%}  {reason.feature} {reason.observed}, usually {reason.usual}")


def learn(engine: Engine, payment: Payment, told: Assessment) -> None:
    """A true positive, two days later."""
    verdict = Verdict(
        verdict="true_positive",
        account=payment.account,
        destination=payment.destination,
        occurred_at_us=payment.at_us,
        known_at_us=payment.at_us + 2 * _DAY_US,
        score=told.score,
        judged=told.judged,
    )
    row = LearningRecord(engine.sequence + 1, RecordKind.VERDICT, None, msgspec.json.encode(verdict), "", "")
    engine.apply(row)


def main() -> None:
    """Print the example."""
    engine = Engine(EngineSettings(max_accounts=100, alerts_per_day=ALERTS_PER_DAY), DetectorSet((), "example"))
    for payment in past():
        engine.process(payment.observed())
    seen = f"{engine.sequence:,} payments of {ACCOUNTS} accounts in {DAYS} days"
    print(f"seed {SEED}: {seen}, {ALERTS_PER_DAY:g} alerts a day asked for")
    noon_us = _START_US + DAYS * _DAY_US + 12 * _HOUR_US
    usual = Payment(noon_us, "account-7", "destination-1", 900.0)
    first = Payment(noon_us + _HOUR_US, "account-7", "thief", 4400.0)
    second = Payment(noon_us + 2 * _HOUR_US, "account-7", "accomplice", 2200.0)
    show("An ordinary payment of $900", engine, engine.process(usual.observed())[0])
    robbed, _ = engine.process(first.observed())
    show("A first theft of $4,400, an hour later", engine, robbed)
    show("A second theft of $2,200, an hour after that", engine, engine.process(second.observed())[0])
    later = Payment(noon_us + 3 * _DAY_US, "account-9", "thief", 300.0)
    show("Three days later another account pays the thief $300", engine, engine.assess(later.observed()))
    learn(engine, first, robbed)
    show("The same, had people confirmed the first theft", engine, engine.assess(later.observed()))


if __name__ == "__main__":
    main()
