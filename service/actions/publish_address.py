"""Containment action, part of rotate_account: make the platform pay into the account's new address."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import Quorum, Role
from service.ports.custody import Capability


class PublishAddress(ContainmentAction):
    """Publish a prepared rotation's new address. Runbook: docs/runbooks/action/publish_address.md.

    The platform's own approvers may have to agree to it first, so it has a day to hold.
    """

    name = "publish_address"
    title = "Publish the new address of account {target} at its platform"
    effect = Effect.IRREVERSIBLE
    irreversible_because = "whoever has read the address may pay into it at any later time"
    needs = frozenset({Capability.PUBLISH_ADDRESS})
    target_kinds = frozenset({"account"})
    approval = Quorum.of(2, Role.APPROVER)
    blast_radius = OneAccount()
    deadline = timedelta(hours=24)
    params: ClassVar[Mapping[str, str]] = {
        "address": "the plan holds no new address: prepare the rotation, then ask for approval"
    }

    def execute(self, ctx: ActionContext) -> Receipt:
        """Register the address."""
        return ctx.platform.publish_address(ctx.account, str(ctx.params["address"]), key=ctx.key)

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the address is the key
        """Ask whether the platform has it."""
        return ctx.confirmed(ctx.platform.address_published(ctx.account, str(ctx.params["address"])))
