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
    """Lower to what it was what a step raised. Runbook: docs/runbooks/action/restore_threshold.md."""

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
        threshold.SAFES: "no step says which Safes it raised and from what: their owners lower them by hand"
    }

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign the change by as many owners whose keys are in the vault as the raised threshold takes, and carry it."""
        return ctx.multisigs.restore_threshold(ctx.registered, threshold.lowers(ctx.params))

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain knows it
        """Ask the chain how many signatures those Safes ask for."""
        return ctx.multisigs.threshold_restored(ctx.registered, threshold.lowers(ctx.params))
