"""Containment action: freeze one account at its platform for a day, which nobody can shorten."""

from datetime import timedelta
from typing import Final

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import Quorum, Role
from service.ports.custody import Capability

FROZEN_FOR: Final = timedelta(hours=24)


class FreezeAccount(ContainmentAction):
    """Freeze an account for 24 hours. Runbook: docs/runbooks/action/freeze_account.md."""

    name = "freeze_account"
    title = "Freeze account {target} at its platform for 24 hours: nothing leaves it, and nobody can lift it earlier"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "the platform lifts it only when its 24 hours are over"
    needs = frozenset({Capability.FREEZE_ACCOUNT})
    target_kinds = frozenset({"account"})
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=5)
    one_call = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Freeze it."""
        return ctx.platform.freeze_account(ctx.account, seconds=int(FROZEN_FOR.total_seconds()), key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the platform knows by account
        """Ask whether it is frozen."""
        return ctx.confirmed(ctx.platform.account_frozen(ctx.account))
