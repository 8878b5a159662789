"""Detectors that no other test runs by name: each fires in the engine on its kind of attack, its innocent twin is silent.

Every story is played from the first event on: what came before in history mode, then what is looked at, live.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import pytest

from rules.engine import Engine
from rules.observation import Observation
from rules.settings import EngineSettings
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, SECOND, fired, observation, run

HOME = {"country": "SG", "asn": 64_500}
AWAY: dict[str, object] = {"country": "RO", "asn": 64_999, "device": "burner"}
KNOWN = "main/warm-1"


class Story(NamedTuple):
    """What a detector saw before, and what it is shown."""

    detector: str
    before: tuple[Observation, ...]
    then: tuple[Observation, ...]


def story(detector: str, before: Iterable[Observation], then: Iterable[Observation]) -> Story:
    return Story(detector, tuple(before), tuple(then))


def pay(at: int, usd: float | None, to: str, **told: object) -> Observation:
    """A payment of account `a` in ether."""
    amount = {} if usd is None else {"amount_usd": usd, "amount_units": usd / 350.0}
    fields = {"account": "a", "actor": "ops", "asset": "eth", "destination": to, "destination_kind": "one_time"}
    return observation("withdrawal.requested", at, **(fields | amount | told))


def paid(count: int, every: int, usd: float = 9000.0, until: int = NOW, **told: object) -> Iterator[Observation]:
    """Payments to strangers at even times, each a little unlike the last."""
    for n in range(count):
        yield pay(until - (count - n) * every, usd * (1.0 + 0.05 * (n % 7)), f"customer-{n}", **told)


def access(kind: str, at: int, actor: str = "alice", /, **told: object) -> Observation:
    return observation(f"access.{kind}", at, actor=actor, **({"device": f"{actor}-laptop", **HOME} | told))


def changed(kind: str, at: int, actor: str = "alice", /, **told: object) -> Observation:
    return observation(f"governance.{kind}", at, actor=actor, **({"device": f"{actor}-laptop", **HOME} | told))


def at_work(kind: Callable[..., Observation], word: str, actor: str = "alice") -> Iterator[Observation]:
    """Sixty days of somebody who does it from nine to five."""
    for day in range(60, 0, -1):
        for hour in (9, 11, 14, 16):
            yield kind(word, NOW - day * DAY + hour * HOUR, actor)


def asked(at: int, **told: object) -> Observation:
    """A request to sign a call of a contract."""
    fields = {"account": "safe", "actor": "treasury", "destination": "contract-0", "destination_kind": "contract"}
    facts = {"unlimited_approval": False, "delegatecall": False, "contract_age_s": 9e7}
    return observation("signing.requested", at, **(fields | facts | told))


def signed(**told: object) -> Iterator[Observation]:
    for n in range(200):
        yield asked(NOW - (200 - n) * 5 * HOUR, **told)


def listed(kind: int) -> list[Observation]:
    return [pay(NOW, 60_000.0, "named", destination_listed=kind)]


def creeping(times: float) -> Iterator[Observation]:
    """Three payments a day for forty days, each day's `times` that of the day before."""
    for day in range(40):
        for third in range(3):
            yield pay(NOW + day * DAY + third * 8 * HOUR, 6000.0 * times**day, f"stranger-{day}-{third}")


def swinging() -> Iterator[Observation]:
    """Forty days of amounts that rise by half and fall again every week, as they did before."""
    for n in range(-240, 120):
        at, week = NOW + n * 8 * HOUR, n % 21
        yield pay(at, 20_000.0 * (1.0 + 0.5 * min(week, 21 - week) / 10.0), f"stranger-{n}")


def bursts(count: int) -> Iterator[Observation]:
    """Sixty payments within twenty minutes, every day: what a market maker does."""
    for day in range(count, 0, -1):
        for n in range(60):
            yield pay(NOW - day * DAY + n * 20 * SECOND, 45_000.0, f"venue-{day}-{n}")


def burst(at: int) -> list[Observation]:
    return [pay(at + n * 20 * SECOND, 45_000.0, f"stranger-{n}") for n in range(60)]


