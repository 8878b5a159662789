"""Containment action, undone: ask for as many signatures at a multisig as before its threshold was raised."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain import threshold
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import Quorum, Role


class RestoreThreshold(ContainmentAction):
    """Lower a multisig's threshold to what it was. Runbook: docs/runbooks/action/restore_threshold.md."""

    name = "restore_threshold"
    title = "Ask for no more signatures at the multisig {target} than before its threshold was raised"
    effect = Effect.LOOSENS
    target_kinds = frozenset({"account"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = dict.fromkeys(
        VAULT_KEYS, "one key signs for it, and no threshold was raised"
    )
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=30)
    lane = Lane.KEYS
    on_chain = True
    params: ClassVar[Mapping[str, str]] = {
        threshold.BEFORE: "the plan does not say what the threshold was: its owners lower it by hand"
    }

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign the change by as many owners whose keys are in the vault as the raised threshold takes, and carry it."""
        return ctx.multisigs.restore_threshold(ctx.registered, threshold.number(ctx.params, threshold.BEFORE))

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain knows it
        """Ask the chain how many signatures it asks for."""
        return ctx.multisigs.threshold_restored(ctx.registered, threshold.number(ctx.params, threshold.BEFORE))
