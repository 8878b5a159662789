"""Containment action: let a workspace send to whitelisted destinations only."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, Workspace
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import PreAuthorised
from service.ports.custody import Capability


class ForbidOneTimeAddresses(ContainmentAction):
    """Forbid one-time addresses. Runbook: docs/runbooks/action/forbid_one_time_addresses.md."""

    name = "forbid_one_time_addresses"
    title = "Let workspace {target} send to whitelisted destinations only"
    effect = Effect.TIGHTENS
    needs = frozenset({Capability.FORBID_ONE_TIME_ADDRESSES})
    target_kinds = frozenset({"connection"})
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = Workspace()
    deadline = timedelta(minutes=2)
    one_call = True
    undone_by = "allow_one_time_addresses"

    def execute(self, ctx: ActionContext) -> Receipt:
        """Switch one-time addresses off."""
        return ctx.platform.forbid_one_time_addresses(key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  it is one switch
        """Ask whether they are off."""
        return ctx.confirmed(ctx.platform.one_time_addresses_forbidden())

    def undo(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt:  # noqa: ARG002  as verify
        """Switch one-time addresses on."""
        return ctx.platform.allow_one_time_addresses(key=ctx.key)
