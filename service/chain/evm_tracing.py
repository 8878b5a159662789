"""Reads an EVM chain block by block for tracing (Ethereum execution APIs): coin transfers and ERC-20 logs.

Rules: two calls a block, the transactions and their receipts; a transfer that failed moved nothing; a token's transfer is
what its log says (EIP-20 `Transfer`), so a token that lies in its logs lies here, too. What contracts pay in the coin
inside a transaction is asked for (`evm_insides.py`) where an address that is followed is called, or lets its logs say that
it acted: at most MOST_INSIDES a block, MOST_EACH of them for one address, and INSIDES_S seconds; what is left is told as
such. Answers are bounded and typed; an endpoint's URL may carry its key and is in no message.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

import msgspec
from eth_hash.auto import keccak

from service.chain.evm_insides import MOST_PAYMENTS, Called, Insides, Log, Payment
from service.chain.json_rpc import JsonRpc, Kind, quantity
from service.domain.errors import UnavailableError
from service.domain.evm import balance_data
from service.domain.forensics.movement import Movement, Part
from service.domain.forensics.walk import Looked
from service.ports.tracing import Block

_TIMEOUT_S: Final = 15.0
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""A block's transactions with their data, and its receipts with their logs, of any block there was so far."""
TRANSFER: Final = "0x" + keccak(b"Transfer(address,address,uint256)").hex()
_TOPICS: Final = 3
_WORD_DIGITS: Final = 66
_COIN: Final = 60
_LOGS: Final = 10**6
"""Positions of one transaction's logs come after the transaction, what was paid inside it, and before the next."""
_PLAIN_GAS: Final = 21_000
"""A transaction that used no more only paid."""
MOST_INSIDES: Final = 50
MOST_EACH: Final = 25
INSIDES_S: Final = 20.0


class _Transaction(msgspec.Struct):
    hash: str
    value: str
    to: str | None = None
    input: str = "0x"
    sender: str = msgspec.field(name="from", default="")


class _Block(msgspec.Struct):
    hash: str
    parentHash: str  # noqa: N815  the execution API's name
    timestamp: str
    transactions: list[_Transaction]


class _Stamp(msgspec.Struct):
    timestamp: str


class _Receipt(msgspec.Struct):
    transactionHash: str  # noqa: N815  as above
    status: str = "0x1"
    gasUsed: str = "0x0"  # noqa: N815  as above
    logs: list[Log] = []


class EvmTracing:
    """Implements `ports.tracing.AccountSource` on one endpoint."""

    def __init__(self, endpoint: str, chain: str) -> None:
        self._rpc = JsonRpc(endpoint, most_bytes=MAX_ANSWER_BYTES, timeout_s=_TIMEOUT_S)
        self._insides = Insides(self._rpc)
        self._chain = chain

    def close(self) -> None:
        """Give the connections back."""
        self._rpc.close()

    def height(self) -> int:
        """See the port."""
        return quantity(self._ask("eth_blockNumber", [], str), "eth_blockNumber")

    def block_at(self, moment: datetime) -> int:
        """See the port; found by halving."""
        wanted, low, high = moment.timestamp(), 0, self.height()
        while low < high:
            middle = (low + high) // 2
            if self._time(middle) >= wanted:
                high = middle
            else:
                low = middle + 1
        return low

    def block(self, number: int, of: Collection[str] = ()) -> Block:
        """See the port."""
        found = self._ask("eth_getBlockByNumber", [hex(number), True], _Block)
        if not found.transactions:
            return Block(found.hash, found.parentHash, ())
        receipts = self._ask("eth_getBlockReceipts", [hex(number)], list[_Receipt])
        told = {receipt.transactionHash: receipt for receipt in receipts}
        if len(told) != len(found.transactions) or any(t.hash not in told for t in found.transactions):
            raise UnavailableError(f"the chain's endpoint tells other receipts than transactions of block {number}")
        looking = _Looking(self._insides, set(of))
        moved = list(self._movements(number, found, told, looking))
        return Block(found.hash, found.parentHash, moved, looking.found)

    def balance(self, asset: str, address: str, block: int) -> int | None:
        """See the port."""
        token = asset.partition("/erc20:")[2]
        try:
            if token:
                call = {"to": token, "data": "0x" + balance_data(address).hex()}
                return quantity(self._ask("eth_call", [call, hex(block)], str), "eth_call")
            return quantity(self._ask("eth_getBalance", [address, hex(block)], str), "eth_getBalance")
        except UnavailableError:
            return None

    def _movements(
        self, number: int, block: _Block, told: dict[str, _Receipt], looking: "_Looking"
    ) -> Iterator[Movement]:
        at, coin = quantity(block.timestamp, "a block"), f"{self._chain}/slip44:{_COIN}"
        for place, transaction in enumerate(block.transactions):
            receipt = told[transaction.hash]
            if quantity(receipt.status, "a block") != 1:
                continue
            value, position = quantity(transaction.value, "a block"), place * _LOGS
            if value and transaction.to is not None:
                paid = (transaction.sender, transaction.to, value)
                looking.follow(paid)
                yield _movement((transaction.hash, transaction.hash, coin), (number, position, at), paid)
            for order, paid in enumerate(looking.inside(transaction, receipt), 1):
                names = (f"{transaction.hash}/{order}", transaction.hash, coin)
                yield _movement(names, (number, position + order, at), paid)
            position += MOST_PAYMENTS
            for order, log in enumerate(receipt.logs[: _LOGS - MOST_PAYMENTS - 1], 1):
                transfer = _transfer(log)
                if transfer is not None:
                    looking.follow(transfer)
                    asset = f"{self._chain}/erc20:{log.address.lower()}"
                    name = f"{transaction.hash}#{quantity(log.logIndex, 'a block')}"
                    yield _movement((name, transaction.hash, asset), (number, position + order, at), transfer)

    def _time(self, number: int) -> int:
        stamp = self._ask("eth_getBlockByNumber", [hex(number), False], _Stamp).timestamp
        return quantity(stamp, "a block")

    def _ask(self, method: str, params: list[object], kind: type[Kind]) -> Kind:
        return self._rpc.ask(method, params, kind)


