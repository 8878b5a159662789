"""Containment action, its way back: let transfers go to one destination again."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Receipt, Verdict, opposite
from service.domain.quorum import Quorum, Role
from service.ports.custody import Capability


class UnlockDestination(ContainmentAction):
    """Let transfers go to one destination again. Runbook: docs/runbooks/action/unlock_destination.md."""

    name = "unlock_destination"
    title = "Let transfers go to {target} again"
    effect = Effect.LOOSENS
    needs = frozenset({Capability.LOCK_DESTINATION})
    target_kinds = frozenset({"destination"})
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=2)
    one_call = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Unlock the destination."""
        return ctx.platform.unlock_destination(ctx.near, ctx.target.value, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the destination is the key
        """Ask whether the lock is gone."""
        return ctx.confirmed(opposite(ctx.platform.destination_locked(ctx.target.value)))
