"""Peer groups: a newcomer is judged by his group as far as that knows, and told so; nobody else notices."""

import math
import random
from functools import cache
from typing import Final

import msgspec
import numpy as np
import pytest

from rules.baseline.layout import (
    AMOUNT,
    COUNTS,
    FINGERPRINT,
    GAP,
    MODEL_MEAN,
    MODEL_SQUARE,
    MODEL_WEIGHT,
    NEW_DESTINATION,
    POPULATION_FAN_OUTS,
    WIDTH,
    Kind,
)
from rules.baseline.peers import shrink
from rules.baseline.priors import write_priors
from rules.baseline.statistics import PRIOR_STRENGTH
from rules.engine import Engine
from rules.features.frame import N_AMONG, N_LOG2_USD, N_MEAN_USD, N_OWN_Z
from rules.loader import DetectorSet
from rules.observation import Observation
from rules.settings import EngineSettings
from rules.signal import Assessment, Decision, History
from tests.unit.rules.scenario import DAY, HOUR, NOW, observation

USUAL: Final = {"retail": 55.0, "vip": 60_000.0}
_OF: Final = {"retail": (90, 40), "vip": (3, 60)}
"""Accounts of each group, and payments of each account."""


def paid(account: str, at: int, usd: float, group: str | None) -> Observation:
    told = {} if group is None else {"peer_group": group}
    return observation(
        "withdrawal.requested", at, account=account, amount_usd=usd, asset="eth", destination=f"{account}@{at}", **told
    )


def home(told: Observation) -> Observation:
    """The same payment to the one destination that its account always pays."""
    return msgspec.structs.replace(told, destination=f"{told.account}@home")


def usual(group: str, chance: random.Random) -> float:
    return USUAL[group] * chance.gammavariate(4.0, 0.25)


def traffic(*, grouped: bool) -> list[Observation]:
    """A month of many small payments by many accounts, and of few large ones by three."""
    chance = random.Random(7)  # noqa: S311 -- synthetic traffic
    rows = [
        (NOW - DAY - int(chance.uniform(0, 30 * DAY)), f"{group}-{account}", usual(group, chance), group)
        for group, (accounts, payments) in _OF.items()
        for account in range(accounts)
        for _ in range(payments)
    ]  # fmt: skip
    return [paid(account, at, usd, group if grouped else None) for at, account, usd, group in sorted(rows)]


def engine_of(told: list[Observation]) -> Engine:
    engine = Engine(EngineSettings(min_scores=100, salt="peers"), DetectorSet((), ""))
    engine.process_all(told, [True] * len(told))
    return engine


@cache
def world(*, grouped: bool = True) -> Engine:
    """Asked with ``assess`` alone, so that no test changes it for another."""
    return engine_of(traffic(grouped=grouped))


def newcomer(group: str | None, usd: float, *, grouped: bool = True) -> Assessment:
    return world(grouped=grouped).assess(paid("newcomer", NOW, usd, group), tell=True)


def reason(found: Assessment, feature: str) -> str:
    return {one.feature: one.usual for one in found.reasons}[feature]


class TestNewcomers:
    @pytest.mark.parametrize(("group", "share"), [("vip", 0.5), ("vip", 1.0), ("vip", 1.5), ("retail", 1.0)])
    def test_what_is_usual_in_the_group_is_no_alert(self, group: str, share: float) -> None:
        found = newcomer(group, share * USUAL[group])
        assert (found.decision, found.history) == (Decision.ALLOW, History.NOT_ENOUGH)
        assert found.score < 1.2

    @pytest.mark.parametrize(("group", "usd"), [("retail", 60_000.0), ("retail", 3_000.0), ("vip", 6_000_000.0)])
    def test_what_is_not_is_one(self, group: str, usd: float) -> None:
        found = newcomer(group, usd)
        assert found.decision is Decision.ALERT
        assert found.score > 3.0

    def test_without_groups_the_rich_newcomer_alerts(self) -> None:
        """What the tests above must not pass for: everybody alone would judge so."""
        found = newcomer(None, USUAL["vip"], grouped=False)
        assert found.score > newcomer("vip", USUAL["vip"]).score + 1.5
        assert newcomer(None, 3 * USUAL["vip"], grouped=False).decision is Decision.ALERT
        assert all("in its group" not in one.usual for one in found.reasons)

    def test_the_reasons_say_by_whom_it_was_judged(self) -> None:
        rich, poor = newcomer("vip", 6_000_000.0), newcomer("retail", 60_000.0)
        for found, low, high in ((rich, 5_000.0, 400_000.0), (poor, 5.0, 400.0)):
            feature = next(one.feature for one in found.reasons if one.feature.startswith("amount_"))
            told = reason(found, feature)
            assert told.endswith(" USD in its group")
            numbers = [
                float(one.replace(",", "")) for one in told.removesuffix(" USD in its group").split("\N{EN DASH}")
            ]
            assert low < numbers[0] < numbers[1] < high

    def test_whoever_has_a_history_is_told_his_own(self) -> None:
        found = world().assess(paid("retail-1", NOW, 60_000.0, "retail"), tell=True)
        assert found.history is History.ENOUGH
        assert all("in its group" not in one.usual for one in found.reasons if one.feature != "amount_population")


