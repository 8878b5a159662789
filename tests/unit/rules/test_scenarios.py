"""The incidents must be held, the look-alikes must not (facts of the incidents; invented amounts are marked)."""

import copy
from collections import Counter

import msgspec
import pytest

from rules.engine import Engine
from rules.settings import EngineSettings
from rules.signal import Decision, History
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, SECOND, TOKENS, Desk, fired, learned, observation, run
from tests.unit.rules.watch import Watch


@pytest.fixture(scope="module")
def taught() -> tuple[Desk, list[tuple[str, int, bytes]]]:
    desk, engine = learned()
    return desk, [(change.entity, change.kind, change.state) for change in engine.snapshot()]


@pytest.fixture
def desk(taught: tuple[Desk, list[tuple[str, int, bytes]]]) -> Desk:
    return copy.deepcopy(taught[0])


@pytest.fixture
def engine(taught: tuple[Desk, list[tuple[str, int, bytes]]]) -> Engine:
    """A fresh engine from stored records: also shows that loading loses nothing a decision needs."""
    fresh = Engine(EngineSettings(salt="scenario"), shipped())
    for entity, kind, state in taught[1]:
        fresh.load(entity, kind, state)
    return fresh


class TestMustHold:
    def test_kucoin_first_transfer_is_held(self, engine: Engine, desk: Desk) -> None:
        thief = desk.stranger()
        theft = desk.pay("hot-eth-1", NOW + HOUR, amount_usd=4_008_000.0, balance_usd=41e6, destination=thief)
        (found,) = run(engine, [theft])
        assert found.decision is Decision.HOLD
        assert found.playbook == "drain"
        assert "drain-large-share" in fired(found)
        named = {reason.feature for signal in found.signals for reason in signal.reasons}
        assert named >= {"amount_usd", "share_of_balance"}

    def test_kucoin_drain_of_several_accounts_is_held_without_balances(self, engine: Engine, desk: Desk) -> None:
        thief = desk.stranger()
        at = NOW + HOUR
        # Amounts are an invented split of the known total.
        drain = [
            desk.pay(
                account, at + n * 20 * SECOND, amount_usd=900_000.0, balance_usd=None, destination=thief, asset=asset
            )
            for n, (account, asset) in enumerate(
                [("hot-eth-1", "eth"), ("hot-btc-1", "btc"), *(("hot-erc20-1", token) for token in TOKENS)]
            )
        ]
        found = run(engine, drain)
        assert [one.decision for one in found].count(Decision.HOLD) == len(found)
        assert "drain-fan-in" in fired(found[2])
        assert "drain-many-assets" in fired(found[-1])

    @pytest.mark.parametrize("seed", [2, 3, 4])
    def test_a_drain_told_without_balances_is_held_at_its_second_transfer(self, seed: int) -> None:
        """The first, below the account's largest payment and 1 % of its balance, may pass; it must not vouch for more."""
        desk, engine = learned(seed)
        thief, at = desk.stranger(), NOW + HOUR
        largest = desk.pay("hot-eth-1", at, amount_usd=377_000.0)
        engine.process(largest, history=True)
        first = desk.pay("hot-eth-1", at + HOUR, amount_usd=210_000.0, balance_usd=None, destination=thief)
        second = desk.pay(
            "hot-eth-1", at + HOUR + SECOND, amount_usd=3_200_000.0, balance_usd=None, destination=thief, asset="usdt"
        )
        found = run(engine, [first, second])
        assert found[1].decision is Decision.HOLD
        assert "amount-far-above-history" in fired(found[1])

    def test_a_share_of_the_balance_last_told_holds_the_first_transfer(self, engine: Engine, desk: Desk) -> None:
        theft = desk.pay("hot-eth-1", NOW + HOUR, amount_usd=3_200_000.0, balance_usd=None, destination=desk.stranger())
        (found,) = run(engine, [theft])
        assert "drain-large-share" in fired(found)
        told = [reason.observed for signal in found.signals for reason in signal.reasons]
        assert any("as last told" in text for text in told)

    def test_small_drain_of_many_assets_is_held(self, engine: Engine, desk: Desk) -> None:
        thief = desk.stranger()
        drain = [
            desk.pay("hot-eth-1", NOW + HOUR + n * 10 * SECOND, amount_usd=45_000.0, destination=thief, asset=token)
            for n, token in enumerate(TOKENS)
        ]
        assert "drain-many-assets" in fired(run(engine, drain)[-1])

    def test_coincheck_dust_then_large(self, engine: Engine, desk: Desk) -> None:
        thief = desk.stranger()
        at = NOW + HOUR
        dust = desk.pay("hot-eth-1", at, amount_usd=8.0, balance_usd=None, destination=thief)
        large = desk.pay("hot-eth-1", at + 480 * SECOND, amount_usd=80e6, balance_usd=None, destination=thief)
        found = run(engine, [dust, large])
        assert found[0].decision is not Decision.HOLD
        assert found[1].decision is Decision.HOLD
        assert "dust-then-large" in fired(found[1])

    def test_bybit_delegatecall_is_refused_before_signing(self, engine: Engine) -> None:
        request = observation(
            "signing.requested", NOW + 14 * HOUR, account="main/cold-1", actor="treasury", delegatecall=True,
            governance_call=True, display_mismatch=False, contract_age_s=2 * 86_400.0, destination="main/implementation",
        )  # fmt: skip
        (found,) = run(engine, [request])
        assert found.decision is Decision.HOLD
        assert found.playbook == "signing_tampering"
        assert {"signing-delegatecall", "signing-owner-change"} <= fired(found)

    def test_calls_that_nobody_can_read_make_no_allowance_a_habit(self) -> None:
        watch = Watch(NOW, account="main/desk").see("signing.requested", unlimited_approval=True)
        for _ in range(60):
            watch.see("signing.requested", HOUR)
        (found,) = run(watch.engine, [
            observation("signing.requested", watch.now + HOUR, account="main/desk", unlimited_approval=True)
        ])  # fmt: skip
        assert "signing-unlimited-approval" in fired(found)

    def test_display_mismatch_is_held_even_towards_a_trusted_destination(self, engine: Engine, desk: Desk) -> None:
        request = observation(
            "signing.requested", NOW + 14 * HOUR, account="main/cold-1", actor="treasury", display_mismatch=True,
            destination="main/warm-1", destination_kind="internal", amount_usd=11e6,
        )  # fmt: skip
        (found,) = run(engine, [request])
        assert found.decision is Decision.HOLD
        assert fired(found) == {"signing-display-mismatch"}

    def test_account_takeover(self, engine: Engine, desk: Desk) -> None:
        away = {"actor": "alice", "country": "RO", "asn": 64_999, "device": "burner"}
        at = NOW + 9 * HOUR
        thief = desk.stranger()
        chain = [
            observation("access.login_succeeded", at, **away),
            observation("access.mfa_reset", at + 60 * SECOND, **away),
            observation("access.api_key_created", at + 120 * SECOND, **away),
            observation("governance.destination_whitelisted", at + 180 * SECOND, destination=thief, **away),
            desk.pay("hot-eth-1", at + 600 * SECOND, destination=thief, destination_kind="whitelisted", **away),
        ]
        found = run(engine, chain)
        assert [one.decision for one in found] == [Decision.ALERT] * 3 + [Decision.HOLD] * 2
        assert {one.playbook for one in found} == {"account_takeover"}
        assert "takeover-withdrawal" in fired(found[-1])

    def test_insider_policy_change_at_night(self, engine: Engine) -> None:
        change = observation(
            "governance.policy_changed", NOW + 2 * HOUR, actor="carol", country="SG", asn=64_500, device="carol-laptop"
        )
        (found,) = run(engine, [change])
        assert found.decision is Decision.HOLD
        assert found.playbook == "insider_policy_change"

    def test_policy_change_by_somebody_who_never_makes_any(self, engine: Engine) -> None:
        change = observation(
            "governance.policy_changed", NOW + 10 * HOUR, actor="bob", country="SG", device="bob-laptop"
        )
        (found,) = run(engine, [change])
        assert found.decision is Decision.ALERT
        assert "governance-by-unusual-actor" in fired(found)

    def test_failed_login_burst_alerts(self, engine: Engine) -> None:
        tries = [
            observation("access.login_failed", NOW + 9 * HOUR + n * 5 * SECOND, actor="alice", ip="203.0.113.9")
            for n in range(9)
        ]
        assert "failed-login-burst" in fired(run(engine, tries)[-1])

    def test_address_poisoning(self, engine: Engine, desk: Desk) -> None:
        known = "eip155:1:0xabcd" + "0" * 32 + "9876"
        poison = "eip155:1:0xabcd" + "7" * 32 + "9876"
        found = run(
            engine, [desk.pay("hot-eth-1", NOW + n * HOUR, destination=to) for n, to in ((1, known), (2, poison))]
        )
        assert [one.decision for one in found] == [Decision.ALLOW, Decision.HOLD]


