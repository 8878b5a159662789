"""EVM chain access over JSON-RPC 2.0 (Ethereum execution APIs), for sweeps.

Rules: an answer that was lost after sending is an unknown outcome, settled by asking for the receipt of the hash that was
known before; "already known" means sent; no call is repeated blindly. Responses are bounded and typed before use.
"""

from collections.abc import Sequence
from typing import Final

import httpx
import msgspec

from service.domain.errors import RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.evm import Fee, balance_data, transaction_hash
from service.ports.chain import Mined

_TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)
_MAX_ANSWER_BYTES: Final = 1_000_000
_ALREADY_SENT: Final = ("already known", "known transaction", "already imported")


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Answer(msgspec.Struct):
    result: object = None
    error: _Error | None = None


class _Receipt(msgspec.Struct):
    blockNumber: str  # noqa: N815  the field's name in the execution API
    status: str


class JsonRpcChain:
    """Implements `ports.chain.EvmChain` on one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=False)
        self._endpoint = endpoint

    def balance(self, address: str) -> int:
        """Return the native balance in wei."""
        return self._number("eth_getBalance", address, "latest")

    def token_balance(self, token: str, owner: str) -> int:
        """Return an ERC-20 balance in base units."""
        return self._number("eth_call", {"to": token, "data": "0x" + balance_data(owner).hex()}, "latest")

    def next_nonce(self, address: str) -> int:
        """Return the next unused nonce, counting what is pending."""
        return self._number("eth_getTransactionCount", address, "pending")

    def mined_nonce(self, address: str) -> int:
        """Return the next nonce, counting only what is in blocks."""
        return self._number("eth_getTransactionCount", address, "latest")

    def fee(self) -> Fee:
        """Return twice the current price and a tip of at least one gwei."""
        price = self._number("eth_gasPrice")
        tip = max(self._number("eth_maxPriorityFeePerGas"), 10**9)
        return Fee(max_fee=2 * price + tip, priority_fee=tip)

    def estimate_gas(self, sender: str, to: str, data: bytes) -> int:
        """Return the gas a call needs."""
        return self._number("eth_estimateGas", {"from": sender, "to": to, "data": "0x" + data.hex()})

    def send(self, raw: bytes) -> str:
        """Send a signed transaction; see the port."""
        name = transaction_hash(raw)
        try:
            answer = self._post("eth_sendRawTransaction", ["0x" + raw.hex()])
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise UnavailableError("the chain's endpoint did not answer: nothing was sent") from error
        except httpx.HTTPError as error:
            raise UnknownOutcomeError(f"the chain's answer to {name} was lost") from error
        if answer.error is None or any(known in answer.error.message.lower() for known in _ALREADY_SENT):
            return name
        raise RefusedByOtherSideError(f"the chain refused {name}: {answer.error.message[:200]}")

    def mined(self, transaction_hash: str) -> Mined | None:
        """Return the receipt, or None while there is none."""
        result = self._ask("eth_getTransactionReceipt", transaction_hash)
        if result is None:
            return None
        receipt = msgspec.convert(result, _Receipt)
        return Mined(transaction_hash, int(receipt.status, 16) == 1, int(receipt.blockNumber, 16))

    def _number(self, method: str, *params: object) -> int:
        result = self._ask(method, *params)
        if not isinstance(result, str):
            raise UnavailableError(f"the chain's endpoint answered {method} with no number")
        try:
            return int(result, 16)
        except ValueError as error:
            raise UnavailableError(f"the chain's endpoint answered {method} with no number") from error

    def _ask(self, method: str, *params: object) -> object:
        try:
            answer = self._post(method, params)
        except httpx.HTTPError as error:
            raise UnavailableError(f"the chain's endpoint did not answer {method}") from error
        if answer.error is not None:
            raise UnavailableError(f"the chain's endpoint refused {method}: {answer.error.message[:200]}")
        return answer.result

    def _post(self, method: str, params: Sequence[object]) -> _Answer:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        response = self._client.post(self._endpoint, json=call)
        response.raise_for_status()
        if len(response.content) > _MAX_ANSWER_BYTES:
            raise UnavailableError(f"the chain's endpoint answered {method} with more than a megabyte")
        try:
            return msgspec.json.decode(response.content, type=_Answer)
        except msgspec.MsgspecError as error:
            raise UnavailableError(f"the chain's endpoint answered {method} with no JSON-RPC") from error
