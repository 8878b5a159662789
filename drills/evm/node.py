"""One EVM node over JSON-RPC 2.0 (Ethereum execution APIs) and anvil's own calls, as a drill uses it.

Rules: the node is one that the drill started for itself, where every address may send without a signature; a call that
would be reverted raises RevertedError with what the contract said; every answer is awaited, because blocks are made at once.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx
from eth_abi.abi import encode
from eth_hash.auto import keccak

from drills.evm.errors import EvmError, RevertedError

TIMEOUT_S = 30.0
RECEIPT_TIMEOUT_S = 30.0
POLL_S = 0.005
WORD = 32
GAS = 5_000_000
ZERO = "0x" + "00" * 20


def selector(signature: str) -> bytes:
    """Return the first four bytes of keccak-256 of a Solidity signature."""
    return keccak(signature.encode())[:4]


def call_data(signature: str, *arguments: object) -> bytes:
    """Return the calldata of a Solidity signature; addresses are 0x texts."""
    kinds = signature[signature.index("(") + 1 : -1]
    return selector(signature) + encode(kinds.split(",") if kinds else [], list(arguments))


def word(address: str) -> bytes:
    """Return an address as 32 bytes."""
    return bytes.fromhex(address[2:]).rjust(WORD, b"\0")


def _balance_call(address: str, token: str | None) -> tuple[str, tuple[object, ...]]:
    if token is None:
        return "eth_getBalance", (address, "latest")
    data = "0x" + call_data("balanceOf(address)", address).hex()
    return "eth_call", ({"to": token, "data": data}, "latest")


class Node:
    """A client of one node."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def ask(self, method: str, *params: object) -> Any:
        """Call one method. RevertedError, EvmError."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            answer = self._client.post(self.url, json=body).json()
        except (httpx.HTTPError, ValueError) as error:
            raise EvmError(f"the drill's chain did not answer {method}: {type(error).__name__}") from None
        if "error" not in answer:
            return answer["result"]
        message, data = str(answer["error"].get("message", "")), answer["error"].get("data")
        if "revert" in message.lower():
            raise RevertedError(message, bytes.fromhex(data[2:]) if isinstance(data, str) else b"")
        raise EvmError(f"the drill's chain refused {method}: {message[:300]}")

    def ask_all(self, calls: Sequence[tuple[str, tuple[object, ...]]]) -> list[Any]:
        """Make many calls that cannot be reverted in one request; returns the results in their order. EvmError."""
        body = [{"jsonrpc": "2.0", "id": n, "method": m, "params": params} for n, (m, params) in enumerate(calls)]
        try:
            answers = {one["id"]: one["result"] for one in self._client.post(self.url, json=body).json()}
            return [answers[n] for n in range(len(calls))]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise EvmError(f"the drill's chain did not answer many calls at once: {type(error).__name__}") from None

    def balances(self, places: Sequence[tuple[str, str | None]]) -> list[int]:
        """Return what each address holds, of an ERC-20 or (None) of the coin, in base units."""
        return [int(found, 16) for found in self.ask_all([_balance_call(*place) for place in places])]

    def balance(self, address: str) -> int:
        """Return the coin at a 0x address, in wei."""
        return int(self.ask("eth_getBalance", address, "latest"), 16)

    def token_balance(self, token: str, holder: str) -> int:
        """Return what an address holds of an ERC-20, in base units."""
        return int.from_bytes(self.view(token, "balanceOf(address)", holder), "big")

    def nonce(self, address: str) -> int:
        """Return the next nonce of an address."""
        return int(self.ask("eth_getTransactionCount", address, "latest"), 16)

    def storage(self, address: str, slot: bytes) -> bytes:
        """Return the 32 bytes of a storage slot."""
        return bytes.fromhex(self.ask("eth_getStorageAt", address, "0x" + slot.hex(), "latest")[2:])

    def view(self, to: str, signature: str, *arguments: object) -> bytes:
        """Return what a view function answers."""
        return self.tried(ZERO, to, call_data(signature, *arguments))

    def tried(self, sender: str, to: str, data: bytes, value: int = 0) -> bytes:
        """Return what a call would answer, without making it. RevertedError."""
        call = {"from": sender, "to": to, "data": "0x" + data.hex(), "value": hex(value)}
        return bytes.fromhex(self.ask("eth_call", call, "latest")[2:])

    def send(self, sender: str, to: str | None, data: bytes = b"", **more: int) -> dict[str, Any]:
        """Send from any address and return the receipt, also of what was reverted; `more`: value, gas, fees, nonce."""
        call: dict[str, object] = {"from": sender, "data": "0x" + data.hex(), "gas": hex(GAS)}
        call |= {name: hex(number) for name, number in more.items()}
        if to is not None:
            call["to"] = to
        return self.receipt(self.ask("eth_sendTransaction", call))

    def make(self, sender: str, to: str | None, data: bytes = b"", **more: int) -> dict[str, Any]:
        """Send what must succeed. EvmError when it was reverted."""
        receipt = self.send(sender, to, data, **more)
        if receipt["status"] != "0x1":
            raise EvmError(f"the drill's chain reverted a transaction of its set-up to {to}")
        return receipt

    def receipt(self, transaction: str) -> dict[str, Any]:
        """Return a receipt; a block is made a moment after its transaction came."""
        end = time.monotonic() + RECEIPT_TIMEOUT_S
        while time.monotonic() < end:
            found: dict[str, Any] | None = self.ask("eth_getTransactionReceipt", transaction)
            if found is not None:
                return found
            time.sleep(POLL_S)
        raise EvmError(f"the drill's chain put {transaction} in no block within {RECEIPT_TIMEOUT_S:.0f} s")

    def deploy(self, code: bytes, sender: str) -> str:
        """Create a contract and return its address, lower-case."""
        return str(self.make(sender, None, code)["contractAddress"]).lower()

    def give(self, address: str, wei: int) -> None:
        """Set the coin at an address."""
        self.ask("anvil_setBalance", address, hex(wei))

    def place(self, address: str, code: bytes) -> None:
        """Put code at an address."""
        self.ask("anvil_setCode", address, "0x" + code.hex())

    def write(self, address: str, slot: bytes, value: bytes) -> None:
        """Write 32 bytes into a storage slot."""
        self.ask("anvil_setStorageAt", address, "0x" + slot.hex(), "0x" + value.hex())

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
