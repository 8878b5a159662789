"""Transactions out of a Safe: its sweep to the verified safe destination, and the rejection of what waits.

Rules:

- One plain call each, one after the other, each for the Safe's nonce as it is then: so each happens once at most, and what
  somebody else's transaction overtook is made anew for the next nonce.
- Where active or restricted keys of the vault are enough owners, the guardian carries them; else they are proposed, signed
  by those that there are, to the Safe transaction service of the chain, and wait for other owners. A proposal that the
  service knows already is not made again.
- A sweep goes to a safe destination whose vault signature verifies, and `hsm/restrictions.py` compares every call with it.
  A locked Safe is not swept: its guard lets nothing leave, so people unlock it first.
- A token whose balance cannot be read, or that refuses its transfer, keeps nothing else from being swept.
- What waits is the service's word, and what is at stake on it is a nonce.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hsm.restrictions import KeyState, SafeRejection, SafeSweep, SigningRequest
from service.domain.errors import (
    MissingCapabilityError,
    PortcullisError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.evm import TOKEN_GAS, transfer_data
from service.domain.ids import AccountId
from service.domain.safe import SafeState, SafeTransaction
from service.domain.safe_queue import rejection
from service.ports.multisig import SafeService
from service.vault.destinations import verified_destination
from service.vault.everywhere import Outcome, require
from service.vault.safes import Safe

SIGN_OUT: Final = frozenset({KeyState.ACTIVE.value, KeyState.RESTRICTED.value})
"""Keys that may sign what goes only where the owners want it, or nowhere."""
WORTH: Final = 10
"""What a Safe holds of the coin is swept while it is at least so many times the fee of moving it."""
Request = tuple[SafeTransaction, SigningRequest]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One Safe, what it may hold, and where its other owners look."""

    safe: Safe
    assets: Sequence[str]
    """CAIP-19 of the account, on every chain."""
    service: SafeService | None

    @property
    def chain_id(self) -> str:
        """CAIP-2."""
        return f"eip155:{self.safe.guardian.chain_id}"

    def sweep(self) -> list[str]:
        """Carry or propose what empties it; return the hashes of what was done."""
        if self.safe.is_locked(self.safe.read()):
            raise RefusedByOtherSideError(
                f"{self.safe.address} is locked and its guard lets nothing leave: ask for unlock_multisig, then sweep again"
            )
        unread: list[PortcullisError] = []
        return self._do(lambda nonce: self._transfers(nonce, unread), unread)

    def is_swept(self) -> bool:
        """Say whether nothing worth its fee is left.

        Raises UnavailableError while that waits for other owners, or cannot be read.
        """
        unread: list[PortcullisError] = []
        state = self.safe.read()
        left = [made for made, _ in self._transfers(state.nonce, unread)]
        if not left and unread:
            raise unread[0]
        return not left or self._waits(state, left)

    def reject(self) -> list[str]:
        """Carry or propose a rejection for every nonce up to the last that waits; return their hashes."""
        return self._do(self._rejections, [])

    def is_rejected(self) -> bool:
        """Say whether nothing waits that does anything. Raises UnavailableError while rejections wait for others."""
        state = self.safe.read()
        left = [made for made, _ in self._rejections(state.nonce)]
        return not left or self._waits(state, left)

    def _do(self, wanted: Callable[[int], Iterator[Request]], errors: list[PortcullisError]) -> list[str]:
        state = self.safe.read()
        ours = len(self.safe.owners(state, SIGN_OUT))
        if not ours:
            raise MissingCapabilityError(f"no key of the vault is an owner of {self.safe.address}: sign by hand")
        enough = ours >= state.threshold
        if not enough:
            self._required()
        done: list[str] = []
        for made, request in wanted(state.nonce):
            try:
                done.append(self._carry(made, request) if enough else self._propose(state, made, request))
            except PortcullisError as error:
                errors.append(error)
                if not (enough and isinstance(error, RefusedByOtherSideError)):
                    break  # whether its nonce is used is not known: what comes after it waits for the next attempt
        return require(Outcome(done, errors))

    def _carry(self, made: SafeTransaction, request: SigningRequest) -> str:
        """Carry it for the Safe's nonce as it is now."""
        state = self.safe.read()
        keys = self.safe.owners(state, SIGN_OUT)[: state.threshold]
        return self.safe.execute(replace(made, nonce=state.nonce), request, keys).transaction_hash

    def _propose(self, state: SafeState, made: SafeTransaction, request: SigningRequest) -> str:
        """Leave it at the service with every signature that we can give; what is there already stays as it is."""
        service = self._required()
        signed = service.signed_by(made)
        for key in self.safe.owners(state, SIGN_OUT):
            owner = key.address.lower()
            if signed is None or owner not in signed:
                self._leave(service, made, self.safe.signature(key, request, made), owner, first=signed is None)
                signed = (signed or frozenset()) | {owner}
        return made.name

    def _leave(self, service: SafeService, made: SafeTransaction, signature: bytes, owner: str, *, first: bool) -> None:
        try:
            if first:
                service.propose(made, owner, signature)
            else:
                service.confirm(made, signature)
        except UnknownOutcomeError:
            if owner not in (service.signed_by(made) or ()):
                raise

    def _required(self) -> SafeService:
        if self.service is None:
            raise MissingCapabilityError(
                f"no Safe transaction service is set for {self.chain_id}: set it in PORTCULLIS_SAFE_SERVICES, or let the"
                f" owners of {self.safe.address} sign by hand (lock_multisig refuses all that waits)"
            )
        return self.service

    def _transfers(self, nonce: int, unread: list[PortcullisError]) -> Iterator[Request]:
        """Yield one transfer for each asset that is worth it, with following nonces."""
        destination = verified_destination(self.safe.parts, AccountId(self.safe.account), self.chain_id)
        to = destination.destination.descriptor
        for asset, amount in self._holdings(unread):
            token = asset.partition("/erc20:")[2]
            target, value, data = (token, 0, transfer_data(to, amount)) if token else (to, amount, b"")
            made = SafeTransaction(self.safe.guardian.chain_id, self.safe.address, target, data, nonce, value)
            yield made, SafeSweep(self.safe.account, self.chain_id, asset, target, value, data, destination)
            nonce += 1

    def _holdings(self, unread: list[PortcullisError]) -> list[tuple[str, int]]:
        chain, address = self.safe.chain, self.safe.address
        held: list[tuple[str, int]] = []
        for asset in sorted(a for a in self.assets if a.startswith(f"{self.chain_id}/erc20:")):
            try:
                amount = chain.token_balance(asset.partition("/erc20:")[2], address)
            except UnavailableError as error:
                unread.append(UnavailableError(f"the balance of {asset} could not be read: {error}"))
                continue
            if amount:
                held.append((asset, amount))
        coin = chain.balance(address)
        if coin >= WORTH * TOKEN_GAS * chain.fee().max_fee:
            native = next((a for a in self.assets if a.startswith(f"{self.chain_id}/slip44:")), None)
            held.append((native or f"{self.chain_id}/slip44:60", coin))
        return held

    def _rejections(self, nonce: int) -> Iterator[Request]:
        """Yield a rejection for each nonce from the Safe's own to the last at which something waits."""
        waiting = self._required().pending(self.safe.address, nonce)
        for number in waiting.to_reject(self.safe.address):
            made = rejection(self.safe.guardian.chain_id, self.safe.address, number)
            yield made, SafeRejection(self.safe.account, self.safe.address, made.to, made.value, made.data)

    def _waits(self, state: SafeState, left: Sequence[SafeTransaction]) -> bool:
        """Return False where something is still to be done here; raise UnavailableError where others are to sign."""
        mine = {key.address.lower() for key in self.safe.owners(state, SIGN_OUT)}
        if len(mine) >= state.threshold or self.service is None:
            return False
        for made in left:
            signed = self.service.signed_by(made)
            if signed is None or not mine <= signed:
                return False
        raise UnavailableError(f"proposed to the owners of {self.safe.address}: it waits for signatures of others")
