"""Multisigs as containment needs them: lock, unlock, replace or remove an owner, raise a threshold, skip, reject, sweep.

Runs in the key worker only. What an account's multisig is now is read from the chain each time and never remembered, so
every method may be repeated: it goes on from what the chain says. What fails at one multisig of the account is done at the
others all the same, and raised after them. Changes raise RefusedByOtherSideError for a clear no, UnavailableError when a
block took too long or an endpoint is not believed, UnknownOutcomeError when an answer was lost, MissingCapabilityError
where the vault's owners are too few or a part is not configured.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict
from service.domain.safe import SafeTransaction
from service.domain.safe_queue import Claim, Waiting
from service.domain.standing import Standing
from service.domain.threshold import Lower, Raise


class MultisigControl(Protocol):
    """The multisigs of registered accounts, on every chain on which they have an address."""

    def final(self) -> "MultisigControl":
        """Return the same multisigs as their chains' newest final blocks show them: for questions only."""
        ...

    def standing(self, account: AccountId, transactions: Collection[str]) -> Standing:
        """Return the multisigs' nonces, and which of these transactions are in blocks. Raises UnavailableError."""
        ...

    def lock(self, account: AccountId) -> Receipt:
        """Let nothing leave it: install the guard where the vault's owners can, then trip it."""
        ...

    def locked(self, account: AccountId) -> Verdict: ...

    def unlock(self, account: AccountId) -> Receipt:
        """Lift the guard; it stays installed."""
        ...

    def unlocked(self, account: AccountId) -> Verdict: ...

    def replace_owner(self, account: AccountId, owner: str, successor: str) -> Receipt:
        """Put `successor` in the place of `owner`; both are 0x addresses."""
        ...

    def owner_replaced(self, account: AccountId, owner: str, successor: str) -> Verdict: ...

    def remove_owner(self, account: AccountId, owner: str) -> Receipt:
        """Remove `owner` and leave the threshold as it is."""
        ...

    def owner_removed(self, account: AccountId, owner: str) -> Verdict: ...

    def raise_threshold(self, account: AccountId, wanted: Raise, before: Receipt | None = None) -> Receipt:
        """Ask for more signatures at the multisigs of which the chain says what `wanted` was made of.

        `before` is the step's receipt so far. Without one those multisigs are noted and nothing is signed: only what is
        noted is raised, so a repeat knows what was raised by the step. Others are left alone and named with the reason,
        where at least one is raised. Raises as the module says where none is.
        """
        ...

    def threshold_raised(self, account: AccountId, wanted: Raise, before: Receipt | None) -> Verdict:
        """HOLDS once all that the receipt notes ask for as many signatures or more; nothing noted: DOES_NOT_HOLD."""
        ...

    def restore_threshold(self, account: AccountId, safes: Mapping[str, Lower]) -> Receipt:
        """Lower these multisigs (CAIP-10), each from exactly what it was raised to; never another or to more than now.

        Raises RefusedByOtherSideError for one that asks for another number, MissingCapabilityError for none, or for one
        that is none of the account's any more; the others are lowered.
        """
        ...

    def threshold_restored(self, account: AccountId, safes: Mapping[str, Lower]) -> Verdict:
        """HOLDS once none of these asks for more than before it was raised."""
        ...

    def cancel_delayed(self, account: AccountId) -> Receipt:
        """Skip every transaction that the multisig's delay modules hold back."""
        ...

    def delayed_cancelled(self, account: AccountId) -> Verdict: ...

    def sweep(self, account: AccountId, before: Receipt | None = None) -> Receipt:
        """Pay everything to the verified safe destination, or propose that to the other owners where ours are too few.

        `before` is the step's receipt so far: what came in since and is worth no transaction stays.
        """
        ...

    def swept(self, account: AccountId, before: Receipt | None = None) -> Verdict:
        """HOLDS once nothing worth its fee is left; CANNOT_TELL while proposals of ours wait for other owners."""
        ...

    def rests(self, account: AccountId, before: Receipt | None = None) -> Sequence[Mapping[str, str]]:
        """Return what is left once it is swept: safe, asset, base_units, amount, usd where known, because.

        Raises UnavailableError where that cannot be read.
        """
        ...

    def reject_pending(self, account: AccountId) -> Receipt:
        """Use up the nonces of what waits for signatures, or propose that where our owners are too few."""
        ...

    def pending_rejected(self, account: AccountId) -> Verdict:
        """HOLDS once nothing that does anything waits; CANNOT_TELL while rejections of ours wait for other owners."""
        ...


class SafeService(Protocol):
    """A Safe transaction service of one chain: where owners leave proposals and signatures for each other."""

    def pending(self, safe: str, nonce: int) -> Waiting:
        """Return what waits with this nonce or one of the MOST_AHEAD - 1 after it. Raises UnavailableError."""
        ...

    def confirmations(self, made: SafeTransaction) -> tuple[Claim, ...] | None:
        """Return who is said to have signed it there; None where it is unknown. Raises UnavailableError."""
        ...

    def propose(self, made: SafeTransaction, owner: str, signature: bytes) -> None:
        """Propose it, signed by one owner.

        Raises RefusedByOtherSideError, UnavailableError (nothing was sent), UnknownOutcomeError.
        """
        ...

    def confirm(self, made: SafeTransaction, signature: bytes) -> None:
        """Add one more owner's signature to a proposal. Raises as `propose`."""
        ...
