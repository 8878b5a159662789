"""EVM chain access over JSON-RPC 2.0 (Ethereum execution APIs), for sweeps, cancellations and multisigs.

Rules: an answer that was lost after sending, or that cannot be read, is an unknown outcome, settled by asking for the
receipt of the hash that was known before; "already known" means sent; no call is repeated blindly. Responses are bounded
and typed before use. A fee over MAX_FEE is not believed: a lying endpoint could have what is to be saved burnt as tips (a
sweep of the coin spends at most 1/11 of it besides, `vault/sweeper.py`). An endpoint's URL may carry its key and is
therefore in no message. Before every price, and so before every signature, the endpoint must tell the chain that it is
configured for and a block no lower than it told before. What is final is the chain's word for it (`finalized`, `safe`)
where the endpoint knows it, else what is so many blocks deep.
"""

from collections.abc import Sequence
from copy import copy
from typing import Final

import httpx
import msgspec

from service.chain.evm_logs import LogReader
from service.chain.json_rpc import SHOWN, JsonRpc, decoded, quantity
from service.domain.errors import RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.evm import MAX_FEE, Fee, balance_data, transaction_hash
from service.ports.chain import FoundLogs, Mined

_TIMEOUT_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 1_000_000
_ALREADY_SENT: Final = ("already known", "known transaction", "already imported")
_GWEI: Final = 10**9
FINALIZED: Final = "finalized"
"""The block tag of what the chain's consensus never takes back."""
DEPTH: Final = 64
"""Blocks after which a transaction counts as final where the endpoint knows no such tag."""


class _Block(msgspec.Struct):
    number: str


class _Receipt(msgspec.Struct):
    blockNumber: str  # noqa: N815  the field's name in the execution API
    status: str
    gasUsed: str = "0x0"  # noqa: N815  as above


class _Log(msgspec.Struct):
    address: str
    topics: list[str]


