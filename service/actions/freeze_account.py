"""Containment action: freeze one account at its platform for a day, which nobody can shorten."""

from datetime import datetime, timedelta
from typing import Final

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import Quorum, Role
from service.ports.custody import Capability

FROZEN_FOR: Final = timedelta(hours=24)
_SECONDS: Final = int(FROZEN_FOR.total_seconds())


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
    lasts = FROZEN_FOR

    def execute(self, ctx: ActionContext) -> Receipt:
        """Freeze it."""
        return ctx.platform.freeze_account(ctx.account, seconds=_SECONDS, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the platform knows by account
        """Ask whether it is frozen, and not by an older freeze that is about to end."""
        return ctx.confirmed(ctx.platform.account_frozen(ctx.account, seconds=_SECONDS))

    def ends_at(self, receipt: Receipt | None, now: datetime) -> datetime | None:
        """See the base: as the platform said; else when half is over, because `verify` found more than that to run."""
        told = receipt.facts.get("expires") if receipt is not None else None
        try:
            ends_at = datetime.fromisoformat(told) if isinstance(told, str) else None
        except ValueError:
            ends_at = None
        return now + FROZEN_FOR / 2 if ends_at is None or ends_at.tzinfo is None else ends_at
