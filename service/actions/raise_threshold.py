"""Containment action: ask for more owners' signatures at a multisig, as many as people say."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from service.actions.base import SAFES, VAULT_KEYS, ActionContext, ContainmentAction, OneAccount
from service.domain import threshold
from service.domain.account import OwnWallet
from service.domain.errors import InputError
from service.domain.plan import Effect, Json, Lane, Receipt, Step, Verdict
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
    repeats = True
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
        """Note where the numbers fit; then sign the change by as many of the vault's owners as it takes, and carry it.

        The note is a receipt that does not hold yet: whoever repeats the step knows what it raises, alive or not.
        """
        return ctx.multisigs.raise_threshold(ctx.registered, threshold.asked(ctx.params), ctx.receipt)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """Ask the chain how many signatures those Safes ask for that the step raises."""
        return ctx.multisigs.threshold_raised(ctx.registered, threshold.asked(ctx.params), receipt)

    def remark(self, receipt: Receipt | None) -> str:
        """Say which Safes were left alone and why, and where the vault's keys are too few from now on."""
        text = ""
        if left := _told(receipt, threshold.LEFT_ALONE):
            text += "; left alone: " + "; ".join(f"{at}: {why}" for at, why in left.items())
        if few := _told(receipt, threshold.TOO_FEW):
            told = ", ".join(f"{ours} at {at}" for at, ours in few.items())
            text += f"; the vault's own keys are too few to change it from now on: {told}"
        return text

    def may_hold_in_part(self, ended: Step) -> bool:
        """See the base: of the Safes that it noted some may have been raised before it failed at another."""
        return bool(threshold.raises(ended.receipt))

    def handed_back(self, done: Sequence[Step]) -> Json:
        """See the base: the Safes that were raised, and from what."""
        return threshold.handed_back(done)

    def undo(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt:
        """Ask for as many as before where the step raised."""
        wanted = threshold.asked(ctx.params)
        back = threshold.Lower(wanted.signatures, wanted.before)
        return ctx.multisigs.restore_threshold(ctx.registered, dict.fromkeys(threshold.raises(receipt), back))


def _told(receipt: Receipt | None, name: str) -> Mapping[str, object]:
    found = None if receipt is None else receipt.facts.get(name)
    return found if isinstance(found, Mapping) else {}
