"""A known path on outputs, told by an Esplora: split, merge with clean money, a peel chain, dust, a service, lies."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

import pytest
from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from service.chain.bitcoin_tracing import BitcoinTracing
from service.domain.bitcoin.network import REGTEST, address_of
from service.domain.errors import UnavailableError
from service.domain.forensics.labels import LabelKind, read_list
from service.flow import forensics
from tests.integration.forensics.conftest import Records
from tests.support.esplora import Esplora, esplora
from tests.support.regtest import COIN, Regtest, txid_of

pytestmark = pytest.mark.servers
CHAIN = REGTEST.chain
SINCE = datetime.fromtimestamp(1_600_000_000, UTC)


def script(name: str) -> bytes:
    """A pay-to-witness-script-hash of OP_TRUE with a name: anybody can spend it by showing the script."""
    return b"\x00\x20" + sha256(_inner(name)).digest()


def _inner(name: str) -> bytes:
    return bytes([len(name)]) + name.encode() + b"\x75\x51"


def at(name: str) -> str:
    return address_of(script(name), REGTEST) or ""


def spend(inputs: list[tuple[str, int, str]], outputs: list[tuple[str, int]]) -> bytes:
    made = Transaction(
        2,
        [TransactionInput(bytes.fromhex(txid), vout) for txid, vout, _ in inputs],
        [TransactionOutput(amount, Script(script(name))) for name, amount in outputs],
    )
    for one, (_, _, name) in zip(made.vin, inputs, strict=True):
        one.witness = Witness([_inner(name)])
    return bytes(made.serialize())


@pytest.fixture
def node(mined: Regtest) -> Iterator[tuple[Esplora, str]]:
    with esplora(mined) as found:
        yield found


@pytest.fixture
def source(node: tuple[Esplora, str]) -> Iterator[BitcoinTracing]:
    found = BitcoinTracing(node[1], REGTEST)
    yield found
    found.close()


def block(server: Esplora, *raws: bytes) -> list[str]:
    for raw in raws:
        assert server.submit(raw) is None
    server.mine()
    return [txid_of(raw) for raw in raws]


def trace(records: Records, source: BitcoinTracing, *victims: str) -> tuple[dict[str, Any], str]:
    incident = records.incident(*(f"{CHAIN}:{v}" for v in victims), since=SINCE)
    forensics.gather(records.tracer(outputs={CHAIN: source}), incident)
    with records.api.begin() as uow:
        found = uow.forensics.trace(incident)
    assert found is not None
    assert found.state == "complete"
    return json.loads(found.report or ""), found.drawing or ""


def test_the_known_path_is_found_with_every_share(
    records: Records, node: tuple[Esplora, str], source: BitcoinTracing
) -> None:
    server, _ = node
    (funded, clean) = block(
        server, server.chain.pay((script("victim"), 10 * COIN)), server.chain.pay((script("clean"), 6 * COIN))
    )
    (theft,) = block(
        server, spend([(funded, 0, "victim")], [("a", 4 * COIN), ("b", 5 * COIN), ("victim", COIN - 1000)])
    )
    (merged,) = block(server, spend([(clean, 0, "clean"), (theft, 0, "a")], [("c", 7 * COIN), ("d", 3 * COIN - 1000)]))
    (peeled,) = block(server, spend([(theft, 1, "b")], [("p1", COIN // 2), ("b2", 9 * COIN // 2 - 1000)]))
    block(server, spend([(merged, 0, "c")], [("mixer", 7 * COIN - 1000)]))
    (onward,) = block(server, spend([(peeled, 1, "b2")], [("end", 9 * COIN // 2 - 2000)]))
    with records.api.begin() as uow:
        found = read_list(f"# published\n{at('mixer')}\n".encode(), "Tumbler", LabelKind.MIXER)
        uow.forensics.add_list(found, "a sanctions list", date(2026, 10, 1), "per_ada")
    report, drawing = trace(records, source, at("victim"))
    (chain,) = report["chains"]
    known = {one["address"]: one for one in chain["addresses"]}

    def share(name: str, method: str) -> int:
        return int(known[at(name)]["received"][REGTEST.asset][method])

    assert chain["complete"]
    assert [m["transaction"] for m in chain["movements"] if m["theft"]] == [theft]
    assert at("victim") not in known, "the victim's change stays his"
    assert share("a", "fifo") == 4 * COIN
    assert share("c", "poison") == 7 * COIN
    assert share("c", "haircut") == 4 * COIN * 7 // 10
    assert share("c", "fifo") == COIN, "six clean ones come first"
    assert share("d", "fifo") == 3 * COIN - 1000
    assert share("end", "fifo") == 9 * COIN // 2 - 2000
    assert known[at("mixer")]["label"] == {
        "name": "Tumbler",
        "kind": "mixer",
        "source": "a sanctions list",
        "listed_on": "2026-10-01",
        "imported_by": "per_ada",
    }
    assert onward in {m["transaction"] for m in chain["movements"]}
    assert "Tumbler (mixer)" in drawing


def test_a_dust_storm_is_bounded_and_said(records: Records, node: tuple[Esplora, str], source: BitcoinTracing) -> None:
    server, _ = node
    (funded,) = block(server, server.chain.pay((script("stormed"), 10 * COIN)))
    dust = [(f"dust{number}", 600) for number in range(3_000)]
    (theft,) = block(server, spend([(funded, 0, "stormed")], [("real", 9 * COIN), *dust]))
    block(server, spend([(theft, 0, "real")], [("out", 9 * COIN - 1000)]))
    asked = len(server.asked)
    report, _ = trace(records, source, at("stormed"))
    (chain,) = report["chains"]
    assert at("out") in {one["address"] for one in chain["addresses"]}
    assert chain["cut"] == ["2951 smaller outputs of one transaction were not followed: 1770600 satoshis in all"]
    assert len(server.asked) - asked < 60


def test_what_is_not_yet_in_a_block_is_followed_too(
    records: Records, node: tuple[Esplora, str], source: BitcoinTracing
) -> None:
    server, _ = node
    (funded,) = block(server, server.chain.pay((script("hasty"), COIN)))
    raw = spend([(funded, 0, "hasty")], [("pool1", COIN - 1000)])
    assert server.submit(raw) is None
    assert server.submit(spend([(txid_of(raw), 0, "pool1")], [("pool2", COIN - 2000)])) is None
    report, _ = trace(records, source, at("hasty"))
    (chain,) = report["chains"]
    assert [m["block"] for m in chain["movements"]] == [None, None]
    assert {one["address"] for one in chain["addresses"]} == {at("pool1"), at("pool2")}
    server.mine()


def test_an_esplora_that_lies_is_not_believed(node: tuple[Esplora, str], source: BitcoinTracing) -> None:
    server, _ = node
    (funded,) = block(server, server.chain.pay((script("lied"), COIN)))
    (theft,) = block(server, spend([(funded, 0, "lied")], [("x", COIN - 1000)]))
    block(server, spend([(theft, 0, "x")], [("y", COIN - 2000)]))

    def richer(told: Any) -> Any:
        return told | {"fee": told["fee"] + 1} if isinstance(told, dict) and "vin" in told else told

    server.change["/tx/"] = richer
    with pytest.raises(UnavailableError, match="do not add up: it lies"):
        source.spending(theft, 0)
    server.change["/tx/"] = lambda told: (
        {"spent": True, "txid": funded, "status": {"confirmed": False}}
        if (isinstance(told, dict) and "spent" in told)
        else told
    )
    with pytest.raises(UnavailableError, match="does not spend it"):
        source.spending(theft, 0)
    server.change["/tx/"] = lambda told: "x" * 30_000_000
    with pytest.raises(UnavailableError, match="with more than"):
        source.spending(theft, 0)
