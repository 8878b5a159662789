"""Sequences of events as attackers make them: each detector that shall see one does, and its innocent twin stays silent.

The desk of ``scenario`` learned two weeks of ordinary traffic; other accounts are made here where it lacks one.
"""

import copy
from collections.abc import Iterator
from typing import ClassVar

import msgspec
import pytest

from rules.engine import ENGINE_VERSION, Engine
from rules.learning import LearningRecord, Verdict
from rules.observation import Observation
from rules.settings import EngineSettings
from rules.signal import Decision
from tests.support.detectors import shipped
from tests.unit.rules.scenario import DAY, HOUR, NOW, SECOND, START, Desk, fired, learned, observation, run

MINUTE = 60 * SECOND
HOME = {"country": "SG", "asn": 64_500}
AWAY = {"country": "RO", "asn": 64_999, "device": "burner"}
WORKDAYS = 5


def at_home(person: str) -> dict[str, object]:
    return {"actor": person, "device": f"{person}-laptop", **HOME}


def away(person: str) -> dict[str, object]:
    return {"actor": person, **AWAY}


@pytest.fixture(scope="module")
def taught() -> tuple[Desk, list[tuple[str, int, bytes]]]:
    desk, engine = learned()
    for one in [*_office_account(desk), *_bot(), *_one_chain(desk), *_small_accounts(desk), *_treasury()]:
        engine.process(one, history=True)
    return desk, [(change.entity, change.kind, change.state) for change in engine.snapshot()]


def _office_account(desk: Desk) -> Iterator[Observation]:
    """An account that pays by day, from Monday to Friday."""
    for day in range(28):
        if (day % 7) < WORKDAYS:
            for payment in range(8):
                at = NOW - 28 * DAY + day * DAY + (9 + payment) * HOUR
                yield desk.pay("office-1", at, asset="eth", actor="office", amount_usd=20_000.0 + 900.0 * payment)


def _bot() -> Iterator[Observation]:
    for n in range(200):
        yield observation("access.api_key_used", START + n * HOUR, actor="bot", country="SG", asn=64_510, device="rack")


def _one_chain(desk: Desk) -> Iterator[Observation]:
    for n in range(80):
        yield desk.pay("one-chain-1", START + n * 4 * HOUR, asset="eip155:1/slip44:60", actor="ops-batch")


def _small_accounts(desk: Desk) -> Iterator[Observation]:
    for n in range(300):
        yield desk.pay(f"user-{n % 6}", START + n * HOUR, amount_usd=150.0, balance_usd=9000.0, actor=f"user-{n % 6}")


def _treasury() -> Iterator[Observation]:
    """A contract wallet that calls the same two contracts."""
    for n in range(300):
        yield observation(
            "signing.requested",
            NOW - 63 * DAY + n * 5 * HOUR,
            account="main/safe-1",
            actor="treasury",
            destination=f"eip155:1:0xc0ffee0{n % 2}",
            destination_kind="contract",
        )


@pytest.fixture
def desk(taught: tuple[Desk, list[tuple[str, int, bytes]]]) -> Desk:
    return copy.deepcopy(taught[0])


@pytest.fixture
def engine(taught: tuple[Desk, list[tuple[str, int, bytes]]]) -> Engine:
    fresh = Engine(EngineSettings(salt="scenario"), shipped())
    for entity, kind, state in taught[1]:
        fresh.load(entity, kind, state)
    return fresh


def last(engine: Engine, *observations: Observation) -> set[str]:
    """What fired on the last of some observations."""
    return fired(run(engine, list(observations))[-1])


