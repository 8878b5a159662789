"""The safe destination that a sweep goes to: the newest active one whose vault signature verifies (design D4)."""

from contextlib import suppress

from hsm.errors import StatementError
from hsm.statements import VerifiedDestination, verified
from service.domain.errors import ApprovalError
from service.domain.ids import AccountId
from service.vault.parts import VaultParts
from service.vault.provision import destination_of


def verified_destination(parts: VaultParts, account: AccountId, chain: str) -> VerifiedDestination:
    """Return the account's safe destination on a chain. Raises ApprovalError when none is active and signed."""
    now = parts.clock.now()
    with parts.db.begin() as uow:
        rows = [r for r in uow.registry.destinations(account) if r.chain == chain and r.active_from <= now]
    for row in rows:
        if row.signature is not None:
            # A row with a wrong signature neither redirects nor hides the genuine one.
            with suppress(StatementError):
                return verified(destination_of(row), row.signature, parts.statements, now)
    raise ApprovalError(f"account {account} has no active, signed safe destination on {chain}: register one by quorum")
