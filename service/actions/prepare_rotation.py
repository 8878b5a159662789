"""Containment action, the first part of rotate_account: new keys and a prepared, unsent sweep."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.errors import NotFoundError
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import PreAuthorised


class PrepareRotation(ContainmentAction):
    """Generate and verify an account's new keys. Runbook: docs/runbooks/action/prepare_rotation.md.

    Nothing is published and nothing moves, so this needs no approval; unused keys are harmless and need no way back.
    """

    name = "prepare_rotation"
    title = "Prepare new keys for account {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "unused keys are harmless: nothing was published and nothing moved"
    target_kinds = frozenset({"account"})
    takes = VAULT_KEYS
    instead: ClassVar[Mapping[OwnWallet, str]] = {
        OwnWallet.SAFE: "replace_owner puts another key in an owner's place; its address stays"
    }
    approval = PreAuthorised(confirm_within=timedelta(hours=4))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=5)
    lane = Lane.KEYS
    params: ClassVar[Mapping[str, str]] = {"scope": "the plan must say what is compromised: leaf, account_key or seed"}

    def execute(self, ctx: ActionContext) -> Receipt:
        """Generate them; the receipt carries the new address, which the approvers of its publication will see."""
        made = ctx.keys.prepare_rotation(ctx.registered, str(ctx.params["scope"]), key=ctx.key)
        return Receipt(made.reference, {**made.facts, "address": ctx.keys.rotation_address(ctx.registered)})

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """Ask the vault; without our receipt the address is unknown, so the step runs again under its key."""
        told = ctx.keys.rotation_prepared(ctx.registered)
        if told is not Verdict.HOLDS or receipt is None:
            return told if receipt is not None else Verdict.DOES_NOT_HOLD
        try:
            same = ctx.keys.rotation_address(ctx.registered) == receipt.facts.get("address")
        except NotFoundError:
            return Verdict.DOES_NOT_HOLD
        return Verdict.HOLDS if same else Verdict.DOES_NOT_HOLD