class _Looking:
    """Which transactions of one block are looked into: those in which an address that is followed, or paid by one, acts."""

    def __init__(self, insides: Insides, of: set[str]) -> None:
        self._insides = insides
        self._of = of
        self._named = frozenset(of)
        self._until = time.monotonic() + INSIDES_S
        self._told = 0
        self._untold: dict[str, str] = {}
        self._asked = 0
        self._asked_of: Counter[str] = Counter()

    @property
    def found(self) -> Looked:
        """Return what was asked so far."""
        named = {address: count for address, count in self._asked_of.items() if address in self._named}
        return Looked(self._told, self._untold, self._asked, named)

    def follow(self, paid: Payment) -> None:
        """Let whoever is paid by one of them be one of them, for the rest of the block."""
        if paid[0].lower() in self._of:
            self._of.add(paid[1].lower())

    def inside(self, transaction: _Transaction, receipt: _Receipt) -> list[Payment]:
        """Return what was paid inside, where it is looked into."""
        if quantity(receipt.gasUsed, "a block") <= _PLAIN_GAS:
            return []
        to = (transaction.to or "").lower()
        acting = self._of & {to, *(log.address.lower() for log in receipt.logs)}
        if not acting:
            return []
        if self._is_too_much(acting):
            self._untold[transaction.hash] = (
                f"no more than {MOST_INSIDES} of a block are asked for, {MOST_EACH} of one address, in {INSIDES_S:.0f} s"
            )
            return []
        self._asked += 1
        self._asked_of.update(acting)
        found = self._insides.of(
            Called(transaction.hash, transaction.sender.lower(), to, transaction.input, receipt.logs)
        )
        if found.because is None:
            self._told += 1
        else:
            self._untold[transaction.hash] = found.because
        for paid in found.payments:
            self.follow(paid)
        return found.payments

    def _is_too_much(self, acting: set[str]) -> bool:
        spent = all(self._asked_of[address] >= MOST_EACH for address in acting)
        return spent or self._asked >= MOST_INSIDES or time.monotonic() > self._until


def _movement(names: tuple[str, str, str], when: tuple[int, int, int], what: tuple[str, str, int]) -> Movement:
    name, transaction, asset = names
    giver, taker, amount = what[0].lower(), what[1].lower(), what[2]
    return Movement(
        id=name,
        transaction=transaction,
        block=when[0],
        position=when[1],
        at=when[2],
        asset=asset,
        sources=(Part(giver, giver, amount),),
        targets=(Part(taker, taker, amount),),
    )


def _transfer(log: Log) -> tuple[str, str, int] | None:
    """Return giver, taker and amount of an ERC-20 transfer; None for any other log."""
    if len(log.topics) != _TOPICS or log.topics[0] != TRANSFER or len(log.data) != _WORD_DIGITS:
        return None
    return "0x" + log.topics[1][-40:], "0x" + log.topics[2][-40:], quantity(log.data, "a block")
