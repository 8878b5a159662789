"""Whoever answers one byte at a time, in whichever part of an answer, has no more of our time than any other."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpcore
import httpx
import pytest

from service import outgoing
from service.api.authority_client import UnixSocketAuthority
from service.chain.bitcoin import EsploraChain
from service.chain.evm import JsonRpcChain
from service.chain.safe_service import HttpSafeService
from service.custody.fireblocks.keyset import KeySet
from service.custody.standard.calls import StandardCalls
from service.domain.account import AccountRef
from service.domain.bitcoin.network import network_of
from service.domain.errors import UnavailableError, UnknownOutcomeError
from service.domain.ids import ConnectionId
from service.domain.safe import SafeTransaction
from service.domain.secrets import Secret
from service.notifiers import smtp
from service.notifiers.http import SlackChannel
from service.notifiers.smtp import SmtpChannel
from service.outgoing import WITHIN_S
from service.ports.custody import ConnectionConfig, GateHolds, Pace, Unpaced
from service.ports.notify import Letter
from tests.support.dripping import STEP_S, dripping
from workers.pace import SHORT_PATIENCE_S

ADDRESS = "0x" + "ab" * 20
BITCOIN = "bip122:000000000019d6689c085ae165831e93"
LETTER = Letter("key-1", "ada@example.org", "s", "b", {})
SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Ask = Callable[[str], object]


class Hurried(Unpaced):
    """For whoever has the last free child."""

    def turn(self, per_s: float) -> float:
        return SHORT_PATIENCE_S + 0 * per_s


def hold(url: str, pace: Pace | None = None) -> object:
    settings = {"action_url": url, "status_url": url}
    config = ConnectionConfig(ConnectionId("con-a"), "standard", settings, lambda _: SECRET, (), pace=pace or Unpaced())
    account = AccountRef(ConnectionId("con-a"), "hot-1")
    return StandardCalls(config, cast("GateHolds", None)).hold_outgoing(account, key="k")


def propose(url: str) -> None:
    HttpSafeService(url).propose(SafeTransaction(1, ADDRESS, ADDRESS, b"", 7), ADDRESS, bytes(65))


def key(url: str) -> object:
    keys = KeySet(url)
    keys.fetch()
    return keys.key("kid")


RECEIVER = "a receiver of messages"
"""What it says beside its status is not read."""
ASKED: dict[str, tuple[Ask, type[Exception]]] = {
    "a platform": (hold, UnknownOutcomeError),
    "a platform's keys": (key, UnavailableError),
    "an EVM node": (lambda url: JsonRpcChain(url).balance(ADDRESS), UnavailableError),
    "an EVM node that is sent something": (lambda url: JsonRpcChain(url).send(b"\x02" + bytes(9)), UnknownOutcomeError),
    "an Esplora server": (lambda url: EsploraChain(url, network_of(BITCOIN)).tip(), UnavailableError),
    "a Safe transaction service": (lambda url: HttpSafeService(url).pending(ADDRESS, 0), UnavailableError),
    "one that is proposed to": (propose, UnknownOutcomeError),
    RECEIVER: (lambda url: SlackChannel(Secret(url)).deliver(LETTER), UnknownOutcomeError),
}


PLACES = [(who, place) for who in ASKED for place in ("status", "field", "content")]


@pytest.mark.parametrize(("who", "place"), [one for one in PLACES if one != (RECEIVER, "content")])
def test_an_answer_that_drips_is_a_lost_one(who: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, error = ASKED[who]
    with dripping(place) as drip:
        monkeypatch.setattr(outgoing, "time", SimpleNamespace(monotonic=drip.monotonic))
        with pytest.raises(error):
            ask(f"http://127.0.0.1:{drip.port}")
    assert drip.requests, "the request arrived"
    assert drip.now <= WITHIN_S + STEP_S


@pytest.mark.parametrize("place", ["status", "content"])
def test_little_patience_is_for_the_whole_exchange(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping(place) as drip:
        monkeypatch.setattr(outgoing, "time", SimpleNamespace(monotonic=drip.monotonic))
        with pytest.raises(UnknownOutcomeError):
            hold(f"http://127.0.0.1:{drip.port}", Hurried())
    assert drip.requests, "the request arrived"
    assert drip.now <= SHORT_PATIENCE_S + STEP_S


def test_what_is_sent_is_given_up_in_time_whoever_takes_it_slowly() -> None:
    clock, sizes = SimpleNamespace(now=0.0), list[int]()

    class Slow(httpcore.NetworkStream):
        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            clock.now += timeout or 0.0
            sizes.append(len(buffer))

        def start_tls(self, *_: object, **__: object) -> "Slow":
            return self

    def send(line: httpcore.NetworkStream) -> list[int]:
        clock.now = 0.0
        sizes.clear()
        with pytest.raises(httpcore.WriteTimeout):
            line.write(bytes(100_000), outgoing._Left(10.0, WITHIN_S, WITHIN_S))
        assert clock.now == WITHIN_S
        return list(sizes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outgoing, "time", SimpleNamespace(monotonic=lambda: clock.now))
        plain = outgoing._Line(Slow())
        assert send(plain) == [1024] * 3, "what one wait is enough for"
        assert send(plain.start_tls(outgoing.trusted())) == [16 * 1024] * 3, "one record"


def test_what_a_receiver_says_beside_its_status_keeps_nobody() -> None:
    with dripping("content") as drip:
        assert SlackChannel(Secret(f"http://127.0.0.1:{drip.port}")).deliver(LETTER) == {"status": "200"}


@pytest.mark.parametrize(("place", "error"), [("greeting", UnavailableError), ("after_data", UnknownOutcomeError)])
def test_a_mail_server_that_drips_is_given_up(
    place: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with dripping(place) as drip:
        monkeypatch.setattr(smtp, "time", SimpleNamespace(monotonic=drip.monotonic))
        with pytest.raises(error):
            SmtpChannel("127.0.0.1", drip.port, "p@example.org", security="none").deliver(LETTER)
    assert drip.now <= WITHIN_S + 2 * STEP_S, "it is told goodbye, and that ends at once too"


def test_a_mail_server_that_never_ends_an_answer_fills_no_memory() -> None:
    with dripping("pouring") as pouring:
        channel = SmtpChannel("127.0.0.1", pouring.port, "p@example.org", security="none", timeout_s=60, within_s=60)
        with pytest.raises(UnavailableError, match="reply is too long"):
            channel.deliver(LETTER)


def test_the_authority_is_given_no_more_time_and_one_that_opens_no_lines_is_left_as_it_is() -> None:
    authority = UnixSocketAuthority(Path("nowhere"))
    assert type(authority._client._transport) is type(outgoing.bounded(httpx.HTTPTransport()))
    authority.close()
    mock = httpx.MockTransport(lambda _: httpx.Response(200))
    assert outgoing.bounded(mock) is mock


def test_the_environments_proxies_are_used_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping("status") as drip:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{drip.port}")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setattr(outgoing, "time", SimpleNamespace(monotonic=drip.monotonic))
        with pytest.raises(UnavailableError):
            JsonRpcChain("http://node.test/").balance(ADDRESS)
    assert drip.requests[0].startswith(b"POST http://node.test/")
