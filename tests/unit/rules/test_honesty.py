"""The p-value means what it says: on ordinary traffic, a share of about p of the scores has a p-value of at most p.

Exactly so only for scores that could have come in any order; traffic has hours, bursts and accounts that are still being
learned. The bounds allow it to be three times too careful and half too rash, and twice too rash at one in a thousand.
"""

import pytest

from rules.baseline.layout import Kind
from rules.baseline.tails import T_SEEN
from rules.engine import Engine
from rules.settings import EngineSettings
from rules.signal import History
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, NOW, SECOND, Desk, learned


@pytest.mark.parametrize("seed", [11, 12])
def test_p_values_of_ordinary_payments_are_uniform(seed: int) -> None:
    desk, engine = learned(seed)
    found = [engine.process(one)[0] for one in desk.between(NOW, NOW + 3 * DAY) if one.kind == "withdrawal.requested"]
    told = [one.p_value for one in found if one.history is History.ENOUGH]
    assert len(told) > 15_000
    shares = {level: sum(p <= level for p in told) / len(told) for level in (0.5, 0.2, 0.1, 0.05, 0.01, 0.001)}
    print(shares)  # noqa: T201 -- shown when it fails
    for level in (0.5, 0.2, 0.1, 0.05, 0.01):
        assert level / 3 <= shares[level] <= 1.5 * level, f"{shares[level]} of the p-values are at most {level}"
    assert shares[0.001] <= 0.002


def test_first_weeks_of_new_accounts_do_not_make_a_later_theft_look_ordinary() -> None:
    """The score of the same theft, with and without two hundred newcomers whose first payments are all over the scale."""
    scores = []
    for newcomers in (0, 200):
        desk, engine = Desk(13), Engine(EngineSettings(), shipped())
        for one in desk.between(NOW - 4 * DAY, NOW):
            engine.process(one, history=True)
        for n in range(newcomers):
            for at in range(5):
                usd = 10.0 ** desk.random.uniform(1.0, 8.0)
                engine.process(desk.pay(f"new-{n}", NOW - DAY + (5 * n + at) * SECOND, amount_usd=usd), history=True)
        theft = desk.pay("hot-eth-1", NOW + SECOND, amount_usd=3e6, balance_usd=None, asset="eth")
        scores.append(engine.assess(theft).score)
    assert scores[0] > 4.0
    assert scores[1] > 0.8 * scores[0]


def test_newcomers_are_counted_apart() -> None:
    desk, engine = Desk(14), Engine(EngineSettings(), shipped())
    for n in range(30):
        engine.process(desk.pay("one", NOW + n * SECOND), history=True)
    counted = {
        change.entity: memoryview(change.state).cast("d")[1 + T_SEEN]
        for change in engine.snapshot()
        if change.kind == Kind.CALIBRATION
    }
    assert {name for name in counted if name.startswith("final/")} == {"final/money", "final/money/not_enough"}
    assert counted["free/money"] == counted["final/money"] == 10.0
    assert counted["free/money/not_enough"] == counted["final/money/not_enough"] == 20.0
