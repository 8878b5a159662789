"""The guard contract of this service: what is sent to it and what it says. Source: service/chain/contracts.

Rules: the contract is created by the guardian's own first transactions, so its address follows from the guardian's and
nobody configures one; it counts only where the code is byte for byte ours and names our guardian.
"""

from dataclasses import dataclass
from typing import Final

from eth_abi.abi import encode

from service.domain.evm import contract_address
from service.domain.safe import call

CREATION_GAS: Final = 1_150_000
"""The least that a creation is given, whatever an endpoint estimates: it takes about 870 000 and never much else."""
FIRST_NONCES: Final = 4
"""So many of the guardian's first nonces may have created the guard: a creation that ran out of gas used its own."""


@dataclass(frozen=True, slots=True)
class GuardCode:
    """The compiled contract."""

    creation: bytes
    runtime: bytes

    def created_by(self, guardian: str, recovery: str) -> bytes:
        """Return the data of the transaction that creates it."""
        return self.creation + encode(["address", "address"], [guardian, recovery])


def candidates(guardian: str) -> tuple[str, ...]:
    """Return the addresses at which the guardian's guard may be."""
    return tuple(contract_address(guardian, nonce) for nonce in range(FIRST_NONCES))


def lock(safe: str) -> bytes:
    """Return the call after which nothing leaves the Safe."""
    return call("lock(address)", safe)


def lift(safe: str) -> bytes:
    """Return the call that takes the lock back."""
    return call("lift(address)", safe)


def is_locked(safe: str) -> bytes:
    """Return the question whether a Safe is locked."""
    return call("locked(address)", safe)


def who_guards() -> bytes:
    """Return the question for the guardian's address."""
    return call("guardian()")


def name_destination(safe: str, to: str) -> bytes:
    """Return the call that names where a locked Safe may be swept: at once the first time, a day later afterwards."""
    return call("nameDestination(address,address)", safe, to)


def destination_of(safe: str) -> bytes:
    """Return the question where a locked Safe may be swept now; the zero address for nowhere."""
    return call("destinationOf(address)", safe)


def destination_after(safe: str) -> bytes:
    """Return the question which destination was announced, and from when on it counts (seconds since 1970)."""
    return call("destinationAfter(address)", safe)
