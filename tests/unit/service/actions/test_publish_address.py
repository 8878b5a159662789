"""Publishing the new addresses of an account with several leaves: all of them, each once, whatever becomes of one."""

import pytest

from service.actions.base import ActionContext
from service.actions.publish_address import PublishAddress
from service.clock import SystemClock
from service.domain.account import AccountRef
from service.domain.errors import RefusedByOtherSideError, UnknownOutcomeError
from service.domain.ids import AccountId, ConnectionId
from service.domain.plan import Receipt, Target, Verdict
from service.playbooks.scene import new_addresses
from tests.support.fakes import FakePlatform, Ledger

ADDRESSES = [f"eip155:1:0x{digit * 40}" for digit in "123"]


class Refusing(FakePlatform):
    """Refuses the second address."""

    def publish_address(self, account: AccountRef, address: str, *, key: str) -> Receipt:
        if address == ADDRESSES[1]:
            raise RefusedByOtherSideError("the platform refused the second")
        return super().publish_address(account, address, key=key)


def context(platform: FakePlatform) -> ActionContext:
    return ActionContext(
        target=Target("account", ConnectionId("con-a"), "hot-1"),
        params={"address": " ".join(ADDRESSES)},
        key="k",
        clock=SystemClock(),
        account_id=AccountId("acc_1"),
        custody=platform,
    )


def test_every_address_is_published_once_under_a_key_of_its_own() -> None:
    ledger = Ledger()
    ctx = context(FakePlatform(ledger))
    action = PublishAddress()
    assert action.verify(ctx, None) is Verdict.DOES_NOT_HOLD
    receipt = action.execute(ctx)
    action.execute(ctx)
    assert action.verify(ctx, receipt) is Verdict.HOLDS
    assert [effect.rpartition(" ")[2] for effect in sorted(ledger.holding)] == ADDRESSES
    assert ledger.keys == {"k", *(f"k:{one}" for one in ADDRESSES[1:])}


def test_while_one_is_missing_it_does_not_hold() -> None:
    ledger = Ledger()
    ctx = context(FakePlatform(ledger))
    ledger.lose_next_answer = True
    with pytest.raises(UnknownOutcomeError):
        PublishAddress().execute(ctx)
    assert PublishAddress().verify(ctx, None) is Verdict.DOES_NOT_HOLD
    ledger.blind = True
    assert PublishAddress().verify(ctx, None) is Verdict.CANNOT_TELL


def test_one_that_is_refused_keeps_no_other_back_and_is_told() -> None:
    ledger = Ledger()
    ctx = context(Refusing(ledger))
    with pytest.raises(RefusedByOtherSideError, match="the second"):
        PublishAddress().execute(ctx)
    assert len(ledger.holding) == 2
    assert PublishAddress().verify(ctx, None) is Verdict.DOES_NOT_HOLD


def test_the_plan_reads_all_that_a_rotation_prepared() -> None:
    assert new_addresses({"address": ADDRESSES[0], "addresses": ADDRESSES}) == " ".join(ADDRESSES)
    assert new_addresses({"address": ADDRESSES[0]}) == ADDRESSES[0]
    assert new_addresses({"address": 5, "addresses": [7]}) == ""
    assert new_addresses({}) == ""
