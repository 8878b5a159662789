"""Shadows whose numbers come from weeks of traffic: each fires on what the engine itself measures, and its twin does not."""

import random

from rules.engine import Engine
from rules.observation import Observation
from rules.settings import EngineSettings
from rules.signal import Assessment, Decision
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, fired, observation, run

OFFICE, OPERATOR = 64_600, 64_700


def engine_of(history: list[Observation]) -> Engine:
    engine = Engine(EngineSettings(salt="shadows"), shipped())
    engine.process_all(history, [True] * len(history))
    return engine


def login(at: int, actor: str, asn: int) -> Observation:
    return observation("access.login_succeeded", at, actor=actor, asn=asn, country="SG", device=f"{actor}-laptop")


def strangers(count: int, asn: int) -> list[Observation]:
    """People never seen there, one every two minutes."""
    return [login(NOW + n * HOUR // 30, f"stranger-{n}", asn) for n in range(count)]


def people() -> list[Observation]:
    """Forty days of an office of three, and of an operator whose customers change every day."""
    office = [login(NOW - day * DAY + n * HOUR, f"clerk-{n % 3}", OFFICE) for day in range(1, 41) for n in range(6)]
    mobile = [
        login(NOW - day * DAY + n * HOUR // 2, f"m-{day}-{n}", OPERATOR) for day in range(1, 41) for n in range(40)
    ]
    return sorted([*office, *mobile], key=lambda one: one.occurred_at_us)


def named(told: list[Assessment]) -> bool:
    return any("network-of-many-people" in fired(one) for one in told)


def test_a_network_of_many_people() -> None:
    history = people()
    stuffed = run(engine_of(history), strangers(40, OFFICE))
    found = [signal for one in stuffed for signal in one.signals if signal.detector == "network-of-many-people"]
    assert found
    assert {signal.decision for signal in found} == {Decision.ALLOW}, "a shadow decides nothing"
    assert not named(stuffed[:4]), "a few guests are none"
    assert not named(run(engine_of(history), strangers(40, OPERATOR)))
    clerks = [login(NOW + n * HOUR // 30, f"clerk-{n % 3}", OFFICE) for n in range(40)]
    assert not named(run(engine_of(history), clerks))


def paid(at: int, usd: float) -> Observation:
    destination = f"eip155:1:0x{at:040x}"
    return observation(
        "withdrawal.requested", at, account="main/steady", actor="ops", asset="eth", amount_usd=usd,
        destination=destination, destination_kind="one_time",
    )  # fmt: skip


def weeks(times: float) -> list[Observation]:
    """Eight days of payments, ``times`` the usual size, at the usual pace."""
    return [paid(NOW + n * 3 * HOUR, times * 9000.0) for n in range(64)]


def test_a_slow_drain() -> None:
    chance = random.Random(3)  # noqa: S311 -- synthetic traffic
    history = [paid(NOW - (320 - n) * 3 * HOUR, 9000.0 * chance.gammavariate(6.0, 1.0 / 6.0)) for n in range(320)]
    drained = run(engine_of(history), weeks(5.0))
    assert "slow-drain" in set().union(*map(fired, drained[8:]))
    assert "slow-drain" not in set().union(*map(fired, drained[:4])), "half a day is no week"
    for times in (1.0, 2.0):
        assert "slow-drain" not in set().union(*map(fired, run(engine_of(history), weeks(times))))
