"""Containment action: reject every change of policy, users or approvals that waits for approval at a platform."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, Workspace
from service.domain.errors import RefusedByOtherSideError
from service.domain.plan import Effect, Receipt, Verdict, listed
from service.domain.quorum import PreAuthorised
from service.ports.custody import Capability

MOST_AT_ONCE = 500
"""Changes rejected by one attempt; verification finds what is left and the step runs again."""
_TOLD = 10
"""Refused changes that the step's reason names."""
LONGEST = timedelta(seconds=20)
"""How long one attempt goes on: a platform that is called slowly must not outlast the job's time limit."""


class RejectChanges(ContainmentAction):
    """Reject a workspace's pending changes. Runbook: docs/runbooks/action/reject_changes.md."""

    name = "reject_changes"
    title = "Reject every change of policy, users and approvals that waits for approval in workspace {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "a rejected change is gone; who wants it asks for it anew"
    ends_what_is_there = True
    needs = frozenset({Capability.REJECT_CHANGES})
    target_kinds = frozenset({"connection"})
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = Workspace()
    deadline = timedelta(minutes=5)
    repeats = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Reject each one; what is refused or not shown spares no other, and fails the step once all were gone through.

        Raises RefusedByOtherSideError naming what was refused, by earlier attempts, too: somebody may have approved it a
        moment before, and a change that is in force must not be told as rejected.
        """
        rejected, refused = listed(ctx.receipt, "rejected"), listed(ctx.receipt, "refused")
        if self._go_through(ctx, rejected, refused) and refused:
            named = ", ".join(refused[:_TOLD]) + (f" and {len(refused) - _TOLD} more" if len(refused) > _TOLD else "")
            raise RefusedByOtherSideError(
                f"{len(rejected)} rejected; not {named}: look there by hand, one may be in force"
            )
        return Receipt(ctx.key, {"rejected": rejected, "refused": refused})

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  what waits is asked afresh
        """HOLDS once every change that is still listed is known to be rejected; what is not shown does not hold."""
        found = Verdict.HOLDS
        try:
            for waiting in ctx.platform.pending_changes():
                told = self._rejected(ctx, waiting.change)
                if told is Verdict.DOES_NOT_HOLD:
                    return told
                found = found if told is Verdict.HOLDS else Verdict.CANNOT_TELL
        except RefusedByOtherSideError:
            return Verdict.DOES_NOT_HOLD
        return found

    def _go_through(self, ctx: ActionContext, rejected: list[str], refused: list[str]) -> bool:
        """Reject until the time or the number of one attempt is used up; say whether all were reached."""
        began, done = ctx.clock.now(), 0
        try:
            for waiting in ctx.platform.pending_changes():
                if done >= MOST_AT_ONCE or ctx.clock.now() - began > LONGEST:
                    return False
                (rejected if self._reject(ctx, waiting.change) else refused).append(f"{waiting.change} {waiting.kind}")
                done += 1
        except RefusedByOtherSideError as error:
            refused.append(str(error))
        return True

    def _reject(self, ctx: ActionContext, change: str) -> bool:
        try:
            ctx.platform.reject_change(change, key=f"{ctx.key}:{change}")
        except RefusedByOtherSideError:
            return False
        return True

    def _rejected(self, ctx: ActionContext, change: str) -> Verdict:
        told = ctx.platform.change_rejected(change)
        return ctx.platform.settled(f"{ctx.key}:{change}") if told is Verdict.CANNOT_TELL else told
