"""The safe destination that a sweep goes to: the newest active one whose vault signature verifies (design D4).

Rule: one that is ours and lost (`vault/given_up.py`) is passed over as if it were not registered; where no other is left,
nothing is swept and people are told which it was. What was signed for it before and is unknown to the chain is not sent.
After a restore the vault token has another statement key: what the authority stated is signed anew, and nothing else.
"""

from contextlib import suppress

from hsm.statements import VerifiedDestination, verified
from service.domain.errors import ApprovalError
from service.domain.ids import AccountId
from service.domain.vault import SweepState, SweepTransaction
from service.vault.entries import move_sweep
from service.vault.given_up import why_lost
from service.vault.parts import VaultParts
from service.vault.provision import destination_of, signature_of


def verified_destination(parts: VaultParts, account: AccountId, chain: str) -> VerifiedDestination:
    """Return the account's safe destination on a chain. Raises ApprovalError when none is active, signed and not lost."""
    now = parts.clock.now()
    with parts.db.begin() as uow:
        rows = [r for r in uow.registry.destinations(account) if r.chain == chain and r.active_from <= now]
    lost = []
    for row in rows:
        # A row that nobody decided on neither redirects nor hides the genuine one.
        with suppress(ApprovalError):
            found = verified(destination_of(row), signature_of(parts, row), parts.statements, now)
            with parts.db.begin() as uow:
                why = why_lost(uow, chain, row.descriptor)
            if why is None:
                return found
            lost.append(f"{row.descriptor} is our own and lost ({why})")
    if lost:
        raise ApprovalError(
            f"account {account} has no safe destination on {chain} that is safe: {'; '.join(lost)}: register one whose keys"
            " are kept elsewhere, by quorum"
        )
    raise ApprovalError(f"account {account} has no active, signed safe destination on {chain}: register one by quorum")


def is_lost(parts: VaultParts, found: VerifiedDestination) -> bool:
    """Say whether a destination that was verified is our own and lost meanwhile."""
    with parts.db.begin() as uow:
        return why_lost(uow, found.destination.chain, found.destination.descriptor) is not None


def give_up(parts: VaultParts, row: SweepTransaction) -> bool:
    """Count a transaction that no chain knows as failed where what it pays is lost meanwhile; say whether it is."""
    with parts.db.begin() as uow:
        why = why_lost(uow, row.chain, row.to_address)
    if why is not None:
        move_sweep(parts, row, SweepState.FAILED, f"{row.to_address} is our own and lost ({why})")
    return why is not None
