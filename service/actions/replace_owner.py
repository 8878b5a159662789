"""Containment action: put a key of the vault in the place of a multisig's owner who was compromised."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import Quorum, Role


class ReplaceOwner(ContainmentAction):
    """Swap one owner of a multisig. Runbook: docs/runbooks/action/replace_owner.md.

    It changes who decides over the funds, so it waits for a quorum however urgent it is (design D4).
    """

    name = "replace_owner"
    title = "Put the vault's own key in the place of owner {target}"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "what the owner signed before is dead from then on; the way back is another change of owners"
    target_kinds = frozenset({"credential"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = dict.fromkeys(
        VAULT_KEYS, "it has keys and no owners: prepare_rotation makes new ones"
    )
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=30)
    lane = Lane.KEYS
    on_chain = True
    params: ClassVar[Mapping[str, str]] = {
        "successor": "the vault holds no key for this multisig: remove the owner instead, or change owners by hand"
    }

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign the swap by the other owners whose keys are in the vault, and carry it."""
        return ctx.multisigs.replace_owner(ctx.registered, ctx.target.value, str(ctx.params["successor"]))

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain knows the owners
        """Ask the chain for the owners."""
        return ctx.multisigs.owner_replaced(ctx.registered, ctx.target.value, str(ctx.params["successor"]))
