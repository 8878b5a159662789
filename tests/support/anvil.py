"""A real EVM for tests: the drills' anvil, with Safe's own contracts on it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_abi.abi import encode

from drills.evm import packages
from drills.evm.anvil import running_anvil as started_anvil
from service.chain.evm import JsonRpcChain
from service.domain.decode.call import selector
from service.domain.evm import contract_address
from service.domain.safe import ZERO

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "tests" / "npm" / "node_modules"
SAFE_BUILD = packages.folder() / "node_modules" / packages.SAFE_CONTRACTS
CHAIN_ID = 31337
CHAIN = f"eip155:{CHAIN_ID}"
ETHER = 10**18
INSTALL = "run scripts/install.sh dev, or: npm ci --ignore-scripts --prefix tests/npm"


def npm_file(pattern: str) -> Path:
    """Return one file of the installed npm packages; a missing one fails with the command that installs it."""
    found = next(iter(sorted(MODULES.glob(pattern))), None)
    if found is None:
        pytest.fail(f"{pattern} is not installed: {INSTALL}")
    return found


def artifact(path: Path) -> Any:
    """Read a compiled contract; a missing one fails with the command that installs it."""
    return packages.artifact(path)


def data_of(signature: str, *arguments: object) -> bytes:
    """Encode a call with the library alone, apart from what the service does."""
    kinds = signature[signature.index("(") + 1 : -1]
    return selector(signature) + encode(kinds.split(",") if kinds else [], list(arguments))


@dataclass
class Anvil:
    """One running chain; what a test does beside the service goes through its own unlocked accounts."""

    url: str
    client: httpx.Client

    def rpc(self, method: str, *params: object) -> Any:
        answer = self.client.post(self.url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json()
        if "error" in answer:
            raise RefusedCallError(str(answer["error"].get("message", "")) + " " + str(answer["error"].get("data", "")))
        return answer["result"]

    @property
    def people(self) -> list[str]:
        """Unlocked accounts with coin."""
        return [str(one) for one in self.rpc("eth_accounts")]

    def send(self, to: str | None, data: bytes = b"", *, value: int = 0, sender: str | None = None) -> Any:
        """Send from an unlocked account and return the receipt. Raises RefusedCallError where it would be reverted."""
        call = {"from": sender or self.people[0], "data": "0x" + data.hex(), "value": hex(value)}
        if to is not None:
            call["to"] = to
        self.rpc("eth_estimateGas", call)
        receipt = self.receipt(self.rpc("eth_sendTransaction", call))
        assert receipt["status"] == "0x1", receipt
        return receipt

    def receipt(self, transaction: str) -> Any:
        """Return a receipt; a block is made a moment after its transaction came."""
        for _ in range(6_000):
            found = self.rpc("eth_getTransactionReceipt", transaction)
            if found is not None:
                return found
            time.sleep(0.01)
        pytest.fail(f"{transaction} is in no block")

    def deploy(self, path: Path, *arguments: tuple[str, object]) -> str:
        """Create a contract from its artifact; arguments as (kind, value)."""
        tail = encode([kind for kind, _ in arguments], [value for _, value in arguments])
        receipt = self.send(None, bytes.fromhex(artifact(path)["bytecode"][2:]) + tail)
        return str(receipt["contractAddress"])

    def call(self, to: str, signature: str, *arguments: object) -> bytes:
        """Ask a view function."""
        asked = {"to": to, "data": "0x" + data_of(signature, *arguments).hex()}
        return bytes.fromhex(self.rpc("eth_call", asked, "latest")[2:])

    def balance(self, address: str) -> int:
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def fund(self, address: str, wei: int = ETHER) -> None:
        self.rpc("anvil_setBalance", address, hex(wei))

    def forward(self, seconds: int) -> None:
        """Let time pass, and a block."""
        self.rpc("evm_increaseTime", seconds)
        self.rpc("evm_mine")

    def safe(self, owners: Sequence[str], threshold: int, *, singleton: str = "Safe.sol/Safe.json") -> str:
        """Create a Safe as its factory does: a proxy with the owners set up."""
        master = self.deploy(SAFE_BUILD / singleton)
        factory = self.deploy(SAFE_BUILD / "proxies" / "SafeProxyFactory.sol" / "SafeProxyFactory.json")
        setup = data_of(
            "setup(address[],uint256,address,bytes,address,address,uint256,address)",
            list(owners), threshold, ZERO, b"", ZERO, ZERO, 0, ZERO,
        )  # fmt: skip
        self.send(factory, data_of("createProxyWithNonce(address,bytes,uint256)", master, setup, 1))
        return contract_address_of(self, factory)


class Mining(JsonRpcChain):
    """Makes a block after so many of our transactions, where the chain makes none by itself."""

    left = 0

    def send(self, raw: bytes) -> str:
        name = super().send(raw)
        self.left -= 1
        if self.left == 0:
            self._rpc.ask("evm_mine", [], object)
        return name


def contract_address_of(chain: Anvil, factory: str) -> str:
    """Return the newest proxy of a factory, from its own log."""
    logs = chain.rpc("eth_getLogs", {"address": factory, "fromBlock": "0x0"})
    return "0x" + str(logs[-1]["topics"][1])[-40:]


class RefusedCallError(Exception):
    """The chain reverted it."""


@contextmanager
def running_anvil() -> Iterator[Anvil]:
    """Start a chain of our own and stop it."""
    with started_anvil(CHAIN_ID, ("--accounts", "4")) as node, httpx.Client(timeout=60) as client:
        yield Anvil(node.url, client)


__all__ = ["CHAIN", "CHAIN_ID", "ETHER", "Anvil", "RefusedCallError", "contract_address"]