class TestYoungGroups:
    def after(self, payments: int, *, usd: float = 60_000.0, logins: int = 0) -> Engine:
        told = traffic(grouped=True)
        told += [
            observation("access.login_succeeded", NOW + n, account="first", actor="p", peer_group="fresh")
            for n in range(logins)
        ]
        return engine_of(told + [paid("first", NOW + HOUR + n * HOUR, usd, "fresh") for n in range(payments)])

    def judged(self, engine: Engine, usd: float) -> float:
        return float(engine.assess(paid("second", NOW + 9 * DAY, usd, "fresh")).score)

    def told(self, engine: Engine, usd: float) -> str:
        found = engine.assess(paid("second", NOW + 9 * DAY, usd, "fresh"), tell=True)
        return next(one.usual for one in found.reasons if one.feature.startswith("amount_"))

    def test_one_payment_does_not_set_what_is_usual(self) -> None:
        one, many = self.after(1), self.after(30)
        assert self.judged(one, 60_000.0) > 2.0
        assert self.judged(many, 60_000.0) < 1.2
        assert "in its group" not in self.told(one, 60_000.0)
        assert "in its group" in self.told(many, 60_000.0)
        low = self.after(1, usd=5.0, logins=60)
        assert self.judged(low, 60.0) < 1.0, "sixty logins say nothing of money"
        assert low.frame.now[N_OWN_Z] < 1.0
        assert "in its group" not in self.told(low, 60.0)

    def test_no_number_of_payments_is_a_threshold(self) -> None:
        """The old engine went by everybody up to the 49th event of a group and by the group alone from the 50th on."""
        engine, means = self.after(0), []
        for n in range(60):
            engine.process(paid("first", NOW + HOUR + n * HOUR, 5_000.0, "fresh"), history=True)
            engine.assess(paid("second", NOW + 9 * DAY, 5_000.0, "fresh"))
            means.append(math.log(engine.frame.now[N_MEAN_USD]))
        steps = np.diff(means)
        assert steps.max() > 0.0
        assert np.abs(steps[38:]).max() < 0.05
        assert np.abs(np.diff(steps[10:])).max() < 0.05