class TestMustNotHold:
    def test_one_large_payment_is_one_fact(self, engine: Engine, desk: Desk) -> None:
        """Amount, share and value windows all show it; counted three times it held two benign payments in 60,000."""
        one = desk.pay("hot-busy-1", NOW + HOUR, amount_usd=245_000.0, asset="usdt", balance_usd=43e6)
        size = {"amount_usd", "share_of_balance", "value_1m", "value_10m", "value_1h", "value_24h"}
        found = engine.assess(one)
        assert len([reason for reason in found.reasons if reason.feature in size]) == 1
        assert found.decision is not Decision.HOLD or found.signals

    def test_ordinary_day(self, engine: Engine, desk: Desk) -> None:
        day = desk.between(NOW, NOW + DAY)
        counts = Counter(one.decision for one in run(engine, day))
        assert counts[Decision.HOLD] == 0
        assert counts[Decision.ALERT] <= 0.004 * len(day)

    @pytest.mark.parametrize("seed", [1, 5])
    def test_two_ordinary_days_of_seeds_that_were_once_held(self, seed: int) -> None:
        desk, engine = learned(seed)
        counts = Counter(one.decision for one in run(engine, desk.between(NOW, NOW + 2 * DAY)))
        assert counts[Decision.HOLD] == 0

    def test_ordinary_day_told_without_balances(self, engine: Engine, desk: Desk) -> None:
        day = [msgspec.structs.replace(one, balance_usd=None) for one in desk.between(NOW, NOW + DAY)]
        counts = Counter(one.decision for one in run(engine, day))
        assert counts[Decision.HOLD] == 0
        assert counts[Decision.ALERT] <= 0.001 * len(day)

    def test_a_large_payment_of_a_small_hot_wallet(self) -> None:
        """Ten thousand dollars are two fifths of what it holds, and one payment in a hundred is of that size."""
        desk, engine = Desk(31), Engine(EngineSettings(salt="scenario"), shipped())
        usual = [
            desk.pay("small-1", NOW + n * HOUR // 4, amount_usd=10 ** desk.random.gauss(3.0, 0.45), balance_usd=25e3)
            for n in range(600)
        ]
        for one in usual:
            engine.process(one, history=True)
        found = engine.assess(desk.pay("small-1", NOW + 151 * HOUR, amount_usd=10_500.0, balance_usd=None))
        assert found.decision is not Decision.HOLD

    def test_an_address_paid_again_is_no_imitation_of_itself(self, engine: Engine, desk: Desk) -> None:
        """More regular destinations than an account remembers: their looks must not outlive them."""
        regulars = [desk.stranger() for _ in range(200)]
        rounds = [
            desk.pay("hot-eth-1", NOW + n * HOUR // 60, destination=to)
            for n, to in enumerate(regulars + regulars[::-1])
        ]
        assert "lookalike-destination" not in {name for one in run(engine, rounds) for name in fired(one)}

    def test_top_up(self, engine: Engine, desk: Desk) -> None:
        (found,) = run(engine, [desk.top_up(NOW + 10 * HOUR)])
        assert found.decision is Decision.ALLOW
        assert found.history is History.ENOUGH

    def test_top_up_of_an_account_with_little_history(self, engine: Engine, desk: Desk) -> None:
        first = [
            desk.pay("cold-9", NOW + n * 15 * DAY, amount_usd=10e6, balance_usd=300e6, destination="main/warm-1",
                     destination_kind="internal")
            for n in range(3)
        ]  # fmt: skip
        found = run(engine, first)
        assert [one.decision for one in found] == [Decision.ALLOW] * 3
        assert {one.history for one in found} == {History.NOT_ENOUGH}

    @pytest.mark.parametrize("kind", ["internal", "whitelisted"])
    def test_emergency_sweep_to_own_cold_wallets(self, engine: Engine, desk: Desk, kind: str) -> None:
        # The assets and the two amounts known are Upbit's; the others are invented.
        sweep = [
            desk.pay("hot-erc20-1", NOW + 5 * HOUR + n * 90 * SECOND, amount_usd=usd, asset=asset, balance_usd=41e6,
                     destination=f"own-cold-{n % 3}", destination_kind=kind)
            for n, (asset, usd) in enumerate(
                [("trx", 1.5e6), ("trx", 1.5e6), ("btt", 3.5e6), ("btt", 3.5e6), ("xlm", 2e6), ("omg", 1e6),
                 ("eos", 2e6), ("eos", 2e6), ("snt", 1e6), ("snt", 5e5)]
            )
        ]  # fmt: skip
        assert Decision.HOLD not in {one.decision for one in run(engine, sweep)}

    def test_customer_whitelists_and_withdraws(self, engine: Engine, desk: Desk) -> None:
        at = NOW + 10 * HOUR
        usual = {"actor": "alice", "country": "SG", "asn": 64_500, "device": "alice-laptop"}
        to = desk.stranger()
        chain = [
            observation("access.login_succeeded", at, **usual),
            desk.pay("hot-eth-1", at + 600 * SECOND, destination=to, **usual),
        ]
        assert Decision.HOLD not in {one.decision for one in run(engine, chain)}

    @pytest.mark.parametrize(
        "pair",
        [
            ("bc1q" + "w508d6qe" * 4 + "f3t4", "bc1q" + "zz9pq7rt" * 4 + "f3t4"),
            ("main/cold-1a", "main/hold-1a"),
        ],
    )
    def test_a_shared_prefix_is_no_imitation(self, engine: Engine, desk: Desk, pair: tuple[str, str]) -> None:
        found = run(engine, [desk.pay("hot-btc-1", NOW + n * HOUR, destination=to) for n, to in enumerate(pair, 1)])
        assert "lookalike-destination" not in fired(found[1])

    def test_customer_tests_an_address_first(self, engine: Engine, desk: Desk) -> None:
        to = desk.stranger()
        pair = [
            desk.pay("hot-eth-1", NOW + 10 * HOUR + n * HOUR, destination=to, amount_usd=usd)
            for n, usd in enumerate((20.0, 20_000.0))
        ]
        assert Decision.HOLD not in {one.decision for one in run(engine, pair)}
