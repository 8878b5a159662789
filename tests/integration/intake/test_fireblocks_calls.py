"""What the co-signer's callback makes of signatures and calls that give money or rights away by the back door."""

import json

import pytest
import rlp
from eth_hash.auto import keccak

from service.domain.decode.call import selector
from service.domain.decode.eip712 import read_typed_data
from tests.integration.intake.test_fireblocks import ask, keys, play, url
from tests.integration.intake.test_fireblocks_gate import typed
from tests.support.fireblocks import sign_request
from tests.support.intake import World, encoded
from tests.support.safe_service import safe_tx

__all__ = ["keys", "url"]  # fixtures
pytestmark = pytest.mark.servers

TOKEN, THIEF, SAFE = ("0x" + pair * 20 for pair in ("c0", "66", "5a"))
APPROVE = selector("approve(address,uint256)")
SPENDER = bytes.fromhex(THIEF[2:])


def called(data: bytes) -> dict[str, object]:
    raw = b"\x02" + rlp.encode([1, 4, 1, 1, 210_000, bytes.fromhex(TOKEN[2:]), 0, data, []])
    return sign_request(
        operation="CONTRACT_CALL",
        amountStr="0",
        destinations=[{"amountNativeStr": "0", "displayDstAddress": TOKEN, "dstType": "UNMANAGED"}],
        rawTx=[{"rawTx": raw.hex(), "payload": keccak(raw).hex()}],
    )


async def answered(world: World, name: str, question: dict[str, object]) -> tuple[str, str]:
    """Ask; return the answer and the reasons that were stored."""
    told = await ask(world, question | {"requestId": name, "txId": name})
    rows = world.rows("SELECT reasons FROM activities WHERE event_id = %s", f"gate:{name}")
    return told["action"], rows[0]["reasons"] or ""


def test_a_safes_gas_refund_is_held_and_told(url: str) -> None:
    refund = {"baseGas": 10**9, "gasPrice": 10**6, "refundReceiver": THIEF}

    async def script(world: World) -> None:
        changes: dict[str, object]
        for name, changes in (("plain", {}), ("coin", {**refund}), ("token", {**refund, "gasToken": TOKEN})):
            document = safe_tx(SAFE, **changes)
            digest = read_typed_data(encoded(document)).digest.hex()
            action, reasons = await answered(world, name, typed(document, digest))
            assert action == ("RETRY" if changes else "APPROVE")
            assert (f"pays {THIEF}" in reasons) == bool(changes)

    play(url, script)


@pytest.mark.parametrize(
    "data",
    [
        APPROVE + bytes(12) + SPENDER + b"\xff" * 32,
        APPROVE + b"\1" * 12 + SPENDER + b"\xff" * 32,
        APPROVE + bytes(12) + SPENDER + b"\xff" * 31,
        APPROVE + bytes(12) + SPENDER + (10**40).to_bytes(32, "big"),
        selector("hope(address)") + b"\1" * 12 + SPENDER,
    ],
    ids=["plain", "rubbish before the spender", "cut", "more than there is", "Maker"],
)
def test_an_allowance_without_limit_is_held_in_any_encoding(url: str, data: bytes) -> None:
    async def script(world: World) -> None:
        action, reasons = await answered(world, "call", called(data))
        assert (action, "unlimited_approval" in reasons, THIEF in reasons) == ("RETRY", True, True)

    play(url, script)


def test_an_everyday_call_that_is_not_known_passes_and_nothing_is_claimed_of_it(url: str) -> None:
    async def script(world: World) -> None:
        action, reasons = await answered(world, "call", called(b"\1\2\3\4" + bytes(64)))
        assert (action, "unknown call 0x01020304" in reasons) == ("APPROVE", True)
        (told,) = world.rows("SELECT payload FROM learning WHERE kind = 'activity'")
        assert not {"delegatecall", "unlimited_approval", "governance_call"} & set(json.loads(told["payload"]))

    play(url, script)
