"""Containment action: take back every allowance of the tokens that an account is registered with."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import ActionContext, NonceAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import PreAuthorised
from service.domain.standing import Standing


class RevokeAllowances(NonceAction):
    """Take back an account's ERC-20 allowances. Runbook: docs/runbooks/action/revoke_allowances.md."""

    name = "revoke_allowances"
    title = "Leave nobody an allowance of the tokens of account {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "an allowance that was taken back is approved anew by the owner"
    ends_what_is_there = True
    target_kinds = frozenset({"account"})
    takes = frozenset({OwnWallet.EVM})
    instead: ClassVar[Mapping[OwnWallet, str]] = {
        OwnWallet.SAFE: "by hand: its owners sign approve(spender, 0) for each token",
        OwnWallet.BITCOIN: "Bitcoin knows no allowances",
    }
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=10)
    lane = Lane.KEYS
    repeats = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Approve nothing to every spender who still may take something."""
        return ctx.keys.revoke_allowances(ctx.registered, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain is asked afresh
        """Ask the chain."""
        return ctx.keys.allowances_revoked(ctx.registered)

    def standing(self, ctx: ActionContext, transactions: Collection[str]) -> Standing:
        """Ask the chain."""
        return ctx.keys.standing(ctx.registered, transactions)
