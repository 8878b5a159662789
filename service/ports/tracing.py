"""A chain as tracing reads it: what moved, block by block or output by output.

Every call raises UnavailableError when the endpoint does not answer or contradicts itself; what it tells is its word.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from service.domain.forensics.movement import Movement
from service.domain.forensics.walk import Looked


@dataclass(frozen=True, slots=True)
class Block:
    """One block of an account chain."""

    hash: str
    parent: str
    movements: Sequence[Movement]
    """In order; transfers of the coin that succeeded, and of tokens by their logs."""
    looked: Looked = field(default_factory=Looked)
    """What was asked about their insides."""


class AccountSource(Protocol):
    """A chain of accounts (EVM)."""

    def height(self) -> int:
        """Return the number of the newest block."""
        ...

    def block_at(self, moment: datetime) -> int:
        """Return the first block that is not older than `moment`; the newest when all are older."""
        ...

    def block(self, number: int, of: Collection[str] = ()) -> Block:
        """Return one block's movements, those of the coin inside a transaction too where one of these addresses acts."""
        ...

    def balance(self, asset: str, address: str, block: int) -> int | None:
        """Return what an address held at the end of a block; None where the endpoint keeps no such state."""
        ...


class OutputSource(Protocol):
    """A chain of outputs (Bitcoin)."""

    def departures(self, address: str, since: datetime) -> Sequence[Movement]:
        """Return the transactions that spent from an address since then, oldest first; bounded."""
        ...

    def arrivals(self, address: str, since: datetime) -> Sequence[Movement]:
        """Return the transactions that paid an address since then, oldest first, only with what they paid it; bounded."""
        ...

    def spending(self, txid: str, vout: int) -> Movement | None:
        """Return the transaction that spends an output, or None while none does."""
        ...
