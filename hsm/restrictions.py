"""What a key may still sign (design D4): pure, asked before every signature of a wallet key.

Rules held here:
- An active key signs what its caller was authorised for.
- A restricted key signs nothing but a sweep to a verified safe destination, the cancellation of a pending transaction by
  one of the same nonce that moves nothing, or an allowance of nothing, which takes back what others may take. Sweep and
  cancellation may also be those of a multisig whose owner the key is.
- A retired or destroyed key signs nothing.
- For a multisig whose owner it is, an active key signs changes of owners, threshold, guards and modules, and the skipping
  of what a delay module holds back: plain calls that pay nobody. A restricted key is in the attacker's hands and signs
  none of them.
- The sweep's destination is compared with the verified statement here, field by field: the caller cannot vouch for it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hsm.statements import VerifiedDestination


class KeyState(StrEnum):
    """What is still allowed to a key."""

    ACTIVE = "active"
    RESTRICTED = "restricted"
    RETIRED = "retired"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Transfer:
    """An ordinary transfer, message or anything else that is neither of the two below."""

    account: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """A transfer of all funds of `account` on `chain` to `descriptor`, said to be a safe destination."""

    account: str
    chain: str
    asset: str
    descriptor: str
    verified: VerifiedDestination


@dataclass(frozen=True, slots=True)
class NonceCancel:
    """An EVM transaction that replaces a pending one: same nonce, to the sender itself, no value, no data."""

    account: str
    nonce: int
    pending_nonce: int
    sender: str
    to: str
    value: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SafeManagement:
    """A call of a Safe that pays nobody: of one of its own functions, or `setTxNonce` of a module that delays."""

    account: str
    safe: str
    to: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Revocation:
    """An ERC-20 `approve` that leaves a spender nothing; `data` is the whole call, `value` its coin in wei."""

    account: str
    token: str
    value: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SafeSweep:
    """A plain call of a Safe that pays one asset of `account`, which it is, to a safe destination; `value` in wei."""

    account: str
    chain: str
    asset: str
    """CAIP-19: the chain's coin (`slip44`) or a token (`erc20`)."""
    to: str
    value: int
    data: bytes
    verified: VerifiedDestination


@dataclass(frozen=True, slots=True)
class SafeRejection:
    """A call of a Safe to itself that uses up a nonce and does nothing else."""

    account: str
    safe: str
    to: str
    value: int
    data: bytes


SigningRequest = Transfer | Sweep | NonceCancel | SafeManagement | Revocation | SafeSweep | SafeRejection

_TRANSFER: Final = bytes.fromhex("a9059cbb")
_TRANSFER_BYTES: Final = 68
_APPROVE: Final = bytes.fromhex("095ea7b3")
_APPROVE_BYTES: Final = 68
_SPENDER_ENDS: Final = 36

_OF_THE_SAFE: Final = (
    "e19a9dd9",  # setGuard(address)
    "e068df37",  # setModuleGuard(address)
    "e318b52b",  # swapOwner(address,address,address)
    "f8dc5dd9",  # removeOwner(address,address,uint256)
    "694e80c3",  # changeThreshold(uint256)
)
_OF_A_DELAY: Final = ("46ba2307",)  # setTxNonce(uint256)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The key may sign this."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The key may not; `reason` is a sentence for the audit log."""

    reason: str


def may_sign(state: KeyState, request: SigningRequest) -> Allowed | Refused:
    """Decide whether a key in `state` may sign `request`."""
    if state in (KeyState.RETIRED, KeyState.DESTROYED):
        return Refused(f"a {state} key signs nothing")
    if isinstance(request, Sweep):
        return _sweep(request)
    if isinstance(request, SafeSweep):
        return _safe_sweep(request)
    if isinstance(request, SafeRejection):
        return _rejection(request)
    if isinstance(request, NonceCancel):
        return _cancel(request)
    if isinstance(request, Revocation):
        return _revocation(request)
    if state is KeyState.ACTIVE:
        return _management(request) if isinstance(request, SafeManagement) else Allowed()
    return Refused("a restricted key signs only a sweep to a safe destination or a same-nonce cancellation")


def _sweep(request: Sweep) -> Allowed | Refused:
    said = request.verified.destination
    for name in ("account", "chain", "descriptor"):
        if getattr(request, name) != getattr(said, name):
            return Refused(f"the sweep's {name} is not that of the verified safe destination")
    if said.asset not in ("*", request.asset):
        return Refused("the sweep's asset is not that of the verified safe destination")
    return Allowed()


def _safe_sweep(request: SafeSweep) -> Allowed | Refused:
    said = request.verified.destination
    if (request.account, request.chain) != (said.account, said.chain):
        return Refused("the sweep's account or chain is not that of the verified safe destination")
    if said.asset not in ("*", request.asset):
        return Refused("the sweep's asset is not that of the verified safe destination")
    if _pays(request, said.descriptor):
        return Allowed()
    return Refused("the call does nothing but pay the asset to the verified safe destination, or it is not signed")


def _pays(request: SafeSweep, descriptor: str) -> bool:
    kind, _, reference = request.asset.removeprefix(f"{request.chain}/").partition(":")
    if kind == "slip44":
        return request.to.lower() == descriptor.lower() and request.value > 0 and not request.data
    recipient = request.data[4:_SPENDER_ENDS]
    return (
        kind == "erc20"
        and request.to.lower() == reference.lower()
        and request.value == 0
        and len(request.data) == _TRANSFER_BYTES
        and request.data[:4] == _TRANSFER
        and not any(recipient[:12])
        and "0x" + recipient[12:].hex() == descriptor.lower()
    )


def _rejection(request: SafeRejection) -> Allowed | Refused:
    if request.to.lower() != request.safe.lower() or request.value != 0 or request.data:
        return Refused("a rejection is an empty call of the Safe to itself")
    return Allowed()


def _cancel(request: NonceCancel) -> Allowed | Refused:
    if request.nonce != request.pending_nonce:
        return Refused("the cancellation does not have the pending transaction's nonce")
    if request.to.lower() != request.sender.lower():
        return Refused("a cancellation goes to the sender itself")
    if request.value != 0 or request.data:
        return Refused("a cancellation moves no value and carries no data")
    return Allowed()


def _revocation(request: Revocation) -> Allowed | Refused:
    approves = len(request.data) == _APPROVE_BYTES and request.data[:4] == _APPROVE
    if request.value != 0 or not approves or any(request.data[_SPENDER_ENDS:]):
        return Refused("a revocation is an approval of nothing and carries no coin")
    return Allowed()


def _management(request: SafeManagement) -> Allowed | Refused:
    own = request.to.lower() == request.safe.lower()
    if request.data[:4].hex() not in (_OF_THE_SAFE if own else _OF_A_DELAY):
        return Refused("the call is none of those that manage a Safe without paying anybody")
    return Allowed()
