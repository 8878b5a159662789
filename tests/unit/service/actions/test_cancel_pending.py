"""What was sent is dropped: a bid under a key of its own, which only the transfer's own state says won."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from service.actions.base import ActionContext
from service.actions.cancel_pending import ASKING, CancelPending
from service.clock import SystemClock
from service.domain.account import AccountRef
from service.domain.errors import IncompleteListError, RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.ids import ConnectionId
from service.domain.plan import Receipt, Target, Verdict
from service.ports.custody import Capability, PendingTransfer
from tests.support.fakes import FakePlatform, Ledger

ACTION = CancelPending()
HOT = Target("account", ConnectionId("con-a"), "hot-1")


def transfer(name: str, state: str = "BROADCASTING") -> PendingTransfer:
    return PendingTransfer(name, HOT.value, None, None, state)


class Stubborn(FakePlatform):
    """Refuses to drop what it is told to."""

    kept: frozenset[str] = frozenset()

    def drop(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:
        if transaction in self.kept:
            raise RefusedByOtherSideError("too late")
        return super().drop(account, transaction, key=key)


def platform(sent: Iterable[str], *, kept: Iterable[str] = ()) -> Stubborn:
    found = Stubborn(Ledger())
    found.sent = [transfer(name) for name in sent]
    found.kept = frozenset(kept)
    return found


class Slow(Stubborn):
    """Each answer about one transfer takes a second; it is its own clock. A list may end before it is whole."""

    at = datetime(2026, 11, 2, tzinfo=UTC)
    asked = 0
    incomplete = False

    def now(self) -> datetime:
        return self.at

    def dropped(self, transaction: str) -> Verdict:
        self.at += timedelta(seconds=1)
        self.asked += 1
        return super().dropped(transaction)

    def broadcast(self, account: AccountRef) -> Iterator[PendingTransfer]:
        yield from super().broadcast(account)
        if self.incomplete:
            raise IncompleteListError("there are more")


def slow(names: Iterable[str]) -> Slow:
    found = Slow(Ledger())
    found.sent = [transfer(name) for name in names]
    return found


def timed(custody: Slow) -> ActionContext:
    return ActionContext(HOT, {}, "step", custody, None, custody=custody)


def context(custody: FakePlatform, receipt: Receipt | None = None) -> ActionContext:
    return ActionContext(HOT, {}, "step", SystemClock(), None, custody=custody, receipt=receipt)


def test_what_was_sent_is_dropped_once_and_what_was_not_is_cancelled() -> None:
    custody = platform(["sent-1", "sent-2"])
    custody.waiting = [transfer("new-1", "QUEUED")]
    ctx = context(custody)
    assert ACTION.verify(ctx, None) is Verdict.DOES_NOT_HOLD
    receipt = ACTION.execute(ctx)
    assert receipt.facts == {
        "cancelled": ["new-1"],
        "refused": [],
        "dropped": ["sent-1", "sent-2"],
        "not_dropped": [],
    }
    assert ACTION.verify(ctx, receipt) is Verdict.HOLDS
    assert ACTION.remark(ACTION.marked(ctx, receipt)) == ""


def test_a_transfer_is_cancelled_and_dropped_under_two_keys_because_they_are_two_requests() -> None:
    custody = platform(["tx"])
    custody.waiting = [transfer("tx", "PENDING_SIGNATURE")]
    ACTION.execute(context(custody))
    assert len({key for _, key in custody.ledger.calls}) == len(custody.ledger.calls) == 2


def test_one_that_got_into_a_block_all_the_same_is_named() -> None:
    custody = platform(["won", "lost"])
    ctx = context(custody)
    receipt = ACTION.execute(ctx)
    custody.mined = {"lost"}
    assert ACTION.verify(ctx, receipt) is Verdict.HOLDS, "nothing is pending any more"
    told = ACTION.remark(ACTION.marked(ctx, receipt))
    assert "lost" in told
    assert "won" not in told


def test_what_an_earlier_attempt_dropped_is_looked_at_as_well() -> None:
    custody = platform(["first"])
    earlier = ACTION.execute(context(custody))
    custody.mined = {"first"}
    custody.sent.append(transfer("second"))
    ctx = context(custody, earlier)
    receipt = ACTION.execute(ctx)
    assert receipt.facts["dropped"] == ["first", "second"]
    assert "first" in ACTION.remark(ACTION.marked(ctx, receipt))


def test_one_that_cannot_be_dropped_spares_no_other_and_is_named() -> None:
    custody = platform(["stuck", "free"], kept=["stuck"])
    ctx = context(custody)
    receipt = ACTION.execute(ctx)
    assert (receipt.facts["dropped"], receipt.facts["not_dropped"]) == (["free"], ["stuck"])
    assert ACTION.verify(ctx, None) is Verdict.DOES_NOT_HOLD, "without the receipt nobody was told of it"
    assert ACTION.verify(ctx, receipt) is Verdict.HOLDS
    assert "stuck" in ACTION.remark(ACTION.marked(ctx, receipt))


def test_people_are_told_of_ten_by_name_and_of_the_others_by_number() -> None:
    names = [f"tx-{n:02}" for n in range(13)]
    told = ACTION.remark(ACTION.execute(context(platform(names, kept=names))))
    assert "tx-09 and 3 more" in told
    assert "tx-10" not in told


@pytest.mark.parametrize("arrived", [True, False])
def test_a_lost_answer_is_settled_by_the_state_and_the_repeat_has_no_second_effect(*, arrived: bool) -> None:
    custody = platform(["tx"])
    ctx = context(custody)
    custody.ledger.lose_next_answer, custody.ledger.deaf = True, not arrived
    with pytest.raises(UnknownOutcomeError):
        ACTION.execute(ctx)
    assert ACTION.verify(ctx, None) is (Verdict.HOLDS if arrived else Verdict.DOES_NOT_HOLD)
    assert ACTION.verify(ctx, ACTION.execute(ctx)) is Verdict.HOLDS
    assert len(custody.ledger.keys) == 1


def test_who_cannot_tell_is_not_taken_for_stopped() -> None:
    custody = platform(["tx"])
    ctx = context(custody)
    receipt = ACTION.execute(ctx)
    custody.ledger.blind = True
    assert ACTION.verify(ctx, receipt) is Verdict.CANNOT_TELL
    assert "tx" in ACTION.remark(ACTION.marked(ctx, receipt))


def test_a_question_that_only_has_to_wait_is_asked_again() -> None:
    class Busy(Stubborn):
        def dropped(self, transaction: str) -> Verdict:
            raise UnavailableError(f"not now: {transaction}", retry_after_s=1)

    custody = Busy(Ledger())
    custody.sent = [transfer("tx")]
    with pytest.raises(UnavailableError):
        ACTION.marked(context(custody), Receipt("step", {"dropped": ["tx"]}))


def test_a_platform_that_drops_nothing_is_not_asked_to() -> None:
    custody = FakePlatform(Ledger(), frozenset({Capability.CANCEL_PENDING}))
    custody.sent = [transfer("tx")]
    ctx = context(custody)
    receipt = ACTION.execute(ctx)
    assert receipt.facts == {"cancelled": [], "refused": []}
    assert ACTION.verify(ctx, receipt) is Verdict.HOLDS
    assert ACTION.marked(ctx, receipt) is receipt


def test_what_there_is_no_time_to_ask_of_is_not_known_to_be_stopped() -> None:
    custody = slow(f"tx-{n:03}" for n in range(500))
    ctx, most = timed(custody), ASKING // timedelta(seconds=1) + 1
    receipt = ACTION.execute(ctx)
    assert ACTION.verify(ctx, receipt) is Verdict.CANNOT_TELL
    assert custody.asked == most
    marked = ACTION.marked(ctx, receipt)
    assert custody.asked == 2 * most
    assert marked is not None
    assert marked.facts["mined"] == [f"tx-{n:03}" for n in range(most, 500)]
    assert f"tx-{most:03}" in ACTION.remark(marked)


def test_what_is_refused_is_told_and_not_asked_for_again() -> None:
    custody = slow(f"tx-{n:03}" for n in range(500))
    custody.kept = frozenset(one.transaction for one in custody.sent)
    ctx = timed(custody)
    assert ACTION.verify(ctx, ACTION.execute(ctx)) is Verdict.HOLDS
    assert custody.asked == 0


def test_a_list_that_is_not_whole_spares_nobody_and_never_holds() -> None:
    custody = slow(["sent"])
    custody.incomplete = True
    custody.waiting = [transfer("new", "QUEUED")]
    ctx = timed(custody)
    receipt = ACTION.execute(ctx)
    assert (receipt.facts["dropped"], receipt.facts["cancelled"]) == (["sent"], ["new"])
    assert ACTION.verify(ctx, receipt) is Verdict.CANNOT_TELL
    custody.sent.append(transfer("another"))
    assert ACTION.verify(ctx, receipt) is Verdict.DOES_NOT_HOLD, "what is known to go on is stopped first"
