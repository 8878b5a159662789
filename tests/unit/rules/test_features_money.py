"""Windows, destinations, chains, ages of changes, and the memory of what was odd."""

import math

import pytest

from tests.unit.rules.scenario import DAY, HOUR, NOW, SECOND
from tests.unit.rules.watch import Watch

MINUTE = 60 * SECOND


def payer(days: int = 40, usd: float = 1000.0, **fields: object) -> Watch:
    """An account that pays four times a day, a fifth more or less than usual, to five destinations."""
    subject = Watch(NOW)
    for n in range(4 * days):
        subject.pay(usd * (0.8 + 0.1 * (n % 5)), 6 * HOUR, destination=f"d{n % 5}", **fields)
    return subject


class TestWindows:
    def test_they_decay_by_their_own_constant(self) -> None:
        subject = Watch(NOW).pay(100.0).pay(100.0, HOUR)
        for name, seconds in (
            ("1m", 60),
            ("10m", 600),
            ("1h", 3600),
            ("24h", 86_400),
            ("7d", 604_800),
            ("30d", 2_592_000),
        ):
            left = math.exp(-3600.0 / seconds)
            assert subject[f"count_{name}"].value == pytest.approx(1.0 + left, abs=1e-9)
            assert subject[f"value_{name}"].value == pytest.approx(100.0 * (1.0 + left), abs=1e-6)

    def test_a_burst_is_surprising_and_its_range_is_told(self) -> None:
        subject = payer()
        for _ in range(12):
            subject.pay(1000.0, MINUTE, destination="d1")
        found = subject["count_10m"]
        assert found.surprise > 2.0
        assert found.low <= found.high < found.value

    def test_one_large_payment_does_not_enter_the_score_through_the_windows(self) -> None:
        """Rules see the sum as it is; the score takes it with the payment clipped to what is usual."""
        subject = payer().pay(1_000_000.0, 6 * HOUR, destination="d1")
        frame, at = subject.engine.frame, 27
        assert subject["value_24h"].value > 1_000_000.0
        assert subject["value_24h"].surprise > 3.0
        assert frame.evidence[at] < 1.0

    def test_a_cancelled_transfer_leaves_the_values(self) -> None:
        subject = payer(2)
        before = subject["value_30d"].value
        subject.pay(5_000.0, HOUR).see("withdrawal.cancelled", account="a", amount_usd=5_000.0)
        assert subject.pay(1.0)["value_30d"].value == pytest.approx(before, rel=0.01)


class TestDestinations:
    def test_fan_out_to_strangers(self) -> None:
        subject = payer()
        for n in range(10):
            subject.pay(1000.0, MINUTE, destination=f"stranger{n}")
        assert subject["fan_out_1h"].value > 8.0
        assert subject["fan_out_1h"].surprise > 2.0

    def test_a_hot_wallet_pays_strangers_all_day(self) -> None:
        subject = Watch(NOW)
        for n in range(400):
            subject.pay(1000.0, 5 * MINUTE, destination=f"stranger{n}")
        assert subject["fan_out_1h"].value > 8.0
        assert subject["fan_out_1h"].surprise < 0.6

    def test_known_destinations_do_not_count(self) -> None:
        subject = payer()
        for n in range(10):
            subject.pay(1000.0, MINUTE, destination=f"d{n % 5}")
        assert subject["fan_out_1h"].value < 0.01
        assert subject["fan_out_1h"].surprise == 0.0

    def test_time_since_the_payer_whitelisted_it(self) -> None:
        subject = Watch(NOW, actor="alice")
        subject.see("governance.destination_whitelisted", destination="new").pay(1.0, HOUR, destination="new")
        assert subject["whitelist_to_withdrawal_s"].value == 3600.0

    def test_somebody_else_who_whitelists_it_does_not_hide_that(self) -> None:
        subject = Watch(NOW).see("governance.destination_whitelisted", account="a", destination="new")
        for other in "bc":
            subject.see("governance.destination_whitelisted", HOUR, account=other, destination="new")
        assert subject.pay(1.0, HOUR, destination="new")["whitelist_to_withdrawal_s"].value == 3 * 3600.0
        assert math.isnan(subject.pay(1.0, destination="other")["whitelist_to_withdrawal_s"].value)

    def test_whitelisting_is_no_payment(self) -> None:
        subject = Watch(NOW).see("governance.destination_whitelisted", account="a", destination="new")
        assert subject.pay(1.0, 2 * DAY, destination="new")["destination_age_s"].value == 0.0


class TestAssets:
    def test_a_chain_never_used(self) -> None:
        subject = payer(asset="eip155:1/slip44:60")
        assert subject["chain_new"].value == 0.0
        found = subject.pay(1000.0, 6 * HOUR, destination="d1", asset="solana:mainnet/token:x")["chain_new"]
        assert found.value == 1.0
        assert found.surprise > 1.5

    def test_an_asset_that_names_no_chain(self) -> None:
        assert math.isnan(payer(2, asset="usdc")["chain_new"].value)


class TestAges:
    def test_of_reset_and_key(self) -> None:
        subject = Watch(NOW, actor="alice").see("access.mfa_reset").see("access.api_key_created", HOUR).pay(1.0, HOUR)
        assert subject["mfa_reset_age_s"].value == 7200.0
        assert subject["api_key_age_s"].value == 3600.0

    def test_of_nothing(self) -> None:
        subject = Watch(NOW, actor="alice").pay(1.0)
        assert math.isnan(subject["mfa_reset_age_s"].value)
        assert math.isnan(subject["api_key_age_s"].value)

    def test_dormant_since_anything_happened(self) -> None:
        subject = Watch(NOW).pay(1.0).see("access.login_succeeded", 10 * DAY, account="a").pay(1.0, 20 * DAY)
        assert subject["dormant_days"].value == 20.0
        assert subject["seconds_since_last"].value == 30 * 86_400.0


class TestContagion:
    def test_what_was_odd_is_remembered_and_fades(self) -> None:
        subject = payer(actor="alice", device="laptop")
        quiet = subject["recent_surprise"].value
        subject.pay(2_000_000.0, HOUR, destination="thief", actor="alice", device="laptop")
        now = subject.pay(1000.0, HOUR, destination="d1", actor="alice", device="laptop")["recent_surprise"]
        assert now.value > quiet + 1.0
        later = subject.pay(1000.0, 8 * DAY, destination="d1", actor="alice", device="laptop")["recent_surprise"]
        assert later.value < 0.2 * now.value

    def test_it_follows_the_device_to_another_account(self) -> None:
        subject = payer(device="laptop").pay(2_000_000.0, HOUR, destination="thief", device="laptop")
        odd = subject.pay(10.0, HOUR, account="b", device="laptop")["recent_surprise"]
        calm = subject.pay(10.0, account="c", device="other")["recent_surprise"]
        assert odd.surprise > calm.surprise + 1.0
