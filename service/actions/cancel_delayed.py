"""Containment action: skip the withdrawals that a multisig's delay modules hold back, while their delay runs."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import PreAuthorised


class CancelDelayed(ContainmentAction):
    """Cancel what waits in a multisig's delay modules. Runbook: docs/runbooks/action/cancel_delayed.md."""

    name = "cancel_delayed"
    title = "Cancel every withdrawal of the multisig {target} whose delay still runs"
    effect = Effect.TIGHTENS
    no_undo_because = "a cancelled withdrawal is gone; who wants it asks for it anew, and its delay runs again"
    ends_what_is_there = True
    target_kinds = frozenset({"account"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = dict.fromkeys(
        VAULT_KEYS, "nothing holds its payments back: only a Safe has delay modules"
    )
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=10)
    lane = Lane.KEYS
    on_chain = True
    repeats = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Skip them, signed by the owners whose keys are in the vault."""
        return ctx.multisigs.cancel_delayed(ctx.registered)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain is asked afresh
        """Ask every module whether its queue is empty."""
        return ctx.multisigs.delayed_cancelled(ctx.registered)
