"""Containment action, its way back: let an account's keys sign everything again."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict, opposite
from service.domain.quorum import Quorum, Role


class LiftKeyRestriction(ContainmentAction):
    """Lift a key restriction. Runbook: docs/runbooks/action/lift_key_restriction.md."""

    name = "lift_key_restriction"
    title = "Let the keys of account {target} sign everything again"
    effect = Effect.LOOSENS
    target_kinds = frozenset({"account"})
    takes = VAULT_KEYS
    instead: ClassVar[Mapping[OwnWallet, str]] = {OwnWallet.SAFE: "unlock_multisig lets it go again"}
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=2)
    lane = Lane.KEYS

    def execute(self, ctx: ActionContext) -> Receipt:
        """Lift it."""
        return ctx.keys.lift_restriction(ctx.registered, key=ctx.key, still_mine=ctx.still_mine)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the vault knows by account
        """Ask the vault."""
        return opposite(ctx.keys.restricted(ctx.registered))
