"""Containment action, its way back: let a multisig pay again."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import Quorum, Role


class UnlockMultisig(ContainmentAction):
    """Lift a multisig's guard, which stays installed. Runbook: docs/runbooks/action/unlock_multisig.md."""

    name = "unlock_multisig"
    title = "Let the multisig {target} pay again"
    effect = Effect.LOOSENS
    target_kinds = frozenset({"account"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = dict.fromkeys(
        VAULT_KEYS, "lift_key_restriction lets its keys sign again"
    )
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=10)
    lane = Lane.KEYS

    def execute(self, ctx: ActionContext) -> Receipt:
        """Lift it."""
        return ctx.multisigs.unlock(ctx.registered)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain knows by account
        """Ask the chain."""
        return ctx.multisigs.unlocked(ctx.registered)
