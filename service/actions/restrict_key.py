"""Containment action: let an account's keys sign nothing but a sweep to a verified safe destination or a cancel."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import PreAuthorised


class RestrictKey(ContainmentAction):
    """Restrict an account's vault keys. Runbook: docs/runbooks/action/restrict_key.md."""

    name = "restrict_key"
    title = "Let the keys of account {target} sign nothing but a sweep to its safe destination or a cancel"
    effect = Effect.TIGHTENS
    target_kinds = frozenset({"account"})
    takes = VAULT_KEYS
    instead: ClassVar[Mapping[OwnWallet, str]] = {
        OwnWallet.SAFE: "lock_multisig stops it on the chain, replace_owner and remove_owner take a key its power"
    }
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=2)
    lane = Lane.KEYS
    undone_by = "lift_key_restriction"

    def execute(self, ctx: ActionContext) -> Receipt:
        """Restrict them."""
        return ctx.keys.restrict(ctx.registered, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the vault knows by account
        """Ask the vault."""
        return ctx.keys.restricted(ctx.registered)

    def undo(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt:  # noqa: ARG002  as verify
        """Lift the restriction."""
        return ctx.keys.lift_restriction(ctx.registered, key=ctx.key, still_mine=ctx.still_mine)
