"""Containment action, its way back: let transfers leave one custody account again."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Receipt, Verdict, opposite
from service.domain.quorum import Quorum, Role
from service.ports.custody import Capability


class ResumeWithdrawals(ContainmentAction):
    """Let transfers leave one custody account again. Runbook: docs/runbooks/action/resume_withdrawals.md."""

    name = "resume_withdrawals"
    title = "Let transfers leave account {target} again"
    effect = Effect.LOOSENS
    needs = frozenset({Capability.HOLD_OUTGOING})
    target_kinds = frozenset({"account"})
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=2)
    one_call = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Release the hold on everything outgoing."""
        return ctx.platform.release_outgoing(ctx.account, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the platform knows by account
        """Ask whether the hold is gone."""
        return ctx.confirmed(opposite(ctx.platform.outgoing_held(ctx.account)))
