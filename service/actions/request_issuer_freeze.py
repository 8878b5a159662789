"""Containment action: ask a token's issuer, by a signed letter, to freeze what was stolen."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Final

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.account import OwnWallet
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import Quorum, Role
from service.ports.notify import OutsideLetter

_PLANNED: Final = "the plan holds no letter: name the token's issuer in the policy, then ask for the letter again"


class RequestIssuerFreeze(ContainmentAction):
    """Write to a token's issuer. Runbook: docs/runbooks/action/request_issuer_freeze.md.

    The letter, its recipient and the channel stand in the step word for word, and so in what people approve.
    """

    name = "request_issuer_freeze"
    title = "Ask the issuer of {target} to freeze what was stolen"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "a letter that was read cannot be taken back, and what an issuer froze only he releases"
    target_kinds = frozenset({"asset"})
    takes = frozenset({OwnWallet.EVM, OwnWallet.SAFE})
    instead: ClassVar[Mapping[OwnWallet, str]] = {OwnWallet.BITCOIN: "bitcoin has no issuer who could freeze it"}
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(hours=1)
    can_be_asked = False
    params: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("issuer", "channel", "recipient", "subject", "letter", "facts"), _PLANNED
    )

    def execute(self, ctx: ActionContext) -> Receipt:
        """Sign the letter and hand it to the mail server."""
        told = {name: str(ctx.params[name]) for name in self.params}
        letter = OutsideLetter(told["channel"], told["recipient"], told["subject"], told["letter"])
        return ctx.letters.send(letter, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """HOLDS once the mail server took it; a lost answer is for people to settle, who ask the issuer."""
        return Verdict.HOLDS if receipt is not None else ctx.letters.sent(ctx.key)
