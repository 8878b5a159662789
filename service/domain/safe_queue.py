"""Transactions of a Safe that wait for signatures at a Safe transaction service, and ours as it takes them.

Rules: what the service tells is a claim of an outsider: it is bounded, and counts as far as an owner's signature over the
hash that we compute from it is there (Safe's signature encoding). What we propose is told field by field beside its hash,
which the service computes for itself; addresses are spelt with the mixed-case checksum of EIP-55, which it demands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from service.domain.evm import address_bytes
from service.domain.safe import NO_REFUND, ZERO, Gas, SafeTransaction, digest

MOST_AHEAD: Final = 20
"""Nonces, from the Safe's own on, that are looked at: what is further ahead runs only after as many others."""
_LETTER_FROM: Final = 8


@dataclass(frozen=True, slots=True)
class Claim:
    """One owner's confirmation, as the service tells it; `owner` lower-case, `signature` not checked yet."""

    owner: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Queued:
    """One transaction that waits, as the service tells it; addresses lower-case."""

    nonce: int
    to: str
    value: int
    data: bytes
    operation: int
    gas: Gas = NO_REFUND
    claims: tuple[Claim, ...] = ()

    @property
    def refunds(self) -> bool:
        """Whether the Safe pays for its gas: to anybody, in any token, at any price the transaction names."""
        return self.gas[2] != 0

    def digest(self, chain_id: int, safe: str) -> bytes:
        """Return what its owners signed, whatever hash the service tells."""
        return digest((chain_id, safe), (self.to, self.value, self.data, self.operation), self.gas, self.nonce)

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
    """Whether the service told all, else the highest nonces; an owner can flood it with rejections that differ in gas."""


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
