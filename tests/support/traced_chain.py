"""An anvil for tracing: real blocks in which anybody pays anybody, and a token that is nothing but its logs.

The token emits EIP-20's Transfer from whoever calls it and says that every balance is nothing; tracing reads logs.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from drills.evm.anvil import running_anvil
from service.chain.evm_tracing import TRANSFER
from tests.support.anvil import CHAIN, CHAIN_ID

COIN: Final = f"{CHAIN}/slip44:60"
_RUNTIME: Final = (
    "602435" "600052" "600435" "33" f"7f{TRANSFER[2:]}" "6020" "6000" "a3" "6000600052" "60206000f3"
)  # fmt: skip
"""LOG3(amount; Transfer, caller, first argument), then a word of zeros."""
_INIT: Final = f"60{len(_RUNTIME) // 2:02x}600c60003960{len(_RUNTIME) // 2:02x}6000f3"
_REVERTS: Final = "600580600b6000396000f360006000fd"


@dataclass
class TracedChain:
    """One running anvil."""

    url: str
    client: httpx.Client

    def rpc(self, method: str, *params: object) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self.client.post(self.url, json=body).json()
        assert "error" not in answer, answer
        return answer["result"]

    def have(self, address: str, wei: int) -> None:
        self.rpc("anvil_setBalance", address, hex(wei))

    def pay(self, giver: str, taker: str, wei: int, data: str = "0x") -> str:
        """Send from any address, in a block of its own; returns the transaction's hash."""
        self.rpc("anvil_impersonateAccount", giver)
        call = {"from": giver, "to": taker, "value": hex(wei), "data": data, "gas": hex(200_000), "gasPrice": "0x0"}
        name = str(self.rpc("eth_sendTransaction", call))
        for _ in range(6_000):
            if self.rpc("eth_getTransactionReceipt", name) is not None:
                return name
            time.sleep(0.01)
        pytest.fail(f"{name} is in no block")

    def token(self) -> str:
        return self._create(_INIT + _RUNTIME)

    def refusing(self) -> str:
        """Create a contract that refuses every payment."""
        return self._create(_REVERTS)

    def transfer(self, token: str, giver: str, taker: str, amount: int) -> str:
        return self.pay(giver, token, 0, "0xa9059cbb" + taker[2:].rjust(64, "0") + f"{amount:064x}")

    def _create(self, code: str) -> str:
        sender = str(self.rpc("eth_accounts")[0])
        name = self.rpc(
            "eth_sendTransaction", {"from": sender, "data": "0x" + code, "gas": hex(500_000), "gasPrice": "0x0"}
        )
        for _ in range(6_000):
            receipt = self.rpc("eth_getTransactionReceipt", name)
            if receipt is not None:
                return str(receipt["contractAddress"])
            time.sleep(0.01)
        pytest.fail("no contract")


@contextmanager
def traced_chain() -> Iterator[TracedChain]:
    """Start an anvil without fees and stop it."""
    with running_anvil(CHAIN_ID, ("--gas-price", "0", "--base-fee", "0")) as node, httpx.Client(timeout=60) as client:
        yield TracedChain(node.url, client)
