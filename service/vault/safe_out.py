"""Transactions out of a Safe: its sweep to the verified safe destination, and the rejection of what waits.

Rules:

- One plain call each, one after the other, each for the Safe's nonce as it is then: so each happens once at most, and what
  somebody else's transaction overtook is made anew for the next nonce; a rejection whose nonce is used is not made at all.
- Where active or restricted keys of the vault are enough owners, the guardian carries them; else they are proposed, signed
  by those that there are, to the Safe transaction service of the chain, and wait for other owners.
- A proposal of ours that waits is known again by our own signature, its asset and its destination, not by its amount: dust
  that comes in makes no second one. Where an asset grew by more than a GROWTH-th of what waits, the rest is proposed at a
  nonce of its own. What can no longer be executed, because less is there, or carries less than a GROWTH-th of what is
  there, is replaced at its nonce.
- A sweep goes to a safe destination whose vault signature verifies, and `hsm/restrictions.py` compares every call with it.
  A locked Safe is swept under its lock: the guard lets it pay the one destination that the guardian named for it, carried
  by the guardian alone. That takes enough owners in the vault, and people who want another destination wait a day.
- A token whose balance cannot be read, or that refuses its transfer, keeps nothing else from being swept.
- What came in after the step had moved of an asset is left where it is worth no transaction (`vault/safe_rest.py`).
- What waits counts as far as owners signed it (`vault/safe_waiting.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hsm.restrictions import SafeRejection, SafeSweep, SigningRequest
from service.domain import guard
from service.domain.errors import (
    MissingCapabilityError,
    PortcullisError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.safe import ZERO, SafeState, SafeTransaction, address_in_slot
from service.domain.safe_queue import Queued
from service.ports.multisig import SafeService
from service.vault.everywhere import Outcome, require
from service.vault.safe_rest import Earlier, Rest
from service.vault.safe_sweeps import SIGN_OUT, Planned, Request, Sweeping, amount_of, rejecting
from service.vault.safe_waiting import signers, to_reject
from service.vault.safes import Safe


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep of one Safe did."""

    transactions: list[str]
    """Hashes of what was carried, or names of what is proposed."""
    grown: Mapping[str, int]
    """By asset, in base units: what came in beside a proposal that waits, and is proposed on its own."""
    moved: Mapping[str, int]
    """By asset, in base units: what the step carried so far, where the vault has enough owners."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One Safe, what it may hold, and where its other owners look."""

    safe: Safe
    assets: Sequence[str]
    """CAIP-19 of the account, on every chain."""
    service: SafeService | None
    earlier: Earlier = field(default_factory=Earlier)
    """What the same step had done before."""

    @property
    def chain_id(self) -> str:
        """CAIP-2."""
        return f"eip155:{self.safe.guardian.chain_id}"

    def sweep(self) -> Swept:
        """Carry or propose what empties it; return what was done."""
        state = self.safe.read()
        unread: list[PortcullisError] = []
        planned = self._planned(state, unread)
        if planned.requests and self.safe.is_locked(state):
            if not self._enough(state):
                raise RefusedByOtherSideError(
                    f"{self.safe.address} is locked, and the vault has too few of its owners to sweep it under the lock:"
                    " ask for unlock_multisig, then sweep again"
                )
            self._require_destination(planned.to)
        done = self._do(state, planned.requests, unread)
        return Swept(done, planned.grown, self._carried(planned) if self._enough(state) else self.earlier.moved)

    def is_swept(self) -> bool:
        """Say whether nothing worth its fee is left.

        Raises UnavailableError while that waits for other owners, or cannot be read.
        """
        unread: list[PortcullisError] = []
        state = self.safe.read()
        left = [made for made, _ in self._planned(state, unread).requests]
        if not left and unread:
            raise unread[0]
        return not left or self._waits(state, left)

    def rests(self) -> Sequence[Rest]:
        """Return what is left of a Safe that is swept, and why. Raises UnavailableError where that cannot be read."""
        unread: list[PortcullisError] = []
        rests = Sweeping(self.safe, self.assets, unread, self.earlier).rests()
        return require(Outcome(rests, unread))

    def reject(self) -> list[str]:
        """Carry or propose the rejections of what owners signed and is dangerous, all of them (`to_reject`)."""
        state = self.safe.read()
        return self._do(state, self._rejections(state), [])

    def is_rejected(self) -> bool:
        """Say whether nothing dangerous waits. Raises UnavailableError while rejections wait for others."""
        state = self.safe.read()
        left = [made for made, _ in self._rejections(state)]
        return not left or self._waits(state, left)

    def _require_destination(self, to: str) -> None:
        """Name the destination to the guard where it has none, and raise unless it lets a locked Safe pay there."""
        guardian, address = self.safe.guardian, self.safe.address
        found = guardian.guard()
        if found is None:
            raise UnavailableError(f"the chain does not show the guard of {address} any more")
        present = address_in_slot(guardian.chain.call(found, guard.destination_of(address)))
        if present == to.lower():
            return
        following = guardian.chain.call(found, guard.destination_after(address))
        if address_in_slot(following[:32]) != to.lower():
            guardian.carry(found, guard.name_destination(address, to))
        if present != ZERO:
            raise RefusedByOtherSideError(
                f"the guard lets {address} pay {present} alone while it is locked; {to} counts a day after it was"
                " announced: sweep again then, or ask for unlock_multisig"
            )

    def _planned(self, state: SafeState, unread: list[PortcullisError]) -> Planned:
        sweeping = Sweeping(self.safe, self.assets, unread, self.earlier)
        if self.service is None or self._enough(state):
            return sweeping.anew(state)
        return sweeping.beside(state, self.service.pending(self.safe.address, state.nonce))

    def _carried(self, planned: Planned) -> Mapping[str, int]:
        """Return what the step moved with this attempt, all of which was carried."""
        carried = dict(self.earlier.moved)
        for made, request in planned.requests:
            if isinstance(request, SafeSweep):
                carried[request.asset] = carried.get(request.asset, 0) + amount_of(made)
        return carried

    def _enough(self, state: SafeState) -> bool:
        return len(self.safe.owners(state, SIGN_OUT)) >= state.threshold

    def _do(self, state: SafeState, wanted: Sequence[Request], errors: list[PortcullisError]) -> list[str]:
        enough = self._enough(state)
        if not self.safe.owners(state, SIGN_OUT):
            raise MissingCapabilityError(f"no key of the vault is an owner of {self.safe.address}: sign by hand")
        if not enough:
            self._required()
        done: list[str] = []
        for made, request in wanted:
            try:
                name = self._carry(made, request) if enough else self._propose(state, made, request)
                done += [] if name is None else [name]
            except PortcullisError as error:
                errors.append(error)
                if not (enough and isinstance(error, RefusedByOtherSideError)):
                    break  # whether its nonce is used is not known: what comes after it waits for the next attempt
        return require(Outcome(done, errors))

    def _carry(self, made: SafeTransaction, request: SigningRequest) -> str | None:
        """Carry it for the Safe's nonce as it is now; None for a rejection whose nonce somebody used meanwhile."""
        state = self.safe.read()
        if isinstance(request, SafeRejection) and state.nonce > made.nonce:
            return None
        keys = self.safe.owners(state, SIGN_OUT)[: state.threshold]
        return self.safe.execute(replace(made, nonce=state.nonce), request, keys).transaction_hash

    def _propose(self, state: SafeState, made: SafeTransaction, request: SigningRequest) -> str:
        """Leave it at the service with every signature that we can give; what is there already stays as it is."""
        service = self._required()
        signed = self._signed_by(service, made)
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
            if owner not in (self._signed_by(service, made) or ()):
                raise

    def _signed_by(self, service: SafeService, made: SafeTransaction) -> frozenset[str] | None:
        """Return who really signed it there; None where the service does not know it."""
        claims = service.confirmations(made)
        if claims is None:
            return None
        told = Queued(made.nonce, made.to, made.value, made.data, 0, claims=claims)
        return signers(self.safe, told, {claim.owner for claim in claims})

    def _required(self) -> SafeService:
        if self.service is None:
            raise MissingCapabilityError(
                f"no Safe transaction service is set for {self.chain_id}: set it in PORTCULLIS_SAFE_SERVICES, or let the"
                f" owners of {self.safe.address} sign by hand (lock_multisig refuses all that waits)"
            )
        return self.service

    def _rejections(self, state: SafeState) -> list[Request]:
        waiting = self._required().pending(self.safe.address, state.nonce)
        nonces = to_reject(self.safe, state, waiting, locked=self.safe.is_locked(state))
        return [rejecting(self.safe, number) for number in nonces]

    def _waits(self, state: SafeState, left: Sequence[SafeTransaction]) -> bool:
        """Return False where something is still to be done here; raise UnavailableError where others are to sign."""
        mine = {key.address.lower() for key in self.safe.owners(state, SIGN_OUT)}
        if len(mine) >= state.threshold or self.service is None:
            return False
        for made in left:
            signed = self._signed_by(self.service, made)
            if signed is None or not mine <= signed:
                return False
        raise UnavailableError(f"proposed to the owners of {self.safe.address}: it waits for signatures of others")
