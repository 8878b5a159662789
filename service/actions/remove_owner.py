"""Containment action: remove a multisig's owner who was compromised; as many signatures are needed as before."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import Quorum, Role


class RemoveOwner(ContainmentAction):
    """Remove one owner of a multisig. Runbook: docs/runbooks/action/remove_owner.md.

    It changes who decides over the funds, so it waits for a quorum (design D4). The threshold stays.
    """

    name = "remove_owner"
    title = "Remove owner {target} and ask for as many signatures as before"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "what the owner signed before is dead from then on; the way back is another change of owners"
    target_kinds = frozenset({"credential"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = dict.fromkeys(
        VAULT_KEYS, "it has keys and no owners: retire_key ends the old ones"
    )
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=30)
    lane = Lane.KEYS
    on_chain = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign the removal by the other owners whose keys are in the vault, and carry it."""
        return ctx.multisigs.remove_owner(ctx.registered, ctx.target.value)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain knows the owners
        """Ask the chain for the owners."""
        return ctx.multisigs.owner_removed(ctx.registered, ctx.target.value)
