"""Reading a Safe from its chain, and letting it do what the vault's owner keys sign.

Rules: nothing of a Safe is remembered; a change is signed only when enough active keys of the vault are owners, for the
Safe's nonce as it is now, and each key is asked by `hsm/restrictions.py`; the owner who is to go never signs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from hsm.restrictions import KeyState, SafeManagement, SafeRejection, SigningRequest
from service.domain import guard, safe
from service.domain.errors import InputError, MissingCapabilityError, RefusedByOtherSideError, UnavailableError
from service.domain.safe import SafeState, SafeTransaction
from service.domain.vault import VaultKey
from service.ports.chain import ContractChain, Mined
from service.vault.guardian import Guardian
from service.vault.parts import VaultParts

MANAGE: Final = frozenset({KeyState.ACTIVE.value})
"""A restricted key is in the attacker's hands and manages nothing."""
MASTER_COPY_SLOT: Final = bytes(32)
"""Where the proxy of every Safe keeps the address of the code that it runs."""


class UsurpedSafeError(MissingCapabilityError):
    """A proxy whose master copy was replaced by code that is no Safe's: it asks no guard, whatever is installed."""

    code = "safe_usurped"


@dataclass(frozen=True, slots=True)
class Safe:
    """One multisig on one chain."""

    parts: VaultParts
    guardian: Guardian
    account: str
    address: str

    @property
    def chain(self) -> ContractChain:
        """Access to its chain."""
        return self.guardian.chain

    @property
    def at(self) -> str:
        """Its chain and address, as CAIP-10."""
        return f"eip155:{self.guardian.chain_id}:{self.address}"

    def read(self) -> SafeState:
        """Return what it is now.

        Raises UnavailableError when the chain answers as no Safe would, UsurpedSafeError when its code was replaced.
        """
        told = safe.answered("string", self._version(), "VERSION")
        try:
            version = safe.version_of(str(told))
        except InputError as error:
            raise UnavailableError(f"{self.address} is no Safe: {error}") from error
        state = SafeState(
            version=version,
            nonce=self._number("nonce()"),
            threshold=self._number("getThreshold()"),
            owners=safe.addresses_answered(self._ask("getOwners()"), "getOwners", safe.MOST_OWNERS),
            modules=self._modules(),
            guard=self._slot(safe.GUARD_SLOT),
            module_guard=self._slot(safe.MODULE_GUARD_SLOT),
            handler=self._slot(safe.HANDLER_SLOT),
        )
        if not 1 <= state.threshold <= len(state.owners):
            raise UnavailableError(f"the chain's endpoint tells a threshold of {state.threshold} that no Safe has")
        return state

    def manage(self, state: SafeState, data: bytes, *, to: str | None = None, without: str | None = None) -> Mined:
        """Sign one call of the Safe by as many of our owners as it takes, and carry it.

        `without` is an owner who must not sign. Raises MissingCapabilityError when our owners are too few,
        UnavailableError when another transaction of the Safe came first: what was signed is void, and may be done anew.
        """
        made = SafeTransaction(self.guardian.chain_id, self.address, to or self.address, data, state.nonce)
        keys = [key for key in self.owners(state, MANAGE) if key.address.lower() != (without or "").lower()]
        return self.execute(made, SafeManagement(self.account, self.address, made.to, data), keys[: state.threshold])

    def execute(self, made: SafeTransaction, request: SigningRequest, keys: Sequence[VaultKey]) -> Mined:
        """Let owners sign a transaction, each key asked with the same request, and carry it; raises as `manage`."""
        self.require(self.read(), keys)
        signatures = {key.address.lower(): self.signature(key, request, made) for key in keys}
        try:
            rejects = isinstance(request, SafeRejection)
            return self.guardian.carry(self.address, made.calldata(signatures), rejects=rejects)
        except RefusedByOtherSideError as error:
            if self._number("nonce()") == made.nonce:
                raise
            raise UnavailableError(
                f"another transaction of {self.address} used nonce {made.nonce} first: it is signed anew for the next"
            ) from error

    def require(self, state: SafeState, keys: Sequence[VaultKey]) -> None:
        """Raise MissingCapabilityError where these keys are too few to sign for it."""
        if len(keys) < state.threshold:
            raise MissingCapabilityError(
                f"{self.address} needs {state.threshold} signatures and the vault has active keys of {len(keys)} of its"
                " owners: make vault accounts its owners, or let its owners sign by hand"
            )

    def signature(self, key: VaultKey, request: SigningRequest, made: SafeTransaction) -> bytes:
        """Return one owner's signature as a Safe reads it. Raises ForbiddenError where the key may not."""
        signed = self.parts.sign(key, request, made.digest())
        return safe.packed(signed.r, signed.s, signed.v)

    def owners(self, state: SafeState, states: Collection[str]) -> Sequence[VaultKey]:
        """Return the vault's keys among its owners that are in one of these states, in the owners' order."""
        with self.parts.db.begin() as uow:
            found = uow.keys.keys_at(state.owners)
        return [key for key in found if key.state in states]

    def is_locked(self, state: SafeState) -> bool:
        """Say whether the guard that it has is ours and tripped."""
        found = self.guardian.guard()
        return found is not None and state.guard == found and self.tripped(found)

    def tripped(self, found: str) -> bool:
        """Say whether a guard of ours is tripped for it, installed or not."""
        return bool(safe.answered("bool", self.chain.call(found, guard.is_locked(self.address)), "locked"))

    def _modules(self) -> tuple[str, ...]:
        asked = safe.call("getModulesPaginated(address,uint256)", safe.SENTINEL, safe.MOST_MODULES)
        raw = self.chain.call(self.address, asked)
        # (address[] array, address next): the list's offset, then where the next page begins.
        following = safe.address_in_slot(raw[32:64])
        if following not in (safe.SENTINEL, safe.ZERO):
            raise UnavailableError(f"{self.address} has more than {safe.MOST_MODULES} modules: look at it by hand")
        return safe.addresses_answered(bytes(31) + b"\x20" + raw[64:], "getModulesPaginated", safe.MOST_MODULES)

    def _version(self) -> bytes:
        """Return what the Safe says of its version.

        Raises UsurpedSafeError where its code is there and says nothing.
        """
        try:
            told = self._ask("VERSION()")
        except UnavailableError as error:
            if "revert" not in str(error).lower():
                raise
            told = b""
        if told or not self.chain.code(self.address):
            return told
        master_copy = self._slot(MASTER_COPY_SLOT)
        raise UsurpedSafeError(
            f"{self.address} runs code that is no Safe's, {master_copy}: no guard holds what it has. Look at the chain with"
            " another endpoint; if that says the same, what is left there is whoever's wrote that code"
        )

    def _ask(self, question: str) -> bytes:
        return self.chain.call(self.address, safe.call(question))

    def _number(self, question: str) -> int:
        return int(str(safe.answered("uint256", self._ask(question), question)))

    def _slot(self, slot: bytes) -> str:
        return safe.address_in_slot(self.chain.storage(self.address, slot))