ASLEEP = NOW + 100 * DAY
ODD = NOW + 10 * HOUR
LOGINS = tuple(at_work(access, "login_succeeded"))
STRANGE_LOGIN = access("login_succeeded", ODD, **AWAY)
HOME_LOGIN = access("login_succeeded", ODD)
TOKENS = tuple(pay(NOW - (80 - n) * 4 * HOUR, 5000.0, f"customer-{n}", asset=f"token-{n}") for n in range(80))

FIRES = (
    story("signing-unlimited-approval", signed(), [asked(NOW, unlimited_approval=True)]),
    story("signing-young-contract", signed(), [asked(NOW, contract_age_s=3600.0, amount_usd=50_000.0)]),
    story("paid-to-listed-thief", paid(60, 6 * HOUR), listed(3)),
    story("dormant-account-wakes", paid(60, HOUR, 20_000.0), [pay(ASLEEP, 21_000.0, "stranger")]),
    story("takeover-credential-change", LOGINS, [STRANGE_LOGIN, access("password_changed", ODD + HOUR, **AWAY)]),
    story(
        "takeover-whitelisting",
        LOGINS,
        [
            STRANGE_LOGIN,
            access("mfa_reset", ODD + HOUR, **AWAY),
            changed("destination_whitelisted", ODD + 2 * HOUR, **AWAY),
        ],
    ),
    story("insider-change-at-night", at_work(changed, "policy_changed"), [changed("policy_changed", NOW + 27 * HOUR)]),
    story("unpriced-unknown-asset", paid(80, 4 * HOUR), [pay(NOW, None, "stranger", asset="odd", amount_units=5.0)]),
    story("amounts-creep-upwards", paid(300, 5 * HOUR, 6000.0), creeping(1.1)),
    story("unknown-actor-changes-rules", LOGINS, [changed("policy_changed", ODD, "nobody")]),
    story("value-surge", paid(300, HOUR), burst(NOW)),
)
SILENT = (
    story("signing-unlimited-approval", signed(unlimited_approval=True), [asked(NOW, unlimited_approval=True)]),
    story("signing-young-contract", signed(), [asked(NOW, contract_age_s=9e7, amount_usd=50_000.0)]),
    story("paid-to-listed-thief", paid(60, 6 * HOUR), [*listed(0), *listed(1), *listed(4)]),
    story("dormant-account-wakes", paid(12, 91 * DAY, 20_000.0), [pay(ASLEEP - 9 * DAY, 21_000.0, "stranger")]),
    story("takeover-credential-change", LOGINS, [HOME_LOGIN, access("password_changed", ODD + HOUR)]),
    story("takeover-whitelisting", LOGINS, [STRANGE_LOGIN, changed("destination_whitelisted", ODD + 2 * HOUR)]),
    story("insider-change-at-night", at_work(changed, "policy_changed"), [changed("policy_changed", NOW + 34 * HOUR)]),
    story("unpriced-unknown-asset", TOKENS, [pay(NOW, None, "stranger", asset="odd", amount_units=5.0)]),
    story("amounts-creep-upwards", (), swinging()),
    story("unknown-actor-changes-rules", LOGINS, [changed("policy_changed", ODD)]),
    story("value-surge", bursts(30), burst(NOW)),
)


def found_in(told: Story) -> set[str]:
    """Every detector that found something in what a story shows."""
    engine = Engine(EngineSettings(salt="stories", max_accounts=8), shipped())
    for one in told.before:
        engine.process(one, history=True)
    return set(chain.from_iterable(map(fired, run(engine, list(told.then)))))


@pytest.mark.parametrize("told", FIRES, ids=lambda told: str(told.detector))
def test_fires(told: Story) -> None:
    assert told.detector in found_in(told)


@pytest.mark.parametrize("told", SILENT, ids=lambda told: str(told.detector))
def test_the_innocent_twin_is_silent(told: Story) -> None:
    assert told.detector not in found_in(told)


def test_each_has_both_stories() -> None:
    assert [told.detector for told in FIRES] == [told.detector for told in SILENT]
