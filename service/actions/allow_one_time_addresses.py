"""Containment action, its way back: let a workspace send to one-time addresses again."""

from datetime import timedelta

from service.actions.base import ActionContext, ContainmentAction, Workspace
from service.domain.plan import Effect, Receipt, Verdict, opposite
from service.domain.quorum import Quorum, Role
from service.ports.custody import Capability


class AllowOneTimeAddresses(ContainmentAction):
    """Allow one-time addresses again. Runbook: docs/runbooks/action/allow_one_time_addresses.md."""

    name = "allow_one_time_addresses"
    title = "Let workspace {target} send to one-time addresses again"
    effect = Effect.LOOSENS
    needs = frozenset({Capability.FORBID_ONE_TIME_ADDRESSES})
    target_kinds = frozenset({"connection"})
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = Workspace()
    deadline = timedelta(minutes=2)
    one_call = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Switch one-time addresses on."""
        return ctx.platform.allow_one_time_addresses(key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  it is one switch
        """Ask whether they are on."""
        return ctx.confirmed(opposite(ctx.platform.one_time_addresses_forbidden()))
