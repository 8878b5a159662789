"""Containment action, part of rotate_account: make the new keys current and the old ones unable to sign."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import Quorum, Role


class RetireKey(ContainmentAction):
    """Retire an account's old keys. Runbook: docs/runbooks/action/retire_key.md."""

    name = "retire_key"
    title = "Make the new keys of account {target} current and the old ones unable to sign"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "keys that an attacker may hold must never be put to use again"
    target_kinds = frozenset({"account"})
    takes = VAULT_KEYS
    instead: ClassVar[Mapping[OwnWallet, str]] = {
        OwnWallet.SAFE: "replace_owner and remove_owner take a key its power on the chain"
    }
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=5)
    lane = Lane.KEYS

    def execute(self, ctx: ActionContext) -> Receipt:
        """Retire them."""
        return ctx.keys.retire(ctx.registered, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the vault knows by account
        """Ask the vault."""
        return ctx.keys.retired(ctx.registered)
