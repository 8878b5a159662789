"""Bitcoin access over an Esplora-shaped HTTP API (REST: addresses, transactions, blocks, fee estimates).

Rules: the endpoint is believed only where it cannot lie unseen. Its network is told by the genesis block before the first
answer is used; a transaction's bytes must hash to its name; its best block never goes back; what it says of one thing must
agree with itself. Answers are bounded and typed before use; a fee over the limit is not believed. An answer that was lost
after sending is an unknown outcome, settled by asking for the id that was known before. An endpoint's URL may carry its key
and is therefore in no message.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import httpx
import msgspec

from service.domain.bitcoin.coins import MAX_TRANSACTION_BYTES, TXID_DIGITS, parsed, txid_of
from service.domain.bitcoin.network import MAX_SATS, Network, network_of
from service.domain.bitcoin.sweep import MAX_RATE, MIN_RATE
from service.domain.errors import (
    InputError,
    NotFoundError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.outgoing import new_client
from service.ports.chain import PoolTransaction, Spender, Unspent

MAX_ANSWER_BYTES: Final = 24 * 1024 * 1024
"""About a hundred thousand unspent outputs."""
_TIMEOUT: Final = httpx.Timeout(15.0, connect=3.0)
_ALREADY_SENT: Final = ("already in block chain", "already-known", "already-in-mempool", "already in utxo set")
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_SATS_PER_VBYTE: Final = 1_000
Answer = TypeVar("Answer")


class Status(msgspec.Struct):
    """Where a transaction is, as Esplora tells it; `block_time` in seconds since 1970."""

    confirmed: bool
    block_height: int | None = None
    block_hash: str | None = None
    block_time: int | None = None


class _Unspent(msgspec.Struct):
    txid: str
    vout: int
    value: int
    status: Status


class _Outspend(msgspec.Struct):
    spent: bool
    txid: str | None = None
    status: Status | None = None


class _Count(msgspec.Struct):
    tx_count: int


class _Address(msgspec.Struct):
    chain_stats: _Count
    mempool_stats: _Count


class _Told(msgspec.Struct):
    fee: int
    weight: int
    status: Status


class EsploraChain:
    """Implements `ports.chain.BitcoinChain` on one endpoint."""

    def __init__(self, endpoint: str, network: Network) -> None:
        self._client = new_client(_TIMEOUT)
        self._endpoint = endpoint.rstrip("/")
        self._network = network
        self._is_of_network = False
        self._highest = 0

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def tip(self) -> int:
        """See the port."""
        height = self._number("/blocks/tip/height")
        if height < self._highest:
            raise UnavailableError(
                f"the chain's endpoint went back from block {self._highest} to {height}: it is behind or lies;"
                " compare it with another endpoint"
            )
        self._highest = height
        return height

    def used(self, address: str) -> bool:
        """See the port."""
        told = self._json(f"/address/{address}", _Address)
        return told.chain_stats.tx_count + told.mempool_stats.tx_count > 0

    def unspent(self, address: str) -> Sequence[Unspent]:
        """See the port."""
        told = self._json(f"/address/{address}/utxo", list[_Unspent])
        for one in told:
            if not 0 <= one.value <= MAX_SATS or one.vout < 0 or len(one.txid) != TXID_DIGITS:
                raise UnavailableError("the chain's endpoint tells of a coin that cannot be")
        return [Unspent(u.txid, u.vout, u.value, _height(u.status)) for u in told]

    def transaction(self, txid: str) -> bytes:
        """See the port."""
        text = self._text(f"/tx/{txid}/hex", 2 * MAX_TRANSACTION_BYTES + 2)
        if text is None:
            raise NotFoundError(f"the chain has no transaction {txid}")
        try:
            raw = bytes.fromhex(text.strip())
            told = txid_of(parsed(raw))
        except (ValueError, InputError) as error:
            raise UnavailableError(f"the chain's endpoint gave no transaction for {txid}") from error
        if told != txid:
            raise UnavailableError(f"the chain's endpoint gave another transaction for {txid}: it lies")
        return raw

    def spender(self, txid: str, vout: int) -> Spender | None:
        """See the port."""
        told = self._maybe(f"/tx/{txid}/outspend/{vout}", _Outspend)
        if told is None and self.depth(txid) is not None:
            raise UnavailableError(f"the chain's endpoint does not know what spends {txid}:{vout}, which it has")
        if told is None or not told.spent:
            return None
        if told.txid is None or told.status is None:
            raise UnavailableError("the chain's endpoint says that an output is spent, but not by what")
        return Spender(told.txid, _height(told.status))

    def pooled(self, txid: str) -> PoolTransaction | None:
        """See the port."""
        told = self._maybe(f"/tx/{txid}", _Told)
        if told is None or told.status.confirmed:
            return None
        if not 0 <= told.fee <= MAX_SATS or not 0 < told.weight <= MAX_TRANSACTION_BYTES:
            raise UnavailableError("the chain's endpoint tells of a fee or weight that cannot be")
        return PoolTransaction(told.fee, told.weight)

    def depth(self, txid: str) -> int | None:
        """See the port; a block that is no longer the best chain's counts as none."""
        told = self._maybe(f"/tx/{txid}/status", Status)
        if told is None:
            return None
        height = _height(told)
        if height is None:
            # Esplora answers so for what it never heard of, too.
            return None if self._text(f"/tx/{txid}/hex", 2 * MAX_TRANSACTION_BYTES + 2) is None else 0
        tip = self.tip()
        if height > tip:
            raise UnavailableError(f"the chain's endpoint tells of block {height}, but its best is {tip}")
        return tip - height + 1 if self._block(height) == told.block_hash else 0

    def rate(self, blocks: int) -> int:
        """See the port; the estimate of the next longer target where there is none for `blocks`."""
        told = self._json("/fee-estimates", dict[str, float])
        near = sorted(
            (int(target), rate) for target, rate in told.items() if target.isdigit() and int(target) >= blocks
        )
        if not near:
            return MIN_RATE
        rate = near[0][1] * _SATS_PER_VBYTE
        if not 0 <= rate <= MAX_RATE:
            raise UnavailableError(
                f"the chain's endpoint tells a fee of {near[0][1]:g} sat/vB, over the limit of {MAX_RATE // 1_000}:"
                " compare it with another endpoint, and set that one if this one is wrong"
            )
        return max(MIN_RATE, round(rate))

    def send(self, raw: bytes) -> str:
        """See the port."""
        name = txid_of(parsed(raw))
        self._require_network()
        try:
            status, body = self._call("POST", "/tx", 10_000, content=raw.hex())
        except _NOT_SENT as error:
            raise UnavailableError("the chain's endpoint did not answer: nothing was sent") from error
        except (httpx.HTTPError, UnavailableError) as error:
            raise UnknownOutcomeError(f"the chain's answer to {name} was lost") from error
        told = body.decode("ascii", "replace")
        if status == httpx.codes.OK or any(known in told.lower() for known in _ALREADY_SENT):
            return name
        if status in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY):
            reason = "".join(c if c.isprintable() else " " for c in told[:200])
            raise RefusedByOtherSideError(f"the chain refused {name}: {reason}")
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise UnavailableError("the chain's endpoint asks us to slow down: nothing was sent", retry_after_s=5)
        raise UnknownOutcomeError(f"the chain's endpoint answered {name} with status {status}")

    def told(self, path: str, kind: type[Answer]) -> Answer | None:
        """Return one typed answer, or None where the endpoint knows nothing of it: for tracing."""
        self._require_network()
        return self._maybe(path, kind)

    def _require_network(self) -> None:
        if self._is_of_network:
            return
        if not self._block_text(0).startswith(self._network.chain.partition(":")[2]):
            raise UnavailableError(
                f"the chain's endpoint serves another chain than {self._network.name}: correct PORTCULLIS_CHAINS"
            )
        self._is_of_network = True

    def _block(self, height: int) -> str:
        self._require_network()
        return self._block_text(height)

    def _block_text(self, height: int) -> str:
        text = self._read(f"/block-height/{height}", 200)
        if text is None or len(text.strip()) != TXID_DIGITS:
            raise UnavailableError(f"the chain's endpoint has no block {height}")
        return text.strip()

    def _number(self, path: str) -> int:
        text = self._text(path, 200)
        if text is None or not text.strip().isdigit():
            raise UnavailableError(f"the chain's endpoint answered {path} with no number")
        return int(text)

    def _json(self, path: str, kind: type[Answer]) -> Answer:
        self._require_network()
        found = self._maybe(path, kind)
        if found is None:
            raise UnavailableError(f"the chain's endpoint does not know {path}")
        return found

    def _maybe(self, path: str, kind: type[Answer]) -> Answer | None:
        text = self._text(path, MAX_ANSWER_BYTES)
        if text is None:
            return None
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.MsgspecError as error:
            raise UnavailableError(f"the chain's endpoint answered {path} in another form: {error}") from error

    def _text(self, path: str, at_most: int) -> str | None:
        self._require_network()
        return self._read(path, at_most)

    def _read(self, path: str, at_most: int) -> str | None:
        try:
            status, body = self._call("GET", path, at_most)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the chain's endpoint did not answer {path} ({type(error).__name__})"
            ) from None  # the original may quote the endpoint
        if status == httpx.codes.NOT_FOUND:
            return None
        if status != httpx.codes.OK:
            raise UnavailableError(f"the chain's endpoint answered {path} with status {status}")
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnavailableError(f"the chain's endpoint answered {path} with no text") from error

    def _call(self, method: str, path: str, at_most: int, **content: Any) -> tuple[int, bytes]:
        body = bytearray()
        with self._client.stream(method, self._endpoint + path, **content) as response:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > at_most:
                    raise UnavailableError(f"the chain's endpoint answered {path} with more than {at_most} bytes")
        return response.status_code, bytes(body)


def bitcoin_chains(endpoints: Mapping[str, str]) -> dict[str, EsploraChain]:
    """Return access to the Bitcoin networks among these endpoints, by CAIP-2 id. Raises InputError for an unknown one."""
    return {
        chain: EsploraChain(endpoint, network_of(chain))
        for chain, endpoint in endpoints.items()
        if chain.startswith("bip122:")
    }


def _height(status: Status) -> int | None:
    if not status.confirmed:
        return None
    if status.block_height is None or status.block_height < 0:
        raise UnavailableError("the chain's endpoint says that something is in a block, but not in which")
    return status.block_height
