"""Containment action, the last part of rotate_account: destroy the retired keys."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict, listed
from service.domain.quorum import Quorum, Role


class DestroyKey(ContainmentAction):
    """Destroy an account's retired keys. Runbook: docs/runbooks/action/destroy_key.md."""

    name = "destroy_key"
    title = "Destroy the retired keys of account {target}"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "a destroyed key exists nowhere; what is still paid to its address is lost"
    target_kinds = frozenset({"account"})
    takes = VAULT_KEYS
    instead: ClassVar[Mapping[OwnWallet, str]] = {
        OwnWallet.SAFE: "a key that is no owner any more has no power: nothing has to be destroyed"
    }
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=5)
    lane = Lane.KEYS

    def execute(self, ctx: ActionContext) -> Receipt:
        """Destroy them."""
        return ctx.keys.destroy(ctx.registered, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the vault knows by account
        """Ask the vault."""
        return ctx.keys.destroyed(ctx.registered)

    def remark(self, receipt: Receipt | None) -> str:
        """Say what lies at their addresses: it is lost with the keys."""
        return "".join(f". At their addresses: {one}" for one in listed(receipt, "left"))
