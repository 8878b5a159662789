"""Containment action: make one person's or program's credential at the platform useless."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import PreAuthorised
from service.ports.custody import Capability


class RevokeCredential(ContainmentAction):
    """Revoke one actor's credential. Runbook: docs/runbooks/action/revoke_credential.md.

    There is no way back: whoever needs access again gets a new credential by the platform's own procedure.
    """

    name = "revoke_credential"
    title = "Revoke the credential of {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "a revoked credential is dead; its person gets a new one by the platform's own procedure"
    ends_what_is_there = True
    needs = frozenset({Capability.REVOKE_CREDENTIAL})
    target_kinds = frozenset({"credential"})
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=2)
    one_call = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Revoke it."""
        return ctx.platform.revoke_credential(ctx.near, ctx.target.value, key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the actor is the key
        """Ask whether it is revoked."""
        return ctx.confirmed(ctx.platform.credential_revoked(ctx.target.value))
