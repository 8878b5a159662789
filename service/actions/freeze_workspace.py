"""Containment action: block every operation of every user of a workspace."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, Workspace
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import Quorum, Role
from service.ports.custody import Capability


class FreezeWorkspace(ContainmentAction):
    """Freeze a whole workspace. Runbook: docs/runbooks/action/freeze_workspace.md."""

    name = "freeze_workspace"
    title = "Freeze workspace {target}: no user can do anything, incoming transfers continue"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "only the platform's support lifts it, on the workspace owner's request"
    needs = frozenset({Capability.FREEZE_WORKSPACE})
    target_kinds = frozenset({"connection"})
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = Workspace()
    deadline = timedelta(minutes=5)
    one_call = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Freeze it."""
        return ctx.platform.freeze_workspace(key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """Ask; a platform without that question has only its own receipt to tell."""
        told = ctx.platform.workspace_frozen()
        return Verdict.HOLDS if told is Verdict.CANNOT_TELL and receipt is not None else told
