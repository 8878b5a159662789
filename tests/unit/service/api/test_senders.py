"""Unverified deliveries: they cost the connection nothing, are braked by address, and silence nobody who was right."""

import pytest

from service.api.connections import Bucket, OpenConnection
from service.api.failures import MAX_KEYS, Failures
from service.api.senders import Senders
from service.custody.standard.webhooks import StandardReceiver
from service.domain.errors import InputError, RateLimitedError, UnauthenticatedError, UnavailableError
from service.domain.ids import ConnectionId
from service.ports.custody import ConnectionConfig
from tests.support.intake import SECRET

LIMIT = 3


def connection(name: str = "std", rate: float = 1.0) -> OpenConnection:
    config = ConnectionConfig(ConnectionId(name), "standard", {}, lambda _: SECRET, ("webhook_secret",))
    return OpenConnection(config, StandardReceiver(config), None, Bucket(rate), b"")


def senders() -> Senders:
    return Senders(Failures(limit=LIMIT, monotonic=lambda: 100.0))


def send(known: Senders, to: OpenConnection, client: str, error: Exception | None = None) -> None:
    """One delivery, verified unless `error` is what verifying raises."""
    known.admit(to, client)
    with known.verifying(to, client):
        if error is not None:
            raise error


def forge(known: Senders, to: OpenConnection, client: str) -> None:
    with pytest.raises(UnauthenticatedError):
        send(known, to, client, UnauthenticatedError("no"))


def test_a_flood_of_forgeries_leaves_the_connection_its_rate() -> None:
    known, std = senders(), connection()
    for number in range(50):
        forge(known, std, f"198.51.100.{number}")
    send(known, std, "192.0.2.1")
    send(known, std, "192.0.2.1")
    with pytest.raises(RateLimitedError, match="this connection sends faster"):
        send(known, std, "192.0.2.1")


def test_what_is_verified_and_malformed_is_charged_and_what_is_our_fault_is_not() -> None:
    known, std = senders(), connection()
    for _ in range(5):
        with pytest.raises(UnavailableError):
            send(known, std, "192.0.2.1", UnavailableError("keys"))
    with pytest.raises(InputError):
        send(known, std, "192.0.2.1", InputError("bad"))
    send(known, std, "192.0.2.1")
    with pytest.raises(RateLimitedError):
        send(known, std, "192.0.2.1")


def test_an_address_that_only_forges_is_braked_for_that_connection_alone() -> None:
    known, std = senders(), connection()
    for _ in range(LIMIT):
        forge(known, std, "198.51.100.1")
    with pytest.raises(RateLimitedError, match="unverified") as braked:
        known.admit(std, "198.51.100.1")
    assert braked.value.retry_after_s == 60
    send(known, std, "192.0.2.1")
    send(known, connection("other"), "198.51.100.1")


def test_an_address_that_was_right_before_is_never_braked_by_others_behind_it() -> None:
    known, std = senders(), connection()
    send(known, std, "192.0.2.1")
    for _ in range(LIMIT * 2):
        forge(known, std, "192.0.2.1")
    send(known, std, "192.0.2.1")


def test_an_address_that_the_server_does_not_tell_is_not_braked() -> None:
    known, std = senders(), connection()
    for _ in range(LIMIT * 2):
        forge(known, std, "")
    send(known, std, "")


def test_memory_is_bounded_and_the_longest_silent_goes_first() -> None:
    known, std = senders(), connection(rate=1e6)
    for number in range(MAX_KEYS):
        send(known, std, str(number))
    send(known, std, "0")
    send(known, std, "one more")
    assert len(known._proven) == MAX_KEYS
    assert "std 0" in known._proven
    assert "std 1" not in known._proven


def test_what_can_wait_leaves_a_quarter_of_the_burst_to_what_cannot() -> None:
    bucket = Bucket(20.0)
    taken = 0
    while not bucket.wait_s():
        taken += 1
        assert taken < 100
    assert taken >= 30
    for _ in range(10):
        bucket.take()


def test_the_slowest_connection_may_send_one() -> None:
    bucket = Bucket(0.1)
    assert bucket.wait_s() == 0.0
    assert bucket.wait_s() > 9.0
    with pytest.raises(RateLimitedError):
        bucket.take()
