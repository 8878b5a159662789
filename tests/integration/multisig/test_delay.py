"""Withdrawals that wait in a real Zodiac Delay modifier of a real Safe are skipped while their delay runs."""

import pytest

from service.domain.plan import Verdict
from tests.integration.multisig.conftest import SafeHouse
from tests.integration.multisig.zodiac import COOLDOWN_S, THIEF, Delay, made_delay
from tests.support.anvil import ETHER, RefusedCallError


@pytest.fixture
def delay(safe_house: SafeHouse) -> Delay:
    return made_delay(safe_house)


def test_without_us_what_waited_is_paid(delay: Delay) -> None:
    delay.queue()
    with pytest.raises(RefusedCallError, match="still in cooldown"):
        delay.execute()
    delay.house.chain.forward(COOLDOWN_S)
    delay.execute()
    assert delay.house.chain.balance(THIEF) == ETHER


def test_what_waits_is_skipped_under_the_lock_while_its_delay_runs(delay: Delay) -> None:
    house = delay.house
    assert house.multisigs.delayed_cancelled(house.account) is Verdict.HOLDS
    delay.queue(2)
    assert house.multisigs.delayed_cancelled(house.account) is Verdict.DOES_NOT_HOLD
    house.multisigs.lock(house.account)
    told = house.multisigs.cancel_delayed(house.account)
    assert told.facts == {"skipped_to": {delay.address.lower(): 2}}
    assert house.multisigs.delayed_cancelled(house.account) is Verdict.HOLDS
    used = house.nonce()
    house.multisigs.cancel_delayed(house.account)
    assert house.nonce() == used, "an empty queue is not skipped again"
    house.multisigs.unlock(house.account)
    house.chain.forward(COOLDOWN_S)
    with pytest.raises(RefusedCallError, match="Transaction queue is empty"):
        delay.execute()
    assert house.chain.balance(THIEF) == 0


def test_what_is_queued_afterwards_waits_its_time_and_is_skipped_without_a_lock_too(delay: Delay) -> None:
    house = delay.house
    for number in (1, 2):
        delay.queue()
        assert house.multisigs.delayed_cancelled(house.account) is Verdict.DOES_NOT_HOLD
        house.multisigs.cancel_delayed(house.account)
        assert (delay.number("txNonce()"), delay.number("queueNonce()")) == (number, number)
        assert house.multisigs.delayed_cancelled(house.account) is Verdict.HOLDS
