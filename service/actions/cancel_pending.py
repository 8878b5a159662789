"""Containment action: cancel every outgoing transfer of one account that is in no block yet.

Rules: what has not reached the chain is cancelled; what was sent already is dropped where the platform can (replaced at its
nonce). A drop that was accepted is a bid, not an end: whether it won is asked of the transfer's own state, and what got into
a block all the same is told by name. What was not listed, or not asked for lack of time, is not known to be stopped.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from service.actions.base import ActionContext, ContainmentAction, OneAccount
from service.domain.errors import IncompleteListError, PortcullisError, RefusedByOtherSideError, RetryKind
from service.domain.plan import Effect, Receipt, Verdict, listed
from service.domain.quorum import PreAuthorised
from service.ports.custody import Capability, PendingTransfer

MOST_AT_ONCE = 500
"""Transfers that one attempt cancels, and as many that it drops; verification finds what is left and the step runs again."""
LONGEST = timedelta(seconds=20)
"""How long one attempt goes on: a platform that is called slowly must not outlast the job's time limit."""
ASKING = timedelta(seconds=8)
"""How long verification goes on asking of each list, and what marks the receipt: all may follow an attempt in one job."""
CANCELLED: Final = "cancelled"
REFUSED: Final = "refused"
DROPPED: Final = "dropped"
NOT_DROPPED: Final = "not_dropped"
"""Fact of the receipt: transfers that the platform refused to drop."""
MINED: Final = "mined"
"""Fact of the receipt: transfers that were dropped and got into a block all the same, or of which nobody told."""
_TOLD: Final = 10
"""Transfers that people are told by name."""


class CancelPending(ContainmentAction):
    """Cancel an account's pending outgoing transfers. Runbook: docs/runbooks/action/cancel_pending.md."""

    name = "cancel_pending"
    title = "Cancel every pending outgoing transfer of account {target}"
    effect = Effect.TIGHTENS
    no_undo_because = "a cancelled transfer is gone; who wants it orders it anew"
    ends_what_is_there = True
    needs = frozenset({Capability.CANCEL_PENDING})
    target_kinds = frozenset({"account"})
    approval = PreAuthorised(confirm_within=timedelta(hours=1))
    blast_radius = OneAccount()
    deadline = timedelta(minutes=5)
    repeats = True

    def execute(self, ctx: ActionContext) -> Receipt:
        """Drop and cancel each one; one that the platform refuses does not spare the others. What was sent goes first."""
        late = _after(ctx, LONGEST)
        facts: dict[str, object] = {}
        if _drops(ctx):
            done, refused = _each(ctx.platform.broadcast(ctx.account), lambda one: _drop(ctx, one), late)
            facts = {DROPPED: [*dict.fromkeys([*listed(ctx.receipt, DROPPED), *done])], NOT_DROPPED: refused}
        done, refused = _each(ctx.platform.pending(ctx.account), lambda one: _cancel(ctx, one), late)
        return Receipt(ctx.key, {CANCELLED: done, REFUSED: refused, **facts})

    def verify(self, ctx: ActionContext, receipt: Receipt | None) -> Verdict:
        """HOLDS once every transfer that is still listed is known to be cancelled or dropped, or cannot be dropped."""
        waiting = ctx.platform.pending(ctx.account)
        found = _all_ended(ctx, waiting, lambda one: _settled(ctx, one, ctx.platform.cancelled(one)))
        if found is Verdict.DOES_NOT_HOLD or not _drops(ctx):
            return found
        kept = frozenset(listed(receipt, NOT_DROPPED))
        sent = (one for one in ctx.platform.broadcast(ctx.account) if one.transaction not in kept)
        dropped = _all_ended(ctx, sent, ctx.platform.dropped)
        return found if dropped is Verdict.HOLDS else dropped

    def marked(self, ctx: ActionContext, receipt: Receipt | None) -> Receipt | None:
        """Write down which of those that were dropped got into a block all the same; see the base."""
        if receipt is None or not _drops(ctx):
            return receipt
        late = _after(ctx, ASKING)
        try:
            mined = [
                one for one in listed(receipt, DROPPED) if late() or ctx.platform.dropped(one) is not Verdict.HOLDS
            ]
        except PortcullisError as error:
            if error.retry is RetryKind.LATER:
                raise
            return receipt
        return Receipt(receipt.reference, {**receipt.facts, MINED: mined})

    def remark(self, receipt: Receipt | None) -> str:
        """Name what was sent and not stopped."""
        left = [*dict.fromkeys([*listed(receipt, MINED), *listed(receipt, NOT_DROPPED)])]
        if not left:
            return ""
        more = f" and {len(left) - _TOLD} more" if len(left) > _TOLD else ""
        return f". Sent and not known to be stopped: {', '.join(left[:_TOLD])}{more}: look on the chain"


def _drops(ctx: ActionContext) -> bool:
    return Capability.DROP_BROADCAST in ctx.platform.capabilities


def _drop(ctx: ActionContext, transaction: str) -> Receipt:
    """Drop it, under another key than it may have been cancelled under: that was another request."""
    return ctx.platform.drop(ctx.account, transaction, key=f"{ctx.key}:drop:{transaction}")


def _cancel(ctx: ActionContext, transaction: str) -> Receipt:
    return ctx.platform.cancel(ctx.account, transaction, key=f"{ctx.key}:{transaction}")


def _after(ctx: ActionContext, time: timedelta) -> Callable[[], bool]:
    """Return what says whether so much time has gone by since now."""
    end = ctx.clock.now() + time
    return lambda: ctx.clock.now() > end


def _each(
    transfers: Iterable[PendingTransfer], stop: Callable[[str], Receipt], late: Callable[[], bool]
) -> tuple[list[str], list[str]]:
    """Stop each one until the attempt's time or number is used up; return those that were and those that were refused."""
    done: list[str] = []
    refused: list[str] = []
    with suppress(IncompleteListError):  # verification lists again, and says so
        for transfer in transfers:
            try:
                stop(transfer.transaction)
                done.append(transfer.transaction)
            except RefusedByOtherSideError:
                refused.append(transfer.transaction)
            if len(done) + len(refused) >= MOST_AT_ONCE or late():
                break
    return done, refused


def _all_ended(ctx: ActionContext, transfers: Iterable[PendingTransfer], ended: Callable[[str], Verdict]) -> Verdict:
    """Say whether every one has ended; CANNOT_TELL where one was not asked, or not all were listed."""
    found, late = Verdict.HOLDS, None
    try:
        for transfer in transfers:
            late = late or _after(ctx, ASKING)  # the list itself may have taken long: one question is always asked
            if late():
                return Verdict.CANNOT_TELL
            told = ended(transfer.transaction)
            if told is Verdict.DOES_NOT_HOLD:
                return told
            found = found if told is Verdict.HOLDS else Verdict.CANNOT_TELL
    except IncompleteListError:
        return Verdict.CANNOT_TELL
    return found


def _settled(ctx: ActionContext, transaction: str, told: Verdict) -> Verdict:
    return ctx.platform.settled(f"{ctx.key}:{transaction}") if told is Verdict.CANNOT_TELL else told
