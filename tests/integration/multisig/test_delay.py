"""Withdrawals that wait in a real Zodiac Delay modifier of a real Safe are skipped while their delay runs.

The contracts are the creation code that npm's @gnosis.pm/zodiac ships (LGPL-3.0-or-later): installed for tests by npm,
never kept here.
"""

import re
from dataclasses import dataclass

import pytest
from eth_abi.abi import encode

from service.domain import safe
from service.domain.plan import Verdict
from tests.integration.multisig.conftest import SafeHouse
from tests.support.anvil import ETHER, RefusedCallError, data_of, npm_file

THIEF = "0x" + "bad0" * 10
COOLDOWN_S = 8 * 3600
QUEUE = "execTransactionFromModule(address,uint256,bytes,uint8)"
QUEUED = (THIEF, ETHER, b"", 0)


def creation_code(name: str) -> bytes:
    """Return the bytes that the package says create one of its contracts."""
    text = npm_file(f"@gnosis.pm/zodiac/dist/cjs/initData/{name}.js").read_text(encoding="utf-8")
    (found,) = re.findall('initCode = "0x([0-9a-f]+)"', text)
    return bytes.fromhex(found)


@dataclass
class Delay:
    """A Delay modifier that a Safe owns, and who may queue in it."""

    house: SafeHouse
    address: str
    proposer: str

    def queue(self, times: int = 1) -> None:
        for _ in range(times):
            self.house.chain.send(self.address, data_of(QUEUE, *QUEUED), sender=self.proposer)

    def execute(self) -> None:
        self.house.chain.send(self.address, data_of(f"executeNextTx{QUEUE[QUEUE.index('(') :]}", *QUEUED))

    def number(self, question: str) -> int:
        return int.from_bytes(self.house.chain.call(self.address, question), "big")


@pytest.fixture
def delay(safe_house: SafeHouse) -> Delay:
    """Made as anybody makes one: a proxy of the master copy by its own factory, set up with the Safe as its owner."""
    house = safe_house
    master, factory = (
        str(house.chain.send(None, creation_code(name))["contractAddress"]) for name in ("Delay", "ModuleProxyFactory")
    )
    parts = encode(["address"] * 3 + ["uint256"] * 2, [house.address] * 3 + [COOLDOWN_S, 0])
    setup = data_of("setUp(bytes)", parts)
    made = house.chain.send(factory, data_of("deployModule(address,bytes,uint256)", master, setup, 1))
    (proxy,) = {str(log["address"]) for log in made["logs"]} - {factory}
    found = Delay(house, proxy, house.chain.people[3])
    for to, module in ((house.address, proxy), (proxy, found.proposer)):
        house.chain.send(house.address, house.signed(to, data_of("enableModule(address)", module), 0, 1))
    return found


def test_without_us_what_waited_is_paid(delay: Delay) -> None:
    delay.queue()
    with pytest.raises(RefusedCallError, match="still in cooldown"):
        delay.execute()
    delay.house.chain.forward(COOLDOWN_S)
    delay.execute()
    assert delay.house.chain.balance(THIEF) == ETHER


@pytest.mark.parametrize("locked", [True, False])
def test_what_waits_is_skipped_while_its_delay_runs_also_under_the_lock(delay: Delay, *, locked: bool) -> None:
    house = delay.house
    assert house.multisigs.delayed_cancelled(house.account) is Verdict.HOLDS
    delay.queue(2)
    assert house.multisigs.delayed_cancelled(house.account) is Verdict.DOES_NOT_HOLD
    if locked:
        house.multisigs.lock(house.account)
    told = house.multisigs.cancel_delayed(house.account)
    assert told.facts == {"skipped_to": {delay.address.lower(): 2}}
    assert house.multisigs.delayed_cancelled(house.account) is Verdict.HOLDS
    used = house.nonce()
    house.multisigs.cancel_delayed(house.account)
    assert house.nonce() == used, "an empty queue is not skipped again"
    if locked:
        house.multisigs.unlock(house.account)
    house.chain.forward(COOLDOWN_S)
    with pytest.raises(RefusedCallError, match="Transaction queue is empty"):
        delay.execute()
    assert house.chain.balance(THIEF) == 0


def test_what_is_queued_afterwards_waits_its_time_and_is_skipped_again(delay: Delay) -> None:
    house = delay.house
    delay.queue()
    house.multisigs.cancel_delayed(house.account)
    delay.queue()
    assert house.multisigs.delayed_cancelled(house.account) is Verdict.DOES_NOT_HOLD
    house.multisigs.cancel_delayed(house.account)
    assert (delay.number("txNonce()"), delay.number("queueNonce()")) == (2, 2)
    assert house.multisigs.delayed_cancelled(house.account) is Verdict.HOLDS


def test_nobody_but_the_safe_skips(delay: Delay) -> None:
    delay.queue()
    with pytest.raises(RefusedCallError):
        delay.house.chain.send(delay.address, safe.call("setTxNonce(uint256)", 1), sender=delay.proposer)
    assert delay.number("txNonce()") == 0
