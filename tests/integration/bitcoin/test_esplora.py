"""The Esplora client against a server that errs: every answer is bounded, typed, and of the network that was asked for."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from service.chain.bitcoin import EsploraChain, bitcoin_chains
from service.domain.bitcoin.network import MAIN, REGTEST
from service.domain.errors import InputError, NotFoundError, RefusedByOtherSideError, UnavailableError
from tests.support.esplora import Esplora
from tests.support.regtest import ANYONE, COIN, txid_of

pytestmark = pytest.mark.servers
NOBODY = "00" * 32


@pytest.fixture
def chain(node: tuple[Esplora, str]) -> Iterator[EsploraChain]:
    found = EsploraChain(node[1], REGTEST)
    yield found
    found.close()


def test_what_it_knows_and_does_not_know(node: tuple[Esplora, str], chain: EsploraChain) -> None:
    server, _ = node
    raw = server.chain.pay((b"\x00\x14" + bytes(20), COIN))
    name = txid_of(raw)
    assert chain.depth(name) is None
    assert chain.pooled(name) is None
    assert chain.send(raw) == chain.send(raw) == name, "what is known already is sent"
    assert chain.depth(name) == 0
    pooled = chain.pooled(name)
    assert pooled is not None
    assert pooled.fee == 10_000
    server.mine()
    assert chain.depth(name) == 1
    assert chain.pooled(name) is None
    assert chain.transaction(name) == raw
    assert chain.spender(name, 0) is None
    server.change["/tx/"] = lambda told: None if isinstance(told, dict) and "spent" in told else told
    assert chain.spender(NOBODY, 0) is None
    with pytest.raises(UnavailableError, match="which it has"):
        chain.spender(name, 0)
    server.change.clear()
    with pytest.raises(NotFoundError):
        chain.transaction(NOBODY)
    with pytest.raises(RefusedByOtherSideError, match="missingorspent"):
        chain.send(raw)


def test_a_block_that_left_the_best_chain_counts_as_none(node: tuple[Esplora, str], chain: EsploraChain) -> None:
    server, _ = node
    raw = server.chain.pay((ANYONE, COIN))
    assert chain.send(raw)
    server.mine()
    server.change[f"/tx/{txid_of(raw)}/status"] = lambda told: told | {"block_hash": "ee" * 32}
    assert chain.depth(txid_of(raw)) == 0
    server.change[f"/tx/{txid_of(raw)}/status"] = lambda told: told | {"block_height": 10**6}
    with pytest.raises(UnavailableError, match="but its best is"):
        chain.depth(txid_of(raw))


def test_another_network_is_refused_before_anything_is_asked(node: tuple[Esplora, str]) -> None:
    server, url = node
    wrong = EsploraChain(url, MAIN)
    for ask in (wrong.tip, lambda: wrong.unspent("x"), lambda: wrong.send(server.chain.pay((ANYONE, COIN)))):
        with pytest.raises(UnavailableError, match="serves another chain than main"):
            ask()
    wrong.close()
    assert not server.pool


LIES: dict[str, tuple[str, Any]] = {
    "no number": ("/blocks/tip/height", lambda _: "many"),
    "another form": ("/fee-estimates", lambda _: "[1, 2]"),
    "a fee that nobody pays": ("/fee-estimates", lambda _: {"1": 2_000.0}),
    "a negative fee": ("/fee-estimates", lambda _: {"1": -1.0}),
    "a coin worth more than all": (
        "/address/",
        lambda _: [{"txid": NOBODY, "vout": 0, "value": 22 * 10**14, "status": {"confirmed": False}}],
    ),
    "in a block, but not in which": (
        "/address/",
        lambda _: [{"txid": NOBODY, "vout": 0, "value": 1, "status": {"confirmed": True}}],
    ),
    "spent, but not by what": ("/tx/", lambda _: {"spent": True}),
    "no bytes": ("/tx/", lambda _: "zz"),
    "more than is read": ("/", lambda _: "1" * 30_000_000),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_cannot_be_is_unavailable_and_names_no_key(node: tuple[Esplora, str], lie: str) -> None:
    server, url = node
    chain = EsploraChain(url, REGTEST)
    chain.tip()
    path, change = LIES[lie]
    server.change[path] = change
    said: list[str] = []
    for ask in (chain.tip, lambda: chain.rate(1), lambda: chain.unspent("x"), lambda: chain.spender(NOBODY, 0),
                lambda: chain.transaction(NOBODY)):  # fmt: skip
        with suppress(NotFoundError):
            try:
                ask()
            except UnavailableError as error:
                said.append(str(error))
    assert said
    assert not [one for one in said if url in one]
    chain.close()


def test_the_fee_of_the_next_longer_target_counts(node: tuple[Esplora, str], chain: EsploraChain) -> None:
    assert chain.rate(1) == 5_000
    assert chain.rate(2) == 2_000
    assert chain.rate(100) == 1_000, "where nothing is told, the least that is relayed"


def test_only_bitcoin_s_endpoints_are_taken_and_a_network_that_nobody_knows_is_refused() -> None:
    found = bitcoin_chains({"eip155:1": "http://127.0.0.1:1", REGTEST.chain: "http://127.0.0.1:2"})
    assert list(found) == [REGTEST.chain]
    found[REGTEST.chain].close()
    with pytest.raises(InputError, match="no Bitcoin network"):
        bitcoin_chains({"bip122:feed": "http://127.0.0.1:1"})
