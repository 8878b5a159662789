"""Containment action: let nothing leave a multisig but changes of its owners, carried by the guardian."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import PreAuthorised


class LockMultisig(ContainmentAction):
    """Trip a multisig's guard. Runbook: docs/runbooks/action/lock_multisig.md.

    It raises the demands of the multisig and changes no owner, so it tightens (design D4). No guard is asked about
    signatures that contracts check off the chain; the title says so, and the receipt names each Safe that has a handler.
    """

    name = "lock_multisig"
    title = "Let nothing leave the multisig {target} on the chain; EIP-1271 signatures may still count"
    effect = Effect.TIGHTENS
    target_kinds = frozenset({"account"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = dict.fromkeys(VAULT_KEYS, "restrict_key stops its keys")
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=10)
    lane = Lane.KEYS
    on_chain = True
    undone_by = "unlock_multisig"

    def execute(self, ctx: ActionContext) -> Receipt:
        """Install the guard where it is missing, and trip it."""
        return ctx.multisigs.lock(ctx.registered)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain knows by account
        """Ask the chain."""
        return ctx.multisigs.locked(ctx.registered)

    def undo(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt:  # noqa: ARG002  as verify
        """Lift the guard."""
        return ctx.multisigs.unlock(ctx.registered)
