"""Two weeks of ordinary traffic, made from a printed seed, and an engine that learned it.

The desk: three hot wallets that pay customers (one-time destinations, 1,000 to 50,000 USD), one that pays two hundred
strangers an hour, a market maker with bursts, a cold wallet that tops up a warm one every two to three weeks, and three
people who work by day.
"""

import random
from collections.abc import Iterator

import msgspec

from rules.engine import Engine
from rules.learning import Operation
from rules.observation import Observation
from rules.settings import EngineSettings
from rules.signal import Assessment, Decision
from tests.support.detectors import shipped

SEED = 20200926
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
START = 1_600_041_600 * SECOND  # Monday 2020-09-14T00:00:00Z
NOW = START + 14 * DAY
TOKENS = ("usdc", "usdt", "link", "snx", "ocean", "ampl", "kcs", "trx")
PEOPLE = ("alice", "bob", "carol")


def observation(kind: str, at: int, **fields: object) -> Observation:
    """One observation at a time in microseconds; ids come from the fields."""
    told = {"event_id": f"{kind}@{at}/{fields.get('account', fields.get('actor'))}", "kind": kind, **fields}
    return msgspec.convert({"occurred_at_us": at, "received_at_us": at, **told}, Observation)


class Desk:
    """Makes ordinary traffic of one installation."""

    def __init__(self, seed: int = SEED) -> None:
        print(f"traffic seed {seed}")  # noqa: T201 -- a failing run must be repeatable
        self.random = random.Random(seed)  # noqa: S311 -- synthetic traffic
        self.customers = 0

    def stranger(self) -> str:
        self.customers += 1
        return f"eip155:1:0x{self.random.getrandbits(160):040x}"

    def times(self, since: int, until: int, per_hour: float) -> Iterator[int]:
        at = since
        while True:
            by_day = 1.0 + 0.5 * (1 if 8 <= at // HOUR % 24 < 20 else -0.5)
            at += int(self.random.expovariate(per_hour * by_day) * HOUR)
            if at >= until:
                return
            yield at

    def pay(self, account: str, at: int, **fields: object) -> Observation:
        usd = min(50_000.0, max(1000.0, 10 ** self.random.gauss(3.8, 0.4)))
        told: dict[str, object] = {
            "account": f"main/{account}", "actor": "ops-batch", "asset": "eth", "amount_usd": usd,
            "balance_usd": 38e6 + self.random.uniform(0, 6e6), "destination": self.stranger(),
            "destination_kind": "one_time",
        }  # fmt: skip
        told |= fields
        told.setdefault("amount_units", float(str(told["amount_usd"])) / 350.0)
        return observation("withdrawal.requested", at, **told)

    def hot_wallets(self, since: int, until: int) -> Iterator[Observation]:
        for account, asset in (("hot-eth-1", "eth"), ("hot-btc-1", "btc")):
            for at in self.times(since, until, 5.0):
                yield self.pay(account, at, asset=asset)
        for at in self.times(since, until, 6.0):
            yield self.pay("hot-erc20-1", at, asset=self.random.choice(TOKENS))

    def busy_wallet(self, since: int, until: int) -> Iterator[Observation]:
        for at in self.times(since, until, 200.0):
            yield self.pay("hot-busy-1", at, amount_usd=10 ** self.random.gauss(2.5, 0.6), asset="usdt")

    def market_maker(self, since: int, until: int) -> Iterator[Observation]:
        for start in self.times(since, until, 0.25):
            at = start
            for _ in range(self.random.randrange(20, 60)):
                at += int(self.random.expovariate(1 / 6) * SECOND)
                yield self.pay(
                    "mm-1", at, actor="mm-bot", asset=self.random.choice(TOKENS[:4]),
                    amount_usd=10 ** self.random.gauss(5.0, 0.4), destination_kind="whitelisted",
                    destination=f"venue-{self.random.randrange(3)}", balance_usd=50e6,
                )  # fmt: skip

    def top_up(self, at: int) -> Observation:
        usd = 30_000 * self.random.uniform(300.0, 400.0)
        return self.pay(
            "cold-1", at, actor="treasury", amount_usd=usd, amount_units=30_000.0, balance_usd=30 * usd,
            destination="main/warm-1", destination_kind="internal",
        )  # fmt: skip

    def people(self, since: int, until: int) -> Iterator[Observation]:
        for person in PEOPLE:
            place = {"country": "SG", "asn": 64_500, "device": f"{person}-laptop", "actor": person}
            for day in range(since, until, DAY):
                for _ in range(5):
                    at = day + int(self.random.uniform(8, 18) * HOUR)
                    yield observation("access.login_succeeded", at, **place)
                if self.random.random() < 0.3:
                    at = day + int(self.random.uniform(8, 18) * HOUR)
                    yield observation("access.login_failed", at, **place)
                if person == "carol":
                    at = day + int(self.random.uniform(9, 17) * HOUR)
                    yield observation("governance.policy_changed", at, **place)

    def between(self, since: int, until: int) -> list[Observation]:
        """All ordinary traffic of a time span, in order of time."""
        every = [
            *self.hot_wallets(since, until),
            *self.busy_wallet(max(since, NOW - 2 * DAY), until),
            *self.market_maker(since, until),
            *self.people(since, until),
        ]
        return sorted(every, key=lambda one: (one.occurred_at_us, one.event_id))

    def history(self) -> list[Observation]:
        """Half a year of top-ups, then two weeks of everything."""
        top_ups = [self.top_up(NOW - days * DAY + 10 * HOUR) for days in (160, 140, 124, 105, 90, 71, 55, 36, 19)]
        signed = [
            observation(
                "signing.requested",
                NOW - days * DAY + 9 * HOUR,
                account="main/cold-1",
                actor="treasury",
                delegatecall=False,
                unlimited_approval=False,
                governance_call=False,
                display_mismatch=False,
            )
            for days in range(200, 1, -4)
        ]
        every = [*top_ups, *signed, *self.between(START, NOW)]
        return sorted(every, key=lambda one: (one.occurred_at_us, one.event_id))


def learned(seed: int = SEED) -> tuple[Desk, Engine]:
    """A desk and an engine that learned its two weeks in history mode."""
    desk = Desk(seed)
    engine = Engine(EngineSettings(salt="scenario"), shipped())
    for one in desk.history():
        assessment, operation = engine.process(one, history=True)
        assert assessment.decision is Decision.ALLOW
        assert operation is Operation.LEARN
    return desk, engine


def run(engine: Engine, observations: list[Observation]) -> list[Assessment]:
    """Assessments of observations, live, in order."""
    return [engine.process(one)[0] for one in observations]


def fired(assessment: Assessment) -> set[str]:
    """Ids of detectors that found something."""
    return {signal.detector for signal in assessment.signals}
