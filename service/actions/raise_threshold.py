"""Containment action: ask for more owners' signatures at a multisig, as many as people say."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain import threshold
from service.domain.account import OwnWallet
from service.domain.errors import InputError
from service.domain.plan import Effect, Lane, Receipt, Verdict
from service.domain.quorum import Quorum, Role

_TELL = "ask for it with the numbers of now: before, signatures and owners"


class RaiseThreshold(ContainmentAction):
    """Raise a multisig's threshold. Runbook: docs/runbooks/action/raise_threshold.md.

    It tightens and waits for a quorum all the same: it decides who can still sign (docs/adr/0059).
    """

    name = "raise_threshold"
    title = "Ask for more signatures at the multisig {target}"
    effect = Effect.TIGHTENS
    waits_because = "it decides who can still sign, and one owner too many whose key is lost stops everybody"
    target_kinds = frozenset({"account"})
    takes = SAFES
    instead: ClassVar[Mapping[OwnWallet, str]] = dict.fromkeys(
        VAULT_KEYS, "one key signs for it: restrict_key lets it sign nothing but a sweep"
    )
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(minutes=30)
    lane = Lane.KEYS
    on_chain = True
    undone_by = "restore_threshold"
    params: ClassVar[Mapping[str, str]] = {
        threshold.BEFORE: _TELL, threshold.SIGNATURES: _TELL, threshold.OWNERS: _TELL,
    }  # fmt: skip

    def told(self, numbers: Mapping[str, int]) -> Mapping[str, int]:
        """See the base."""
        if unknown := sorted(set(numbers) - set(self.params)):
            raise InputError(f"{self.name} takes no number {unknown[0]}", field="numbers")
        wanted = threshold.asked(numbers)
        return {
            threshold.BEFORE: wanted.before,
            threshold.SIGNATURES: wanted.signatures,
            threshold.OWNERS: wanted.owners,
        }

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign the change by as many owners whose keys are in the vault as it takes now, and carry it."""
        return ctx.multisigs.raise_threshold(ctx.registered, threshold.asked(ctx.params))

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the chain knows it
        """Ask the chain how many signatures it asks for."""
        return ctx.multisigs.threshold_raised(ctx.registered, threshold.asked(ctx.params).signatures)

    def remark(self, receipt: Receipt | None) -> str:
        """See the base."""
        few = {} if receipt is None else receipt.facts.get(threshold.TOO_FEW)
        if not isinstance(few, dict) or not few:
            return ""
        told = ", ".join(f"{ours} at {address}" for address, ours in few.items())
        return f"; the vault's own keys are too few to change it from now on: {told}"

    def undo(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt:  # noqa: ARG002  as verify
        """Ask for as many as before."""
        return ctx.multisigs.restore_threshold(ctx.registered, threshold.asked(ctx.params).before)