class TestMoney:
    def test_second_factor_reset_then_withdrawal(self, engine: Engine, desk: Desk) -> None:
        at = NOW + 10 * HOUR
        reset = observation("access.mfa_reset", at, **at_home("alice"))
        pay = desk.pay("hot-eth-1", at + 4 * HOUR, amount_usd=5000.0, **at_home("alice"))
        found = run(engine, [reset, pay])[-1]
        assert "second-factor-reset-then-withdrawal" in fired(found)
        assert found.decision is Decision.HOLD

    def test_a_withdrawal_the_day_after_a_reset(self, engine: Engine, desk: Desk) -> None:
        reset = observation("access.mfa_reset", NOW, **at_home("alice"))
        pay = desk.pay("hot-eth-1", NOW + 25 * HOUR, amount_usd=5000.0, **at_home("alice"))
        assert "second-factor-reset-then-withdrawal" not in last(engine, reset, pay)

    @pytest.mark.parametrize(("usd", "expected"), [(400_000.0, True), (8000.0, False)])
    def test_new_api_key_pays_stranger(self, engine: Engine, desk: Desk, usd: float, expected: bool) -> None:  # noqa: FBT001 -- a table of cases
        at = NOW + 10 * HOUR
        key = observation("access.api_key_created", at, **at_home("alice"))
        pay = desk.pay("hot-eth-1", at + HOUR, amount_usd=usd, **at_home("alice"))
        assert ("new-api-key-pays-stranger" in last(engine, key, pay)) is expected

    @pytest.mark.parametrize(("wait", "expected"), [(10 * MINUTE, True), (3 * HOUR, False)])
    def test_whitelisted_then_paid_at_once(self, engine: Engine, desk: Desk, wait: int, expected: bool) -> None:  # noqa: FBT001 -- a table of cases
        at, to = NOW + 10 * HOUR, desk.stranger()
        listed = observation("governance.destination_whitelisted", at, destination=to, **at_home("carol"))
        pay = desk.pay(
            "hot-eth-1",
            at + wait,
            destination=to,
            destination_kind="whitelisted",
            amount_usd=400_000.0,
            **at_home("carol"),
        )
        assert ("whitelisted-then-paid-at-once" in last(engine, listed, pay)) is expected

    def test_large_withdrawal_after_an_access_from_a_new_place(self, engine: Engine, desk: Desk) -> None:
        at = NOW + 10 * HOUR
        login = observation("access.login_succeeded", at, **away("alice"))
        pay = desk.pay("hot-eth-1", at + HOUR, amount_usd=400_000.0, **at_home("alice"))
        assert "takeover-large-withdrawal" in last(engine, login, pay)
        assert "takeover-large-withdrawal" not in last(engine, desk.pay("hot-eth-1", at + 2 * HOUR, **at_home("alice")))

    def test_a_burst_of_transfers_to_strangers(self, engine: Engine, desk: Desk) -> None:
        burst = [desk.pay("hot-eth-1", NOW + 10 * HOUR + n * 5 * SECOND, amount_usd=40_000.0) for n in range(60)]
        assert {"burst-of-small-transfers", "fan-out-to-strangers"} <= last(engine, *burst)

    def test_a_busy_wallet_in_its_usual_hour(self, engine: Engine, desk: Desk) -> None:
        usual = list(desk.busy_wallet(NOW, NOW + HOUR))
        found = {name for one in run(engine, usual) for name in fired(one)}
        assert not found & {"burst-of-small-transfers", "fan-out-to-strangers"}

    def test_a_chain_never_used(self, engine: Engine, desk: Desk) -> None:
        pay = desk.pay("one-chain-1", NOW + HOUR, asset="tron:0x2b6653dc/trc20:usdt", amount_usd=30_000.0)
        assert "chain-never-used" in last(engine, pay)
        known = desk.pay("one-chain-1", NOW + 2 * HOUR, asset="eip155:1/erc20:0x1", amount_usd=30_000.0)
        assert "chain-never-used" not in last(engine, known)

    def test_a_new_asset_in_size(self, engine: Engine, desk: Desk) -> None:
        assert "new-asset-in-size" in last(
            engine, desk.pay("hot-eth-1", NOW + HOUR, asset="wbtc", amount_usd=200_000.0)
        )
        assert "new-asset-in-size" not in last(
            engine, desk.pay("hot-eth-1", NOW + HOUR, asset="uni", amount_usd=9000.0)
        )

    def test_an_account_emptied(self, engine: Engine, desk: Desk) -> None:
        empty = desk.pay("user-1", NOW + HOUR, amount_usd=8800.0, balance_usd=9000.0, actor="user-1")
        assert "account-emptied" in last(engine, empty)
        usual = desk.pay("user-2", NOW + HOUR, amount_usd=150.0, balance_usd=9000.0, actor="user-2")
        assert "account-emptied" not in last(engine, usual)

    def test_a_large_transfer_at_an_odd_hour(self, engine: Engine, desk: Desk) -> None:
        sunday = NOW + 6 * DAY + 3 * HOUR
        by_day = desk.pay("office-1", NOW + 10 * HOUR, asset="eth", actor="office", amount_usd=900_000.0)
        at_night = desk.pay("office-1", sunday, asset="eth", actor="office", amount_usd=900_000.0)
        assert "large-transfer-at-odd-hour" not in fired(engine.assess(by_day))
        assert "large-transfer-at-odd-hour" in fired(engine.assess(at_night))

    def test_many_accounts_pay_one_new_address(self, engine: Engine, desk: Desk) -> None:
        thief = desk.stranger()
        drain = [
            desk.pay(f"user-{n}", NOW + HOUR + n * MINUTE, amount_usd=6000.0, actor=f"user-{n}", destination=thief)
            for n in range(6)
        ]
        assert "drain-wide-fan-in" in last(engine, *drain)


