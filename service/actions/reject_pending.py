"""Containment action: use up the nonces of a multisig's transactions that wait for signatures."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, ActionContext, NonceAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import PreAuthorised
from service.domain.standing import Standing


class RejectPending(NonceAction):
    """Reject what waits for a multisig's signatures. Runbook: docs/runbooks/action/reject_pending.md.

    A rejection is an empty call of the multisig to itself: whatever was signed for its nonce is dead afterwards.
    """

    name = "reject_pending"
    title = "Reject every transaction that waits for signatures of the multisig {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "a rejected proposal is gone; the owners propose it anew"
    ends_what_is_there = True
    target_kinds = frozenset({"account"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = {
        OwnWallet.EVM: "replace_pending takes the nonce of what was sent",
        OwnWallet.BITCOIN: "sweep_to_safe outbids what was sent (BIP-125)",
    }
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(hours=4)
    lane = Lane.KEYS
    repeats = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign, and carry or propose, a rejection for each nonce up to the last that is dangerous, at most twenty."""
        return ctx.multisigs.reject_pending(ctx.registered)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain is asked afresh
        """HOLDS once nothing dangerous waits (`vault/safe_waiting.py`); CANNOT_TELL while other owners have not signed."""
        return ctx.multisigs.pending_rejected(ctx.registered)

    def standing(self, ctx: ActionContext, transactions: Collection[str]) -> Standing:
        """Ask the chain."""
        return ctx.multisigs.standing(ctx.registered, transactions)
