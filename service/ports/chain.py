"""A chain as the vault needs it: balances or coins, nonces, fees, sending, what is final, and contracts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain.evm import Fee


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that is in a block."""

    transaction_hash: str
    succeeded: bool
    block: int
    gas_used: int = 0


@dataclass(frozen=True, slots=True)
class FoundLogs:
    """Logs of contracts, as far as the chain could be asked for them."""

    logs: Sequence[tuple[str, Sequence[bytes]]]
    """(address of the contract in lower case, topics), each once."""
    unread: str = ""
    """What was not looked through, and why, as a sentence; empty where every block was."""


class EvmChain(Protocol):
    """One EVM chain. Queries raise UnavailableError; `send` as it says."""

    def balance(self, address: str) -> int:
        """Return the native balance in wei."""
        ...

    def token_balance(self, token: str, owner: str) -> int:
        """Return an ERC-20 balance in base units."""
        ...

    def next_nonce(self, address: str) -> int:
        """Return the next unused nonce, counting what is pending."""
        ...

    def mined_nonce(self, address: str) -> int:
        """Return the next nonce, counting only what is in blocks."""
        ...

    def estimate(self, sender: str, to: str | None, data: bytes, value: int = 0) -> int:
        """Return the gas that a transaction would use; `to` None creates a contract, `value` in wei.

        Raises RefusedByOtherSideError when it would be reverted.
        """
        ...

    def fee(self) -> Fee:
        """Return fee caps under which a transaction is mined soon."""
        ...

    def send(self, raw: bytes) -> str:
        """Send a signed transaction and return its hash; one that the chain has already is sent.

        Raises RefusedByOtherSideError for a clear no (nonce used, funds lacking), UnknownOutcomeError when the answer
        was lost, UnavailableError when it was never sent.
        """
        ...

    def knows(self, transaction_hash: str) -> bool:
        """Say whether the chain has the transaction, pending or in a block."""
        ...

    def mined(self, transaction_hash: str) -> Mined | None:
        """Return the receipt, or None while there is none."""
        ...


class ContractChain(EvmChain, Protocol):
    """A chain whose contracts can be read. Every query raises UnavailableError as the others do."""

    def final(self) -> "ContractChain":
        """Return the same chain as it is at its newest final block: what is there stays. Raises UnavailableError."""
        ...

    def call(self, to: str, data: bytes) -> bytes:
        """Return what a view function answers now."""
        ...

    def code(self, address: str) -> bytes:
        """Return the code at an address; empty where there is no contract."""
        ...

    def storage(self, address: str, slot: bytes) -> bytes:
        """Return the 32 bytes of a storage slot."""
        ...

    def logs(self, contracts: Sequence[str], topics: Sequence[Sequence[bytes]], until: float) -> FoundLogs:
        """Return the logs of contracts that have one of the wanted topics at each place, from the first block on.

        The newest come first, and what was found is remembered. `until`, on the monotonic clock, ends the asking: what
        is left by then, or refused, is said in the answer and looked through with the next question.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unspent:
    """An unspent output as an endpoint tells it: not proven until its transaction was read."""

    txid: str
    vout: int
    amount: int
    """Satoshis, as told."""
    height: int | None
    """None while it is in no block."""


@dataclass(frozen=True, slots=True)
class Spender:
    """The transaction that spends an output."""

    txid: str
    height: int | None
    """None while it is in no block."""


@dataclass(frozen=True, slots=True)
class PoolTransaction:
    """A transaction in no block, as far as replacing it needs."""

    fee: int
    """Satoshis."""
    weight: int
    """BIP-141."""


class BitcoinChain(Protocol):
    """One Bitcoin network. Queries raise UnavailableError, also for answers that contradict themselves."""

    def tip(self) -> int:
        """Return the height of the best block; never lower than one told before."""
        ...

    def used(self, address: str) -> bool:
        """Say whether any transaction, in a block or not, ever paid the address or spent from it."""
        ...

    def unspent(self, address: str) -> Sequence[Unspent]:
        """Return an address's unspent outputs, those in no block too."""
        ...

    def transaction(self, txid: str) -> bytes:
        """Return a transaction's bytes, whose hash is its name. Raises NotFoundError."""
        ...

    def spender(self, txid: str, vout: int) -> Spender | None:
        """Return what spends an output, or None; also None where the chain has no such transaction."""
        ...

    def pooled(self, txid: str) -> PoolTransaction | None:
        """Return a transaction that is in no block yet; None when it is in one or nowhere."""
        ...

    def depth(self, txid: str) -> int | None:
        """Return in how many blocks it is buried: 1 for the newest, 0 in none yet; None when nobody knows it."""
        ...

    def rate(self, blocks: int) -> int:
        """Return the fee rate for inclusion within so many blocks, in satoshis per 1,000 virtual bytes."""
        ...

    def send(self, raw: bytes) -> str:
        """Send a signed transaction and return its id; one that is known already is sent.

        Raises RefusedByOtherSideError for a clear no, UnknownOutcomeError when the answer was lost, UnavailableError when
        it was never sent.
        """
        ...