class TestAccess:
    def test_impossible_travel(self, engine: Engine) -> None:
        here = observation("access.login_succeeded", NOW + 10 * HOUR, **at_home("alice"))
        there = observation("access.login_succeeded", NOW + 10 * HOUR + 30 * MINUTE, **away("alice"))
        assert "impossible-travel" in last(engine, here, there)

    def test_a_flight(self, engine: Engine) -> None:
        here = observation("access.login_succeeded", NOW + 10 * HOUR, **at_home("alice"))
        there = observation("access.login_succeeded", NOW + 28 * HOUR, **away("alice"))
        assert "impossible-travel" not in last(engine, here, there)

    def test_a_session_that_moves(self, engine: Engine, desk: Desk) -> None:
        at = NOW + 10 * HOUR
        started = observation("access.session_started", at, session="s1", **at_home("alice"))
        phone = observation("access.session_started", at + HOUR, session="s1", actor="alice", country="SG", asn=64_777)
        moved = observation("access.session_started", at + 20 * HOUR, session="s1", **away("alice"))
        assert "session-moved-abroad" not in last(engine, started, phone)
        assert "session-moved-abroad" in last(engine, moved)
        pay = desk.pay("hot-eth-1", at + 21 * HOUR, session="s2", **away("bob"))
        begun = observation("access.session_started", at + HOUR, session="s2", **at_home("bob"))
        found = run(engine, [begun, pay])[-1]
        assert "stolen-session-withdrawal" in fired(found)
        assert found.decision is Decision.HOLD

    def test_an_api_key_from_elsewhere(self, engine: Engine) -> None:
        usual = observation("access.api_key_used", NOW + HOUR, actor="bot", country="SG", asn=64_510, device="rack")
        other = observation("access.api_key_used", NOW + 2 * HOUR, actor="bot", country="SG", asn=64_888, device="rack")
        assert "api-key-from-elsewhere" not in last(engine, usual)
        assert "api-key-from-elsewhere" in last(engine, other)

    def test_credentials_replaced_at_once(self, engine: Engine) -> None:
        kinds = ("access.mfa_reset", "access.password_changed", "access.device_enrolled", "access.api_key_created")
        changes = [observation(kind, NOW + 10 * HOUR + n * HOUR, **at_home("alice")) for n, kind in enumerate(kinds)]
        found = [fired(one) for one in run(engine, changes)]
        assert ["credentials-replaced-at-once" in one for one in found] == [False, False, False, True]

    def test_stuffing_and_the_one_that_works(self, engine: Engine) -> None:
        tries = [
            observation(
                "access.login_failed", NOW + 10 * HOUR + n * SECOND, actor=f"name-{n}", asn=64_666, country="RO"
            )
            for n in range(25)
        ]
        found = [fired(one) for one in run(engine, tries)]
        assert "credential-stuffing" in found[-1]
        assert "credential-stuffing" not in found[3]
        works = observation("access.login_succeeded", NOW + 10 * HOUR + MINUTE, actor="bob", asn=64_666, country="RO")
        assert "password-spray-success" in last(engine, works)

    def test_a_colleague_mistypes(self, engine: Engine) -> None:
        wrong = observation("access.login_failed", NOW + 10 * HOUR, **at_home("alice"))
        right = observation("access.login_succeeded", NOW + 10 * HOUR + SECOND, **at_home("bob"))
        assert not last(engine, wrong, right)

    def test_a_guessed_password(self, engine: Engine) -> None:
        wrong = [observation("access.login_failed", NOW + 10 * HOUR + n * SECOND, **away("alice")) for n in range(6)]
        right = observation("access.login_succeeded", NOW + 10 * HOUR + MINUTE, **away("alice"))
        assert "guessed-password" in last(engine, *wrong, right)

    def test_the_owner_guesses_on_his_own_machine(self, engine: Engine) -> None:
        wrong = [observation("access.login_failed", NOW + 10 * HOUR + n * SECOND, **at_home("alice")) for n in range(6)]
        right = observation("access.login_succeeded", NOW + 10 * HOUR + MINUTE, **at_home("alice"))
        assert "guessed-password" not in last(engine, *wrong, right)

    def test_a_device_of_many_people(self, engine: Engine) -> None:
        logins = [
            observation("access.login_succeeded", NOW + 10 * HOUR + n * HOUR, actor=f"mule-{n}", device="phone-farm")
            for n in range(7)
        ]
        found = [fired(one) for one in run(engine, logins)]
        assert "device-of-many-people" in found[-1]
        assert "device-of-many-people" not in found[1]


