"""Containment action, part of rotate_account: make the platform pay into the account's new address."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.errors import RefusedByOtherSideError
from service.domain.plan import Effect, Receipt, Verdict
from service.domain.quorum import Quorum, Role
from service.ports.custody import Capability


class PublishAddress(ContainmentAction):
    """Publish a prepared rotation's new address. Runbook: docs/runbooks/action/publish_address.md.

    The platform's own approvers may have to agree to it first, so it has a day to hold. An account with several leaves has
    as many addresses, separated by blanks.
    """

    name = "publish_address"
    title = "Publish the new addresses of account {target} at its platform"
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
        """Register every new address; one that is refused does not spare the others, and is told after them."""
        references: dict[str, str] = {}
        refused: RefusedByOtherSideError | None = None
        for address, key in _published(ctx):
            try:
                references[address] = ctx.platform.publish_address(ctx.account, address, key=key).reference
            except RefusedByOtherSideError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        return Receipt(next(iter(references.values())), {"addresses": references})

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:  # noqa: ARG002  the address is the key
        """Ask whether the platform has all of them."""
        told = {self._told(ctx, address, key) for address, key in _published(ctx)}
        if Verdict.DOES_NOT_HOLD in told:
            return Verdict.DOES_NOT_HOLD
        return Verdict.CANNOT_TELL if Verdict.CANNOT_TELL in told else Verdict.HOLDS

    def _told(self, ctx: ActionContext, address: str, key: str) -> Verdict:
        told = ctx.platform.address_published(ctx.account, address)
        return ctx.platform.settled(key) if told is Verdict.CANNOT_TELL else told


def _published(ctx: ActionContext) -> list[tuple[str, str]]:
    """Return each address with the idempotency key of its call."""
    addresses = str(ctx.params["address"]).split()
    return [(one, ctx.key if place == 0 else f"{ctx.key}:{one}") for place, one in enumerate(addresses)]
