"""Wallet keys as containment needs them: restrict, prepare a rotation, publish, sweep, retire, destroy.

Runs in the key worker only. Every method is idempotent under `key` (the step's idempotency key) and resumes where an
earlier attempt stopped. A sweep goes only to a safe destination whose vault signature was verified; chain calls whose
answer was lost raise UnknownOutcomeError.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict
from service.domain.standing import Standing
from service.ports.store.unit import UnitOfWork

StillMine = Callable[[UnitOfWork], None]
"""Asked in the transaction that loosens, last: raises StaleFenceError where the step that does it is no longer the caller's,
and else keeps it so until the transaction ends."""


class VaultKeys(Protocol):
    """The vault's wallet keys of registered accounts."""

    def provision(self, account: AccountId) -> Receipt:
        """Create the account's wallet and leaf, and sign its safe destinations."""
        ...

    def restrict(self, account: AccountId, *, key: str) -> Receipt:
        """From now on the account's keys sign nothing but a sweep to a verified safe destination or a cancel."""
        ...

    def restricted(self, account: AccountId) -> Verdict: ...

    def lift_restriction(self, account: AccountId, *, key: str, still_mine: StillMine) -> Receipt:
        """Let restricted keys sign again; retired ones stay retired. Raises StaleFenceError."""
        ...

    def final(self) -> "VaultKeys":
        """Return the same keys as their chains' newest final blocks show them: for questions only."""
        ...

    def standing(self, account: AccountId, transactions: Collection[str]) -> Standing:
        """Return the nonces of all the account's keys, and which of these transactions are in blocks.

        Nothing of an account of Bitcoin, where a sweep is final when it is done. Raises UnavailableError.
        """
        ...

    def replace_pending(self, account: AccountId, up_to: Mapping[str, int], *, key: str) -> Receipt:
        """Take the nonce of every pending transaction of the account's keys by one that moves nothing.

        `up_to`, by CAIP-10 address: nonces before it are taken also where nothing is pending at them.
        """
        ...

    def pending_replaced(self, account: AccountId, up_to: Mapping[str, int]) -> Verdict: ...

    def revoke_allowances(self, account: AccountId, *, key: str) -> Receipt:
        """Leave nobody an allowance of the account's registered tokens."""
        ...

    def allowances_revoked(self, account: AccountId) -> Verdict: ...

    def prepare_rotation(self, account: AccountId, scope: str, *, key: str) -> Receipt:
        """Generate and verify the new keys; prepare, do not send, the sweep. `scope`: leaf | account_key | seed."""
        ...

    def rotation_prepared(self, account: AccountId) -> Verdict: ...

    def rotation_address(self, account: AccountId) -> str:
        """Return the new CAIP-10 address of a prepared rotation. Raises NotFoundError."""
        ...

    def sweep(self, account: AccountId, *, key: str) -> Receipt:
        """Send everything the account's addresses hold to its verified safe destination.

        A step that began with keys that were replaced since sends nothing from others: it was approved for those alone.
        """
        ...

    def swept(self, account: AccountId, *, key: str = "") -> Verdict:
        """HOLDS once every sweep transaction is final and nothing sweepable is left.

        Left by the step `key`, at the addresses that it began to empty; without one, at those of all keys that may sign.
        """
        ...

    def retire(self, account: AccountId, *, key: str) -> Receipt:
        """Make the new keys current and the old ones unable to sign (CKA_SIGN false)."""
        ...

    def retired(self, account: AccountId) -> Verdict: ...

    def destroy(self, account: AccountId, *, key: str) -> Receipt:
        """Decide that the retired keys are destroyed, after a delay in which a mistake can be noticed."""
        ...

    def destroyed(self, account: AccountId) -> Verdict:
        """HOLDS once the keys are gone, or nothing stands before it but the delay."""
        ...

    def destroy_due(self, account: AccountId) -> int:
        """Destroy the retired keys whose delay is over; return how many are gone now."""
        ...
