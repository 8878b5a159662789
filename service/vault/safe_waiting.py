"""What waits at a Safe transaction service, as far as owners of the Safe really signed it.

Rules: that something waits is the service's word and counts for nothing; a signature of an owner over the hash that we
compute does, because nobody else can make it (Safe's signature encoding: v 27 and 28 ECDSA, 31 and 32 ECDSA over EIP-191,
1 approved on the chain, 0 by a contract, EIP-1271). For an owner that has code, also one that was delegated to some
(EIP-7702), the service's word is taken that it signed as a contract. What nobody signed is nobody's danger. What enough
owners signed is rejected however far ahead it is, with all before it in one go, because our own next transactions, and
rejections, use those up and bring its turn. All but one of the threshold are enough while the Safe is not locked: one
stolen key need never be shown, as a Safe takes the sender of the transaction for a signer (v = 1). What fewer signed is
rejected only where it is next, one at a time. Under the lock, where nobody can execute it, the whole threshold counts: one
owner's key alone has nothing carried there but by a flood. A list that was cut counts as a flood of an owner's only where
everything in it is signed; its top is what the service tells, so all up to the last nonce of it is rejected, locked or not,
because of what it hides nothing is known.
"""

from collections.abc import Collection
from typing import Final

from eth_hash.auto import keccak

from hsm import ecdsa
from hsm.custodian import Signature
from hsm.derivation import evm_address
from service.domain import safe
from service.domain.errors import UnavailableError
from service.domain.safe import SafeState
from service.domain.safe_queue import Claim, Queued, Waiting
from service.vault.safes import Safe

_BYTES: Final = 65
_EIP_191: Final = b"\x19Ethereum Signed Message:\n32"
_ECDSA: Final = (27, 28)
_ECDSA_EIP_191: Final = (31, 32)
_APPROVED: Final = 1
_BY_CONTRACT: Final = 0


def signers(one: Safe, queued: Queued, among: Collection[str]) -> frozenset[str]:
    """Return which of these owners (lower-case) really signed it; asks the chain for those that sign by a contract."""
    digest = queued.digest(one.guardian.chain_id, one.address)
    return frozenset(claim.owner for claim in queued.claims if claim.owner in among and _is_genuine(one, claim, digest))


def to_reject(one: Safe, state: SafeState, waiting: Waiting, *, locked: bool) -> range:
    """Return the nonces, from the Safe's own on and at most MOST_AHEAD, that are to be used up by rejections.

    Raises UnavailableError when the list was cut and holds what no owner signed.
    """
    if not waiting.whole:
        _require_signed(one, state, waiting)
        return range(state.nonce, max(queued.nonce for queued in waiting.queued) + 1)
    needed = state.threshold if locked else max(1, state.threshold - 1)
    moving = sorted((q for q in waiting.queued if not q.moves_nothing(one.address)), key=lambda q: -q.nonce)
    enough = (q.nonce for q in moving if len(signers(one, q, state.owners)) >= needed)
    following = next(enough, state.nonce - 1) + 1
    at_hand = (q for q in moving if q.nonce == following and not locked)
    if any(signers(one, q, state.owners) for q in at_hand):
        following += 1
    return range(state.nonce, following)


def _require_signed(one: Safe, state: SafeState, waiting: Waiting) -> None:
    told = {queued.digest(one.guardian.chain_id, one.address) for queued in waiting.queued}
    if not told or len(told) < len(waiting.queued) or not all(signers(one, q, state.owners) for q in waiting.queued):
        raise UnavailableError(
            f"the Safe transaction service tells a flood for {one.address} that its owners did not sign: not believed"
        )


def _is_genuine(one: Safe, claim: Claim, digest: bytes) -> bool:
    if len(claim.signature) < _BYTES:
        return False
    kind = claim.signature[64]
    if kind in _ECDSA:
        return _signed(claim, digest, kind - _ECDSA[0])
    if kind in _ECDSA_EIP_191:
        return _signed(claim, keccak(_EIP_191 + digest), kind - _ECDSA_EIP_191[0])
    if kind == _APPROVED:
        asked = safe.call("approvedHashes(address,bytes32)", claim.owner, digest)
        return any(one.chain.call(one.address, asked))
    return kind == _BY_CONTRACT and bool(one.chain.code(claim.owner))


def _signed(claim: Claim, digest: bytes, parity: int) -> bool:
    r, s = (int.from_bytes(claim.signature[at : at + 32], "big") for at in (0, 32))
    public_key = ecdsa.recover(Signature(r, s, parity), digest)
    return public_key is not None and evm_address(public_key).lower() == claim.owner
