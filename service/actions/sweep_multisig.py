"""Containment action: pay everything that a multisig holds to its registered, signed safe destination."""

from collections.abc import Collection, Mapping
from typing import ClassVar, Final

from service.actions.base import LONGEST_DEADLINE, SAFES, VAULT_KEYS, ActionContext, NonceAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.errors import PortcullisError, RetryKind
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import Quorum, Role
from service.domain.standing import Standing

LEFT: Final = "left"
"""In the receipt: what the sweep left, as `MultisigControl.rests` tells it."""


class SweepMultisig(NonceAction):
    """Sweep a multisig to its safe destination. Runbook: docs/runbooks/action/sweep_multisig.md.

    Where the vault's owners are too few it is proposed to the others, who have a day; each transfer happens once at most,
    by the multisig's nonce.
    """

    name = "sweep_multisig"
    title = "Move everything that the multisig {target} holds to its safe destination"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "a final transaction cannot be taken back; the way back is a new transfer by the owner"
    target_kinds = frozenset({"account"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = dict.fromkeys(VAULT_KEYS, "sweep_to_safe empties it")
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = LONGEST_DEADLINE
    lane = Lane.KEYS
    repeats = True
    params: ClassVar[Mapping[str, str]] = {
        "destinations": "the account has no active safe destination: register one by quorum, then ask for the sweep again"
    }

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign, and carry or propose, one transfer for each asset."""
        return ctx.multisigs.sweep(ctx.registered, ctx.receipt)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """HOLDS once nothing worth its fee is left; CANNOT_TELL while other owners have not signed."""
        return ctx.multisigs.swept(ctx.registered, receipt)

    def marked(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt | None:
        """See the base; what is left is told, too."""
        found = super().marked(ctx, receipt)
        try:
            rests = [dict(rest) for rest in ctx.multisigs.rests(ctx.registered, receipt)]
        except PortcullisError as error:
            if error.retry is RetryKind.LATER:
                raise
            return found
        if not rests:
            return found
        reference, facts = (ctx.key, {}) if found is None else (found.reference, found.facts)
        return Receipt(reference, {**facts, LEFT: rests})

    def remark(self, receipt: Receipt | None) -> str:
        """Say what is left, and why."""
        told = None if receipt is None else receipt.facts.get(LEFT)
        rests = [rest for rest in told if isinstance(rest, Mapping)] if isinstance(told, list) else []
        return "".join(f". Left {_rest(rest)}" for rest in rests)

    def standing(self, ctx: ActionContext, transactions: Collection[str]) -> Standing:
        """Ask the chain."""
        return ctx.multisigs.standing(ctx.registered, transactions)


def _rest(rest: Mapping[str, str]) -> str:
    worth = f" ({rest['usd']} USD)" if "usd" in rest else ""
    return f"{rest['amount']} of {rest['asset']}{worth} at {rest['safe']}: {rest['because']}"
