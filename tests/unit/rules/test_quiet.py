"""Live detectors are silent on plain payments: accounts, destinations, amounts and times tell them nothing by themselves.

The streams are made here from printed seeds, in several sizes of money and with few or many destinations. Large amounts
are multiplied in now and then, as customers do. The score judges such streams; detectors must not add noise to it. On
the first day of an installation every destination is new to everybody: there alone a few findings are accepted.
"""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from rules.engine import Engine
from rules.observation import Observation
from rules.settings import EngineSettings
from tests.support.detectors import shipped

EVENTS = 40_000
ACCOUNTS = 400
DAYS = 60
DAY_US = 86_400_000_000
START_US = 19_000 * DAY_US
AT_MOST = 0
AT_MOST_ON_DAY_ONE = 6


def stream(seed: int, scale: float, destinations: int) -> Iterator[Observation]:
    print(f"plain stream seed {seed}")  # noqa: T201 -- a failing run must be repeatable
    source = random.Random(seed)  # noqa: S311 -- synthetic traffic
    means = [scale * source.lognormvariate(0.0, 0.7) for _ in range(ACCOUNTS)]
    homes = [[source.randrange(destinations) for _ in range(20)] for _ in range(ACCOUNTS)]
    times = sorted(START_US + source.randrange(DAYS * DAY_US) for _ in range(EVENTS))
    for number, at in enumerate(times):
        account = source.randrange(ACCOUNTS)
        usd = max(0.01, source.gauss(means[account], 0.5 * means[account]))
        if source.random() < 0.001:
            usd *= 5.0
        yield Observation(
            event_id=str(number),
            kind="withdrawal.requested",
            occurred_at_us=at,
            received_at_us=at,
            account=str(account),
            destination=str(source.choice(homes[account])),
            amount_usd=usd,
        )


@pytest.mark.parametrize(
    ("scale", "destinations"), [(50.0, 2000), (50.0, 60), (5000.0, 2000), (200_000.0, 2000), (200_000.0, 60)]
)
def test_plain_payments_set_no_detector_off(scale: float, destinations: int) -> None:
    engine = Engine(EngineSettings(salt="quiet"), shipped())
    first, later = Counter[str](), Counter[str]()
    for one in stream(7, scale, destinations):
        assessment, _ = engine.process(one)
        found = later if one.occurred_at_us >= START_US + DAY_US else first
        found.update(signal.detector for signal in assessment.signals if not signal.shadow)
    assert first.total() <= AT_MOST_ON_DAY_ONE, first
    assert later.total() <= AT_MOST, later
