"""Containment action: cancel every outgoing transfer of one account that has not reached the chain."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.errors import RefusedByOtherSideError
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import PreAuthorised
from service.ports.custody import Capability

MOST_AT_ONCE = 500
"""Transfers cancelled by one attempt; verification finds what is left and the step runs again."""
LONGEST = timedelta(seconds=20)
"""How long one attempt goes on: a platform that is called slowly must not outlast the job's time limit."""


class CancelPending(ContainmentAction):
    """Cancel an account's pending outgoing transfers. Runbook: docs/runbooks/action/cancel_pending.md."""

    name = "cancel_pending"
    title = "Cancel every pending outgoing transfer of account {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "a cancelled transfer is gone; who wants it orders it anew"
    needs = frozenset({Capability.CANCEL_PENDING})
    target_kinds = frozenset({"account"})
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=5)
    repeats = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Cancel each one; a transfer that the platform will not cancel any more does not spare the others."""
        cancelled: list[str] = []
        refused: list[str] = []
        began = ctx.clock.now()
        for transfer in ctx.platform.pending(ctx.account):
            try:
                ctx.platform.cancel(ctx.account, transfer.transaction, key=f"{ctx.key}:{transfer.transaction}")
                cancelled.append(transfer.transaction)
            except RefusedByOtherSideError:
                refused.append(transfer.transaction)
            if len(cancelled) + len(refused) >= MOST_AT_ONCE or ctx.clock.now() - began > LONGEST:
                break
        return Receipt(ctx.key, {"cancelled": cancelled, "refused": refused})

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  what is pending is asked afresh
        """HOLDS once every transfer that is still listed is known to be cancelled."""
        found = Verdict.HOLDS
        for transfer in ctx.platform.pending(ctx.account):
            told = self._cancelled(ctx, transfer.transaction)
            if told is Verdict.DOES_NOT_HOLD:
                return told
            found = found if told is Verdict.HOLDS else Verdict.CANNOT_TELL
        return found

    def _cancelled(self, ctx: ActionContext, transaction: str) -> Verdict:
        told = ctx.platform.cancelled(transaction)
        return ctx.platform.settled(f"{ctx.key}:{transaction}") if told is Verdict.CANNOT_TELL else told
