"""Containment action: outbid every pending transaction of an account's keys by one of its nonce that moves nothing."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import ActionContext, NonceAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import PreAuthorised
from service.domain.standing import Standing, marks


class ReplacePending(NonceAction):
    """Outbid an account's pending transactions. Runbook: docs/runbooks/action/replace_pending.md."""

    name = "replace_pending"
    title = "Take the nonce of every pending transaction of account {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "a replaced transaction is gone; who wants it signs it anew"
    ends_what_is_there = True
    target_kinds = frozenset({"account"})
    takes = frozenset({OwnWallet.EVM})
    instead: ClassVar[Mapping[OwnWallet, str]] = {
        OwnWallet.SAFE: "reject_pending uses up the nonces of what waits",
        OwnWallet.BITCOIN: "sweep_to_safe outbids a pending transaction for the same coins (BIP-125)",
    }
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=10)
    lane = Lane.KEYS
    repeats = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Outbid them, each at its nonce; of what a reorganisation gave back, every nonce that was used before."""
        return ctx.keys.replace_pending(ctx.registered, _up_to(ctx.receipt), key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """Ask the chain."""
        return ctx.keys.pending_replaced(ctx.registered, _up_to(receipt))

    def standing(self, ctx: ActionContext, transactions: Collection[str]) -> Standing:
        """Ask the chain."""
        return ctx.keys.standing(ctx.registered, transactions)


def _up_to(receipt: Receipt | None) -> Mapping[str, int]:
    """Return the nonces that were used when the step held: what was signed for them is in others' hands."""
    stood = marks(receipt)
    return {} if stood is None else stood.nonces
