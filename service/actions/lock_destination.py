"""Containment action: let nothing be sent to one destination."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import PreAuthorised
from service.ports.custody import Capability


class LockDestination(ContainmentAction):
    """Let nothing be sent to one destination. Runbook: docs/runbooks/action/lock_destination.md."""

    name = "lock_destination"
    title = "Let nothing be sent to {target}"
    effect = Effect.TIGHTENS
    needs = frozenset({Capability.LOCK_DESTINATION})
    target_kinds = frozenset({"destination"})
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=2)
    one_call = True
    undone_by = "unlock_destination"

    def execute(self, ctx: ActionContext) -> Receipt:
        """Lock the destination at the platform, or in our gate."""
        return ctx.platform.lock_destination(ctx.near, ctx.target.value, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the destination is the key
        """Ask whether the lock is in force."""
        return ctx.confirmed(ctx.platform.destination_locked(ctx.target.value))

    def undo(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt:  # noqa: ARG002  as verify
        """Unlock it."""
        return ctx.platform.unlock_destination(ctx.near, ctx.target.value, key=ctx.key)
