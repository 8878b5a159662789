"""The chain takes real signed transactions, and a theft is beaten only by an empty balance."""

import secrets
from typing import Any

import pytest
from eth_account import Account as EthAccount

from tests.integration.drills.harness import COLD, SAFE, THIEF, USDT, Drill, OtherSide

GAS = {"maxFeePerGas": 30 * 10**9, "maxPriorityFeePerGas": 10**9, "chainId": 1, "type": 2}
ETHER = 10**18


@pytest.fixture
def owner() -> Any:
    return EthAccount.from_key(secrets.token_bytes(32))


def world_of(make_drill: Any, owner: Any, **changes: object) -> Drill:
    hot = {"id": "0", "name": "hot-eth-1", "addresses": [f"eip155:1:{owner.address}"], "key_stolen": True}
    balances = {"ETH": str(10 * ETHER), "USDT_ERC20": "5000000"}
    cold = {"id": "1", "name": "cold-eth-1", "addresses": [COLD], "balances": {"ETH": "0"}}
    made: Drill = make_drill(accounts=[hot | {"balances": balances}, cold], **changes)
    return made


def sign(owner: Any, **fields: object) -> str:
    filled = GAS | {"gas": 21_000, "nonce": 0, "value": 0} | fields
    filled["to"] = bytes.fromhex(str(filled["to"])[2:])
    return "0x" + bytes(owner.sign_transaction(filled).raw_transaction).hex()


def address(caip10: str) -> str:
    return caip10.split(":")[2]


def test_a_signed_sweep_arrives_and_is_told(make_drill: Any, owner: Any, other_side: OtherSide) -> None:
    drill = world_of(make_drill, owner)
    data = "0xa9059cbb" + address(SAFE)[2:].rjust(64, "0") + f"{5_000_000:064x}"
    token = drill.rpc("eth_sendRawTransaction", sign(owner, to=USDT, data=data, gas=90_000))["result"]
    native = drill.rpc("eth_sendRawTransaction", sign(owner, to=address(SAFE), value=9 * ETHER, nonce=1))["result"]
    assert [drill.rpc("eth_getTransactionReceipt", h)["result"]["status"] for h in (token, native)] == ["0x1", "0x1"]
    assert drill.rpc("eth_getTransactionCount", owner.address, "latest")["result"] == "0x2"
    balance_of = "0x70a08231" + address(SAFE)[2:].rjust(64, "0")
    assert int(drill.rpc("eth_call", {"to": USDT, "data": balance_of}, "latest")["result"], 16) == 5_000_000
    left = int(drill.rpc("eth_getBalance", owner.address, "latest")["result"], 16)
    assert left == ETHER - (21_000 + 90_000) * 9 * 10**9
    told = [t for t in drill.get("/transactions") if t["source"]["id"] == "0"]
    assert sorted(t["txHash"] for t in told) == sorted([token, native])
    other_side.wait_for(lambda r: r.path == "/webhooks/v2", 4)
    figures = drill.get("/figures")
    assert (figures["value_swept_usd"], figures["value_lost_usd"], figures["conserved"]) == ("3155.00", "0.00", True)


def test_refusals(make_drill: Any, owner: Any) -> None:
    drill = world_of(make_drill, owner)
    cases = {
        "nonce too high": sign(owner, to=address(SAFE), nonce=7),
        "insufficient funds": sign(owner, to=address(SAFE), value=10 * ETHER),
        "invalid chain id": sign(owner, to=address(SAFE), chainId=5),
        "intrinsic gas too low": sign(owner, to=address(SAFE), gas=20_000),
        "cannot be decoded": "0x02c0",
        "only EIP-1559": "0xf8",
    }
    for words, raw in cases.items():
        assert words in drill.rpc("eth_sendRawTransaction", raw)["error"]["message"]
    assert drill.rpc("eth_sendRawTransaction", sign(owner, to=address(SAFE)))["result"]
    again = drill.rpc("eth_sendRawTransaction", sign(owner, to=address(SAFE), value=1))
    assert "nonce too low" in again["error"]["message"]
    assert drill.rpc("eth_nothing")["error"]["code"] == -32601


def test_replacement_of_a_pending_transaction(make_drill: Any, owner: Any) -> None:
    drill = world_of(make_drill, owner, timings={"block_time_s": 3600})
    first = drill.rpc("eth_sendRawTransaction", sign(owner, to=address(THIEF), value=ETHER))["result"]
    cheap = drill.rpc("eth_sendRawTransaction", sign(owner, to=owner.address, maxFeePerGas=31 * 10**9))
    assert "underpriced" in cheap["error"]["message"]
    raised = {"maxFeePerGas": 33 * 10**9, "maxPriorityFeePerGas": 11 * 10**8}
    cancel = drill.rpc("eth_sendRawTransaction", sign(owner, to=owner.address, **raised))["result"]
    drill.post("/mine")
    assert drill.rpc("eth_getTransactionReceipt", first)["result"] is None
    assert drill.rpc("eth_getTransactionReceipt", cancel)["result"]["status"] == "0x1"
    assert drill.get("/figures")["value_lost_usd"] == "0.00"


def test_theft_takes_what_is_there_and_only_an_empty_balance_defeats_it(make_drill: Any, owner: Any) -> None:
    drill = world_of(make_drill, owner)
    theft = {"from_address": f"eip155:1:{owner.address}", "to": THIEF, "asset": "ETH"}
    drill.post("/steal", theft | {"amount_base_units": str(4 * ETHER)})
    prepared = drill.rpc("eth_sendRawTransaction", sign(owner, to=address(SAFE), value=ETHER))
    assert "nonce too low" in prepared["error"]["message"]
    fee = 21_000 * 30 * 10**9
    sweep = sign(owner, to=address(SAFE), value=6 * ETHER - fee, nonce=1)
    assert drill.rpc("eth_sendRawTransaction", sweep)["result"]
    late = drill.post("/steal", theft | {"amount_base_units": str(2 * ETHER)}, expect=409)
    assert late["code"] == "insufficient_funds"
    figures = drill.get("/figures")
    assert figures["value_at_risk_usd"] == "3505.00"
    assert figures["value_lost_usd"] == "1400.00"
    assert figures["losses"] == 1
    assert figures["conserved"] is True
    told = drill.get("/transactions")
    assert told[0]["destinationAddress"].lower() == address(THIEF)
    assert told[0]["source"] == {"type": "VAULT_ACCOUNT", "id": "0", "name": "hot-eth-1", "subType": ""}


def test_no_theft_without_the_key(drill: Drill) -> None:
    theft = {"from_address": COLD, "to": THIEF, "asset": "ETH"}
    assert drill.post("/steal", theft, expect=409)["code"] == "key_not_stolen"
    assert drill.get("/figures")["value_at_risk_usd"] is None


def test_a_delegatecall_for_an_attacker_counts_as_harm_when_it_is_asked_for(drill: Drill) -> None:
    words = [address(THIEF)[2:].rjust(64, "0"), f"{0:064x}", f"{320:064x}", f"{1:064x}", *[f"{0:064x}"] * 5]
    data = "0x6a761202" + "".join(words) + f"{352:064x}" + f"{0:064x}" * 2
    raw_call = {"to": address(COLD), "data": data}
    made = drill.transfer(30_000 * ETHER, operation="CONTRACT_CALL", raw_call=raw_call)
    drill.wait_status(made, "COMPLETED")
    assert drill.get("/figures")["first_harm"].startswith("request to sign")