class TestLaundering:
    """One account of a small group of large accounts pays itself for a month, so that others' thefts may look usual."""

    ATTACKS: Final = {
        "a ladder": (1000, (0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)),
        "dust": (300, (0.01,)),
        "dust and the usual": (300, (0.01, 60_000.0)),
        "nothing": (0, ()),
    }

    @staticmethod
    @cache
    def after(attack: str) -> Engine:
        """An engine that knows the world and learned of the attack what it let pass."""
        engine = engine_of([home(told) for told in traffic(grouped=True)])
        count, amounts = TestLaundering.ATTACKS[attack]
        for n in range(count):
            at = NOW - 35 * DAY + n * (30 * DAY // count)
            engine.process(home(paid("mule", at, amounts[n % len(amounts)], "vip")))
        return engine

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_a_theft_from_a_member_with_a_history_alerts(self, attack: str) -> None:
        found = self.after(attack).assess(home(paid("vip-1", NOW, 600_000.0, "vip")))
        assert (found.decision, found.history) == (Decision.ALERT, History.ENOUGH)
        assert found.score > 4.0

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_what_a_newcomer_steals_scores_as_it_did(self, attack: str) -> None:
        told = home(paid("newcomer", NOW, 600_000.0, "vip"))
        assert self.after(attack).assess(told).score > self.after("nothing").assess(told).score - 0.1

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_no_group_is_so_wide_that_amounts_come_nearer_to_one_another(self, attack: str) -> None:
        engine, among = self.after(attack), []
        for usd in (600.0, 600_000.0):
            engine.assess(home(paid("vip-1", NOW, usd, "vip")))
            among.append(engine.frame.now[N_AMONG])
        assert among[1] - among[0] >= math.log2(1000.0) - 1e-9


class TestNobodyElse:
    def test_who_has_no_group_stands_among_everybody_as_he_is(self) -> None:
        engine = world(grouped=False)
        engine.assess(paid("newcomer", NOW, 700.0, None))
        assert engine.frame.now[N_AMONG] == engine.frame.now[N_LOG2_USD]

    def test_a_group_that_nobody_learned_of_judges_as_everybody_does_to_the_last_bit(self) -> None:
        for usd in (5.0, 700.0, 60_000.0):
            alone, unheard = newcomer(None, usd, grouped=False), newcomer("unheard", usd, grouped=False)
            assert alone == unheard


def record(kind: Kind) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = np.zeros(WIDTH[kind])
    write_priors(found)
    found[MODEL_WEIGHT], found[MODEL_MEAN], found[MODEL_SQUARE] = 5000.0, 100.0, 3e4
    return found


def shrunk(payments: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A group of mean 10,000 USD among everybody's 100."""
    whole, group, to = record(Kind.POPULATION), np.zeros(WIDTH[Kind.PEER_GROUP]), record(Kind.POPULATION)
    group[FINGERPRINT] = 9.0
    for word, mean in ((AMOUNT, 4.0), (POPULATION_FAN_OUTS, 0.0), (COUNTS, 3.0)):
        group[word], group[word + 1], group[word + 7 if word == COUNTS else word + 2] = payments, mean, 0.01
    group[MODEL_WEIGHT], group[MODEL_MEAN], group[MODEL_SQUARE] = payments, 1e4 * (payments > 0.0), 1.1e8
    shrink(to, group, whole)
    return to


class TestShrinkage:
    def test_a_group_counts_by_what_it_learned_of_the_very_number(self) -> None:
        half, whole = shrunk(PRIOR_STRENGTH), record(Kind.POPULATION)
        assert half[AMOUNT + 1] == pytest.approx((4.0 + whole[AMOUNT + 1]) / 2)
        assert half[COUNTS + 1] == pytest.approx((3.0 + whole[COUNTS + 1]) / 2)
        assert half[NEW_DESTINATION] == pytest.approx(whole[NEW_DESTINATION] / 2)
        assert half[MODEL_MEAN] == pytest.approx(1000.0), "half of the way is the geometric mean"
        assert half[GAP + 1] == whole[GAP + 1], "of which it learned nothing"

    def test_who_knows_nothing_is_the_whole_and_who_knows_much_is_the_group(self) -> None:
        whole, nothing, much = record(Kind.POPULATION), shrunk(0.0), shrunk(1e6)
        words = [word for word in range(len(whole)) if word not in {FINGERPRINT, AMOUNT, COUNTS, POPULATION_FAN_OUTS}]
        told = [word for word in words if word < POPULATION_FAN_OUTS and whole[word] != 0.0 and nothing[word] != 0.0]
        assert [nothing[word] for word in told] == [whole[word] for word in told]
        assert much[MODEL_MEAN] == pytest.approx(1e4, rel=1e-3)
        assert much[MODEL_SQUARE] == pytest.approx(1.1e8, rel=1e-2)

    def test_more_events_move_it_further_and_by_less(self) -> None:
        means = [math.log(shrunk(float(n))[MODEL_MEAN]) for n in range(200)]
        steps = np.diff(means)
        assert (steps > 0.0).all()
        assert (np.diff(steps) < 0.0).all()