class TestGovernance:
    def test_many_changes_by_somebody_who_makes_none(self, engine: Engine) -> None:
        changes = [
            observation("governance.policy_changed", NOW + 9 * HOUR + n * 30 * MINUTE, **at_home("bob"))
            for n in range(7)
        ]
        assert "governance-burst" in last(engine, *changes)

    def test_a_quorum_is_looked_at_whoever_changes_it(self, engine: Engine) -> None:
        change = observation("governance.quorum_changed", NOW + 10 * HOUR, **at_home("carol"))
        assert last(engine, change) == {"quorum-changed"}

    def test_the_policy_owner_at_work(self, engine: Engine) -> None:
        assert not last(engine, observation("governance.policy_changed", NOW + 10 * HOUR, **at_home("carol")))

    def test_rules_changed_from_a_new_place(self, engine: Engine) -> None:
        change = observation("governance.role_changed", NOW + 10 * HOUR, **away("carol"))
        assert "governance-from-new-place" in last(engine, change)

    def test_rules_changed_after_a_reset(self, engine: Engine) -> None:
        reset = observation("access.mfa_reset", NOW + 9 * HOUR, **at_home("carol"))
        change = observation("governance.role_changed", NOW + 11 * HOUR, **at_home("carol"))
        assert "governance-after-second-factor-reset" in last(engine, reset, change)


class TestSigning:
    FACTS: ClassVar[dict[str, object]] = {
        "account": "main/safe-1",
        "actor": "treasury",
        "display_mismatch": False,
        "destination": "eip155:1:0xfeed",
        "destination_kind": "contract",
    }

    def ask(self, at: int, **facts: object) -> Observation:
        return observation("signing.requested", at, **self.FACTS | facts)

    def test_a_contract_never_called(self, engine: Engine) -> None:
        assert "signing-new-contract" in last(engine, self.ask(NOW + 10 * HOUR, contract_age_s=9e7))

    def test_young_contracts(self, engine: Engine) -> None:
        young, old = 5 * 86_400.0, 9e7
        approval = self.ask(NOW + 10 * HOUR, unlimited_approval=True, contract_age_s=young)
        assert "signing-approval-to-young-contract" in fired(engine.assess(approval))
        delegate = self.ask(NOW + 10 * HOUR, delegatecall=True, contract_age_s=young)
        assert "signing-delegatecall-into-young-contract" in fired(engine.assess(delegate))
        trusted = self.ask(NOW + 10 * HOUR, delegatecall=True, unlimited_approval=True, contract_age_s=old)
        assert not fired(engine.assess(trusted)) & {
            "signing-approval-to-young-contract",
            "signing-delegatecall-into-young-contract",
        }

    def test_owners_change_after_an_odd_access(self, engine: Engine) -> None:
        home = [
            observation("access.login_succeeded", NOW - 5 * DAY + n * HOUR, actor="treasury", device="desk", **HOME)
            for n in range(12)
        ]
        run(engine, home)
        login = observation("access.login_succeeded", NOW + 10 * HOUR, **away("treasury"))
        change = self.ask(NOW + 12 * HOUR, governance_call=True, contract_age_s=9e7)
        assert "signing-owner-change-after-access" in last(engine, login, change)

    def test_requests_pile_up(self, engine: Engine) -> None:
        asks = [
            self.ask(NOW + 10 * HOUR + n * 10 * SECOND, destination=f"eip155:1:0x{n:040x}", destination_kind="one_time")
            for n in range(25)
        ]
        assert "signing-request-burst" in last(engine, *asks)


class TestVerdicts:
    def judge(self, engine: Engine, one: Observation, verdict: str) -> None:
        found, _ = engine.process(one)
        told = Verdict(
            verdict=verdict,
            account=one.account,
            actor=one.actor,
            destination=one.destination,
            device=one.device,
            occurred_at_us=one.occurred_at_us,
            known_at_us=one.occurred_at_us + DAY,
            score=found.score,
            judged=found.judged,
        )
        row = LearningRecord(engine.sequence + 1, "verdict", None, msgspec.json.encode(told), ENGINE_VERSION, "")
        engine.apply(row)

    def test_a_condemned_destination_and_device_are_known_again(self, engine: Engine, desk: Desk) -> None:
        thief, innocent = desk.stranger(), desk.stranger()
        first = desk.pay("hot-eth-1", NOW + HOUR, destination=thief, amount_usd=20_000.0, **away("alice"))
        good = desk.pay("hot-eth-1", NOW + HOUR, destination=innocent, amount_usd=20_000.0, **at_home("bob"))
        self.judge(engine, first, "true_positive")
        self.judge(engine, good, "false_positive")
        again, fine = (
            desk.pay("hot-btc-1", NOW + 9 * DAY, asset="btc", destination=to, amount_usd=20_000.0)
            for to in (thief, innocent)
        )
        assert "paid-to-condemned-destination" in fired(engine.assess(again))
        assert "paid-to-condemned-destination" not in fired(engine.assess(fine))
        login = observation("access.login_succeeded", NOW + 9 * DAY, actor="dave", device="burner")
        assert "condemned-device-returns" in fired(engine.assess(login))
        other = observation("access.login_succeeded", NOW + 9 * DAY, actor="dave", device="bob-laptop")
        assert "condemned-device-returns" not in fired(engine.assess(other))
