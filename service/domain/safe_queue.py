"""Transactions of a Safe that wait for signatures at a Safe transaction service, and ours as it takes them.

Rules: what the service tells is a claim of an outsider: it is bounded, and decides only which nonces are used up. What we
propose is told field by field beside its hash, which the service computes for itself; addresses are spelt with the
mixed-case checksum of EIP-55, which it demands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from service.domain.evm import address_bytes
from service.domain.safe import ZERO, SafeTransaction

MOST_AHEAD: Final = 20
"""Nonces, from the Safe's own on, that are looked at: what is further ahead runs only after as many others."""
_LETTER_FROM: Final = 8


@dataclass(frozen=True, slots=True)
class Queued:
    """One transaction that waits, as the service tells it; addresses lower-case."""

    nonce: int
    to: str
    value: int
    data: bytes
    operation: int
    refunds: bool
    """Whether the Safe pays for its gas: to anybody, in any token, at any price the transaction names."""

    def moves_nothing(self, safe: str) -> bool:
        """Say whether it is a rejection: an empty call of the Safe to itself that refunds no gas."""
        empty = not (self.value or self.data or self.operation or self.refunds)
        return empty and self.to == safe.lower()


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits with `nonce` or one of the MOST_AHEAD - 1 after it."""

    nonce: int
    queued: tuple[Queued, ...]
    whole: bool
    """Whether the service told all; an owner can flood it with rejections that differ in their gas alone."""

    def to_reject(self, safe: str) -> range:
        """Return the nonces up to the last at which something moves, or may move where not all was told."""
        if not self.whole:
            return range(self.nonce, self.nonce + MOST_AHEAD)
        moving = [one.nonce for one in self.queued if not one.moves_nothing(safe)]
        return range(self.nonce, max(moving, default=self.nonce - 1) + 1)


def rejection(chain_id: int, safe: str, nonce: int) -> SafeTransaction:
    """Return the transaction that uses up a nonce and does nothing."""
    return SafeTransaction(chain_id, safe, safe, b"", nonce)


def proposal(made: SafeTransaction, owner: str, signature: bytes) -> Mapping[str, object]:
    """Return what the service is told of a transaction of ours and its first signature."""
    return {
        "to": checksummed(made.to),
        "value": str(made.value),
        "data": "0x" + made.data.hex() if made.data else None,
        "operation": 0,
        "safeTxGas": "0",
        "baseGas": "0",
        "gasPrice": "0",
        "gasToken": ZERO,
        "refundReceiver": ZERO,
        "nonce": str(made.nonce),
        "contractTransactionHash": made.name,
        "sender": checksummed(owner),
        "signature": "0x" + signature.hex(),
        "origin": "portcullis",
    }


def checksummed(address: str) -> str:
    """Return a 0x address as EIP-55 spells it. Raises InputError."""
    digits = address_bytes(address).hex()
    told = keccak(digits.encode("ascii")).hex()
    pairs = zip(digits, told, strict=False)
    return "0x" + "".join(one.upper() if int(nibble, 16) >= _LETTER_FROM else one for one, nibble in pairs)
