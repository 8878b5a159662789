"""Containment action: outbid every pending transaction of an account's keys by one of its nonce that moves nothing."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import PreAuthorised


class ReplacePending(ContainmentAction):
    """Outbid an account's pending transactions. Runbook: docs/runbooks/action/replace_pending.md."""

    name = "replace_pending"
    title = "Take the nonce of every pending transaction of account {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "a replaced transaction is gone; who wants it signs it anew"
    target_kinds = frozenset({"account"})
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=10)
    lane = Lane.KEYS
    repeats = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Outbid them, each at its nonce."""
        return ctx.keys.replace_pending(ctx.registered, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain is asked afresh
        """Ask the chain."""
        return ctx.keys.pending_replaced(ctx.registered)