class JsonRpcChain:
    """Implements `ports.chain.ContractChain` on one endpoint; `chain_id` is what it must say that it is."""

    def __init__(self, endpoint: str, chain_id: int | None = None, finality: str | int = FINALIZED) -> None:
        self._rpc = JsonRpc(endpoint, most_bytes=_MAX_ANSWER_BYTES, timeout_s=_TIMEOUT_S)
        self._chain_id = chain_id
        self._finality = finality
        self._seen_block = 0
        self._at = "latest"
        self._logs = LogReader(self._asked_logs)

    def final(self) -> "JsonRpcChain":
        """Return the same chain as it is at its newest final block; see the port."""
        view = copy(self)
        view._at = self._final_block()  # noqa: SLF001  its own copy
        return view

    def close(self) -> None:
        """Give the connections back."""
        self._rpc.close()

    def balance(self, address: str) -> int:
        """Return the native balance in wei."""
        return self._number("eth_getBalance", address, self._at)

    def token_balance(self, token: str, owner: str) -> int:
        """Return an ERC-20 balance in base units."""
        return self._number("eth_call", {"to": token, "data": "0x" + balance_data(owner).hex()}, self._at)

    def next_nonce(self, address: str) -> int:
        """Return the next unused nonce, counting what is pending."""
        return self._number("eth_getTransactionCount", address, "pending")

    def mined_nonce(self, address: str) -> int:
        """Return the next nonce, counting only what is in blocks."""
        return self._number("eth_getTransactionCount", address, self._at)

    def fee(self) -> Fee:
        """Return twice the current price and a tip of at least one gwei.

        Raises UnavailableError over MAX_FEE too: nothing is signed at such a price, whoever told it.
        """
        self._require_its_chain()
        price = self._number("eth_gasPrice")
        tip = max(self._number("eth_maxPriorityFeePerGas"), _GWEI)
        told = 2 * price + tip
        if told > MAX_FEE:
            raise UnavailableError(
                f"the chain's endpoint tells a fee of {told // _GWEI} gwei per gas, over the limit of {MAX_FEE // _GWEI}:"
                " compare it with another endpoint, and set that one if this one is wrong"
            )
        return Fee(max_fee=told, priority_fee=tip)

    def send(self, raw: bytes) -> str:
        """Send a signed transaction; see the port."""
        name = transaction_hash(raw)
        try:
            answer = self._rpc.post("eth_sendRawTransaction", ["0x" + raw.hex()])
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise UnavailableError("the chain's endpoint did not answer: nothing was sent") from error
        except (httpx.HTTPError, UnavailableError) as error:
            raise UnknownOutcomeError(f"the chain's answer to {name} was lost") from error
        if answer.refusal is None or any(known in answer.refusal.lower() for known in _ALREADY_SENT):
            return name
        raise RefusedByOtherSideError(f"the chain refused {name}: {answer.refusal[:SHOWN]}")

    def knows(self, transaction_hash: str) -> bool:
        """Say whether the chain has the transaction, pending or in a block."""
        return self._rpc.ask("eth_getTransactionByHash", [transaction_hash], object) is not None

    def mined(self, transaction_hash: str) -> Mined | None:
        """Return the receipt, or None while there is none."""
        result = self._rpc.ask("eth_getTransactionReceipt", [transaction_hash], object)
        if result is None:
            return None
        try:
            receipt = msgspec.convert(result, _Receipt)
            status, block, gas = (int(told, 16) for told in (receipt.status, receipt.blockNumber, receipt.gasUsed))
            return Mined(transaction_hash, status == 1, block, gas)
        except ValueError as error:
            raise UnavailableError("the chain's endpoint answered with a malformed receipt") from error

    def call(self, to: str, data: bytes) -> bytes:
        """Return what a view function answers now."""
        return self._bytes("eth_call", {"to": to, "data": "0x" + data.hex()}, self._at)

    def code(self, address: str) -> bytes:
        """Return the code at an address."""
        return self._bytes("eth_getCode", address, self._at)

    def storage(self, address: str, slot: bytes) -> bytes:
        """Return the 32 bytes of a storage slot."""
        return self._bytes("eth_getStorageAt", address, "0x" + slot.hex(), self._at)

    def estimate(self, sender: str, to: str | None, data: bytes, value: int = 0) -> int:
        """Return the gas that a transaction would use; see the port."""
        call = {"from": sender, "data": "0x" + data.hex(), "value": hex(value), **({} if to is None else {"to": to})}
        answer = self._rpc.answer("eth_estimateGas", [call])
        if answer.refusal is not None and "revert" in answer.refusal.lower():
            raise RefusedByOtherSideError(f"the chain would revert it: {answer.refusal[:SHOWN]}")
        if answer.refusal is not None:
            raise UnavailableError(f"the chain's endpoint refused eth_estimateGas: {answer.refusal[:SHOWN]}")
        return quantity(decoded(answer, "eth_estimateGas", object), "eth_estimateGas")

    def logs(self, contracts: Sequence[str], topics: Sequence[Sequence[bytes]], until: float) -> FoundLogs:
        """Return the logs of contracts; see the port."""
        final = quantity(self._final_block(), "eth_getBlockByNumber")
        newest = self._number("eth_blockNumber") if self._at == "latest" else quantity(self._at, "eth_blockNumber")
        return self._logs.read(contracts, topics, (newest, final), until)

    def _asked_logs(
        self, contracts: Sequence[str], topics: Sequence[Sequence[bytes]], first: int, last: int
    ) -> Sequence[tuple[str, Sequence[bytes]]]:
        wanted = {
            "address": list(contracts),
            "topics": [["0x" + topic.hex() for topic in place] for place in topics],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        logs = self._rpc.ask("eth_getLogs", [wanted], list[_Log])
        try:
            return [
                (log.address.lower(), tuple(bytes.fromhex(t.removeprefix("0x")) for t in log.topics)) for log in logs
            ]
        except ValueError as error:
            raise UnavailableError("the chain's endpoint answered eth_getLogs with malformed logs") from error

    def _final_block(self) -> str:
        if isinstance(self._finality, str):
            answer = self._rpc.answer("eth_getBlockByNumber", [self._finality, False])
            told = None if answer.refusal is not None else decoded(answer, "eth_getBlockByNumber", object)
            if told is not None:
                try:
                    number = msgspec.convert(told, _Block).number
                except msgspec.ValidationError as error:
                    raise UnavailableError("the chain's endpoint answered with a malformed block") from error
                return hex(quantity(number, "eth_getBlockByNumber"))
        depth = self._finality if isinstance(self._finality, int) else DEPTH
        return hex(max(0, self._number("eth_blockNumber") - depth))

    def _require_its_chain(self) -> None:
        """Raise UnavailableError unless the endpoint is of the configured chain and did not go back."""
        if self._chain_id is not None and (told := self._number("eth_chainId")) != self._chain_id:
            raise UnavailableError(
                f"the endpoint of eip155:{self._chain_id} says it is eip155:{told}: correct PORTCULLIS_CHAINS"
            )
        block = self._number("eth_blockNumber")
        if block < self._seen_block:
            raise UnavailableError(
                f"the chain's endpoint went back from block {self._seen_block} to {block}: nothing is signed on its word"
            )
        self._seen_block = block

    def _bytes(self, method: str, *params: object) -> bytes:
        result = self._rpc.ask(method, params, object)
        try:
            if isinstance(result, str) and result.startswith("0x"):
                return bytes.fromhex(result[2:])
        except ValueError:
            pass
        raise UnavailableError(f"the chain's endpoint answered {method} with no bytes")

    def _number(self, method: str, *params: object) -> int:
        return quantity(self._rpc.ask(method, params, object), method)
