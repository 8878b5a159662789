"""Travel, sessions, shared devices and networks."""

import math

import pytest

from tests.unit.rules.scenario import DAY, HOUR, NOW, SECOND
from tests.unit.rules.watch import Watch

LOGIN = "access.login_succeeded"
FAILED = "access.login_failed"


def office(**fields: object) -> Watch:
    """Two hundred people, each at home."""
    subject = Watch(NOW)
    for n in range(400):
        home = {"actor": f"p{n % 200}", "ip": f"10.{n % 200}.0.1", "device": f"d{n % 200}"}
        subject.see(FAILED if n % 10 == 0 else LOGIN, HOUR // 4, **home)
    subject.always = fields
    return subject


def traveller(**fields: object) -> Watch:
    subject = Watch(NOW, actor="alice")
    for _ in range(30):
        subject.see(LOGIN, 8 * HOUR, country="SG", **fields)
    return subject


class TestTravel:
    @pytest.mark.parametrize(
        ("to", "after", "impossible"),
        [("US", HOUR, True), ("US", 20 * HOUR, False), ("MY", 60 * SECOND, False), ("SG", SECOND, False)],
    )
    def test_nobody_flies_faster_than_an_aircraft(self, to: str, after: int, impossible: bool) -> None:  # noqa: FBT001 -- a table of cases
        found = traveller().see(LOGIN, after, country=to)["travel_speed_kmh"]
        assert (found.value > 1000.0) is impossible
        assert (found.surprise > 1.0) is impossible

    def test_a_failed_login_moves_nobody(self) -> None:
        found = traveller().see(FAILED, HOUR, country="US").see(LOGIN, HOUR, country="SG")["travel_speed_kmh"]
        assert found.value == 0.0

    def test_the_owner_is_the_odd_one_after_the_thief(self) -> None:
        found = traveller().see(LOGIN, HOUR, country="US").see(LOGIN, HOUR, country="SG")["travel_speed_kmh"]
        assert found.surprise > 0.5

    @pytest.mark.parametrize("country", [None, "ZZ", "Singapore"])
    def test_an_unknown_country_is_no_place(self, country: str | None) -> None:
        assert math.isnan(traveller().see(LOGIN, HOUR, country=country)["travel_speed_kmh"].value)

    def test_the_first_access_came_from_nowhere(self) -> None:
        assert math.isnan(Watch(NOW, actor="bob").see(LOGIN, country="SG")["travel_speed_kmh"].value)

    def test_who_seems_to_fly_every_day_is_using_a_tunnel(self) -> None:
        subject = traveller()
        first = subject.see(LOGIN, HOUR, country="US")["travel_speed_kmh"].surprise
        for n in range(40):
            subject.see(LOGIN, HOUR, country=("SG", "US")[n % 2])
        assert subject["travel_speed_kmh"].surprise < 0.5 * first


class TestSessions:
    def test_a_copied_session_comes_from_elsewhere(self) -> None:
        subject = traveller(session="s1", ip="203.0.113.7")
        assert subject["session_moved"].value == 0.0
        assert subject["session_new"].value == 0.0
        found = subject.see("access.api_key_used", HOUR, country="SG", session="s1", ip="198.51.100.7")
        assert found["session_moved"].value == 1.0
        assert found["session_moved"].surprise > 1.0

    def test_the_same_network_block_is_the_same_place(self) -> None:
        found = traveller(session="s1", ip="203.0.113.7").see(LOGIN, HOUR, session="s1", ip="203.0.113.99")
        assert found["session_moved"].value == 0.0

    def test_a_new_session_says_nothing_about_moving(self) -> None:
        found = traveller(session="s1").see(LOGIN, HOUR, session="s2")
        assert found["session_new"].value == 1.0
        assert math.isnan(found["session_moved"].value)

    def test_six_sessions_are_remembered(self) -> None:
        subject = Watch(NOW, actor="alice")
        for n in range(7):
            subject.see(LOGIN, HOUR, session=f"s{n}")
        assert subject.see(LOGIN, HOUR, session="s6")["session_new"].value == 0.0
        assert subject.see(LOGIN, HOUR, session="s1")["session_new"].value == 0.0
        assert subject.see(LOGIN, HOUR, session="s0")["session_new"].value == 1.0


class TestCrowds:
    def test_many_actors_failing_from_one_network(self) -> None:
        subject = office(ip="203.0.113.7")
        for n in range(8):
            subject.see(FAILED, SECOND, actor=f"user{n}")
        found = subject["failed_actors_10m"]
        assert 6.0 <= found.value <= 11.0
        assert found.surprise > 2.0
        assert subject.see(FAILED, HOUR, actor="user0")["failed_actors_10m"].value == 1.0

    def test_one_actor_failing_often_is_one(self) -> None:
        subject = Watch(NOW, ip="203.0.113.7", actor="alice")
        for _ in range(8):
            subject.see(FAILED, SECOND)
        assert subject["failed_actors_10m"].value == 1.0
        assert subject["failed_actors_10m"].surprise == 0.0

    def test_a_login_that_succeeds_counts_the_others(self) -> None:
        subject = Watch(NOW, ip="203.0.113.7").see(FAILED, actor="bob").see(FAILED, actor="carol")
        assert subject.see(LOGIN, SECOND, actor="alice")["failed_actors_10m"].value == 2.0

    def test_the_same_device_on_many_accounts(self) -> None:
        subject = office(device="phone")
        for n in range(5):
            subject.see(LOGIN, HOUR, actor=f"mule{n}")
            assert subject["device_accounts_30d"].value == n + 1.0
        assert subject["device_accounts_30d"].surprise > 2.0
        assert subject.see(LOGIN, HOUR, actor="mule0")["device_accounts_30d"].surprise == 0.0
        assert subject.see(LOGIN, 31 * DAY, actor="mule0")["device_accounts_30d"].value == 1.0

    def test_an_actor_and_his_account_are_one_user(self) -> None:
        subject = Watch(NOW, device="phone", actor="alice").see(LOGIN).pay(5.0, HOUR)
        assert subject["device_accounts_30d"].value == 1.0

    def test_a_busy_network_is_not_surprised_by_its_usual_users(self) -> None:
        subject = office(ip="203.0.113.7")
        for n in range(400):
            subject.see(LOGIN, HOUR // 4, actor=f"user{n % 25}")
        assert 20.0 <= subject["network_actors_24h"].value <= 30.0
        assert subject["network_actors_24h"].surprise < 0.5
        for n in range(40):
            subject.see(LOGIN, SECOND, actor=f"stranger{n}")
        assert subject["network_actors_24h"].value > 40.0
        assert subject["network_actors_24h"].surprise > 0.6
