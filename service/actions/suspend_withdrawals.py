"""Containment action: let no transfer leave one custody account."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import PreAuthorised
from service.ports.custody import Capability


class SuspendWithdrawals(ContainmentAction):
    """Let no transfer leave one custody account. Runbook: docs/runbooks/action/suspend_withdrawals.md."""

    name = "suspend_withdrawals"
    title = "Let no transfer leave account {target}"
    effect = Effect.TIGHTENS
    needs = frozenset({Capability.HOLD_OUTGOING})
    target_kinds = frozenset({"account"})
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=2)
    one_call = True
    undone_by = "resume_withdrawals"

    def execute(self, ctx: ActionContext) -> Receipt:
        """Ask the platform, or our gate where the platform has one, to hold everything outgoing."""
        return ctx.platform.hold_outgoing(ctx.account, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the platform knows by account
        """Ask whether the hold is in force."""
        return ctx.confirmed(ctx.platform.outgoing_held(ctx.account))

    def undo(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt:  # noqa: ARG002  as verify
        """Release the hold."""
        return ctx.platform.release_outgoing(ctx.account, key=ctx.key)
