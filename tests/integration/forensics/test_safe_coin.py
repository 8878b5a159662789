"""Coin that leaves a Safe is followed: paid by its owners, by a usurper of it, and on through a Safe of the thief's."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32

from service.chain.evm_tracing import EvmTracing
from service.chain.json_rpc import Answer, JsonRpc
from service.domain.ids import IncidentId
from service.domain.safe import ZERO
from service.flow import forensics
from tests.integration.forensics.conftest import Records
from tests.support.anvil import CHAIN, ETHER, ROOT, Anvil, data_of
from tests.support.traced_chain import COIN, TracedChain

pytestmark = pytest.mark.servers
A, B, C, D, CLEAN = ("0x" + f"{n:02x}" * 20 for n in range(0x31, 0x36))
FIELDS = "address,uint256,bytes,uint8,uint256,uint256,uint256,address,address"
USURPER = ROOT / "drills" / "contracts" / "Usurper.json"


class Theft:
    """Two Safes of one owner each: the victim's with 100 coins, and one that the thief launders through."""

    def __init__(self, anvil: TracedChain) -> None:
        self.chain = Anvil(anvil.url, anvil.client)
        self.owner: LocalAccount = Account.create()
        self.victim = self.chain.safe([self.owner.address], 1)
        self.mule = self.chain.safe([self.owner.address], 1)
        anvil.have(self.victim, 100 * ETHER)
        anvil.have(CLEAN, 60 * ETHER)

    def executes(self, safe: str, to: str, wei: int, data: bytes = b"", operation: int = 0) -> None:
        fields = (to, wei, data, operation, 0, 0, 0, ZERO, ZERO)
        nonce = int.from_bytes(self.chain.call(safe, "nonce()"), "big")
        digest = self.chain.call(safe, f"getTransactionHash({FIELDS},uint256)", *fields, nonce)
        signature = bytes(self.owner.unsafe_sign_hash(Hash32(digest)).signature)
        self.chain.send(safe, data_of(f"execTransaction({FIELDS},bytes)", *fields, signature))

    def usurp_and_sweep(self, to: str, wei: int) -> None:
        """What was done to Bybit: owners sign a delegatecall that looks like a transfer, then anybody sweeps."""
        usurper = self.chain.deploy(USURPER)
        self.executes(self.victim, usurper, 0, data_of("transfer(address,uint256)", usurper, 0), operation=1)
        self.chain.send(self.victim, data_of("sweep(address,address,uint256)", ZERO, to, wei))


@pytest.fixture
def theft(anvil: TracedChain) -> Theft:
    """40 are paid by signatures, through the thief's Safe where 60 clean ones come in; the other 60 are swept."""
    found = Theft(anvil)
    found.executes(found.victim, A, 40 * ETHER)
    found.usurp_and_sweep(B, 60 * ETHER)
    anvil.pay(A, found.mule, 40 * ETHER)
    anvil.pay(CLEAN, found.mule, 60 * ETHER)
    found.executes(found.mule, C, 50 * ETHER)
    anvil.pay(B, D, 60 * ETHER)
    return found


def traced(records: Records, anvil: TracedChain, incident: IncidentId) -> dict[str, Any]:
    with closing(EvmTracing(anvil.url, CHAIN)) as source:
        forensics.gather(records.tracer(accounts={CHAIN: source}), incident, anew=True)
    with records.api.begin() as uow:
        found = uow.forensics.trace(incident)
    assert found is not None
    assert found.state == "complete"
    report: dict[str, Any] = json.loads(found.report or "")
    return report


@contextmanager
def without(*methods: str) -> Iterator[None]:
    """Let the endpoint have no such methods."""
    asked = JsonRpc.answer

    def answer(self: JsonRpc, method: str, params: Any) -> Answer:
        return asked(self, "portcullis_noSuchMethod" if method in methods else method, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JsonRpc, "answer", answer)
        yield


def received(report: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {
        one["address"]: tuple(int(one["received"][COIN][way]) // ETHER for way in ("poison", "haircut", "fifo"))
        for one in report["chains"][0]["addresses"]
    }


def test_coin_of_a_safe_is_followed_with_every_share_as_far_as_the_endpoint_can_tell(
    records: Records, anvil: TracedChain, theft: Theft
) -> None:
    incident = records.incident(f"{CHAIN}:{theft.victim}", since=datetime.now(UTC) - timedelta(hours=1))
    for lacking in ((), ("debug_traceTransaction",)):
        with without(*lacking):
            report = traced(records, anvil, incident)
        (chain,) = report["chains"]
        assert [m["theft"] for m in chain["movements"]].count(True) == 2, lacking
        assert received(report) == {
            A: (40, 40, 40), B: (60, 60, 60), D: (60, 60, 60), theft.mule: (40, 40, 40), C: (50, 20, 40),
        }  # fmt: skip
        rests = [one["resting"][COIN]["haircut"] for one in chain["addresses"] if COIN in one["resting"]]
        assert sum(map(int, rests)) == 100 * ETHER, "stolen coin is neither made nor lost"
        assert (chain["complete"], chain["inside"]["not_told"], report["notes"]) == (True, 0, [])
        assert chain["inside"]["looked_into"] >= 4
    with without("debug_traceTransaction", "trace_transaction"):
        report = traced(records, anvil, incident)
    found, (chain,), (said,) = received(report), report["chains"], report["notes"]
    assert {A, C, theft.mule} <= set(found), "Safes' own logs tell of plain payments"
    assert not {B, D} & set(found), "a usurped Safe logs nothing"
    assert (chain["complete"], chain["inside"]["looked_into"]) == (False, 0)
    assert chain["inside"]["not_told"] >= 3
    assert "could not be told" in said
    assert "set an endpoint with debug_traceTransaction or trace_transaction" in said
    assert chain["inside"]["transactions"][0] in said
