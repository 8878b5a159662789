"""Containment action: move everything an account's keys hold to its registered, signed safe destination."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import VAULT_KEYS, ActionContext, NonceAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict, listed
from service.domain.quorum import Quorum, Role
from service.domain.standing import Standing


class SweepToSafe(NonceAction):
    """Sweep an account to its safe destination. Runbook: docs/runbooks/action/sweep_to_safe.md.

    The vault sends only to a destination whose statement it verified; exactly once holds per nonce or UTXO.
    """

    name = "sweep_to_safe"
    title = "Move everything that account {target} holds to its safe destination"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "a final transaction cannot be taken back; the way back is a new transfer by the owner"
    target_kinds = frozenset({"account"})
    takes = VAULT_KEYS
    instead: ClassVar[Mapping[OwnWallet, str]] = {OwnWallet.SAFE: "sweep_multisig empties it"}
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=30)
    lane = Lane.KEYS
    repeats = True
    params: ClassVar[Mapping[str, str]] = {
        "destinations": "the account has no active safe destination: register one by quorum, then ask for the sweep again"
    }

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign and send the sweep."""
        return ctx.keys.sweep(ctx.registered, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the vault knows by its key
        """HOLDS once every transaction is final and nothing sweepable is left."""
        return ctx.keys.swept(ctx.registered, key=ctx.key)

    def remark(self, receipt: Receipt | None) -> str:
        """Say what stays because it is not worth its fee."""
        return "".join(f". Left: {one}" for one in listed(receipt, "left"))

    def standing(self, ctx: ActionContext, transactions: Collection[str]) -> Standing:
        """Ask the chain."""
        return ctx.keys.standing(ctx.registered, transactions)
