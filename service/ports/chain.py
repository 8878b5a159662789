"""A chain as the vault needs it: balances, nonces, fees, sending, whether a transaction is final, and contracts."""

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

    def call(self, to: str, data: bytes) -> bytes:
        """Return what a view function answers now."""
        ...

    def code(self, address: str) -> bytes:
        """Return the code at an address; empty where there is no contract."""
        ...

    def storage(self, address: str, slot: bytes) -> bytes:
        """Return the 32 bytes of a storage slot."""
        ...

    def estimate(self, sender: str, to: str | None, data: bytes) -> int:
        """Return the gas that a transaction would use; `to` None creates a contract.

        Raises RefusedByOtherSideError when it would be reverted: nothing is sent then.
        """
        ...

    def topics(self, address: str, wanted: Sequence[bytes]) -> Sequence[Sequence[bytes]]:
        """Return the topics of every log of a contract that begins with the wanted ones, from the first block on."""
        ...
