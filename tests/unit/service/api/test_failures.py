"""Counting failed proofs: the limit, its window, bounded memory, and what counts as one client."""

import pytest

from service.api.failures import LIMIT, MAX_KEYS, WINDOW_S, Failures, address_of


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_nothing_waits_below_the_limit_and_everything_ends_with_the_window() -> None:
    clock = Clock()
    failures = Failures(monotonic=clock)
    for _ in range(LIMIT):
        assert failures.wait_s("a") == 0
        failures.note("a")
    clock.at += 10
    assert failures.wait_s("a") == pytest.approx(WINDOW_S - 10)
    assert failures.wait_s("b") == 0
    clock.at += WINDOW_S
    assert failures.wait_s("a") == 0
    failures.note("a")
    assert failures.wait_s("a") == 0


def test_memory_is_bounded_and_the_longest_silent_goes_first() -> None:
    failures = Failures(limit=1, monotonic=Clock())
    for number in range(MAX_KEYS + 1):
        failures.note(str(number))
    assert failures.wait_s("0") == 0
    assert failures.wait_s("1") > 0
    assert len(failures._counts) == MAX_KEYS


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 9), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("/run/a.sock", 0), "/run/a.sock"),
        (None, ""),
    ],
)
def test_a_client_is_its_address_or_its_ipv6_network(client: object, counted: str) -> None:
    assert address_of({"client": client}) == counted
