"""A thief with the key who approved so many spenders that they cannot all be asked about in one attempt."""

import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from eth_hash.auto import keccak

from service.domain.errors import UnavailableError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.domain.safe import call
from service.ports.chain import FoundLogs
from service.vault import hot
from tests.support.chain import ETHER, MemoryChain, Sent
from tests.support.vault import USDT, VaultHouse

SPENDERS = tuple(f"0x{0xFF - number:02x}{'00' * 18}{number:02x}" for number in range(200))
"""The newest first, and the last by their addresses."""
SLOW_S = 3.0
"""By the clock of the test, for each question: a hundred of them in the 300 s that `conftest.py` gives an attempt."""
APPROVE = call("approve(address,uint256)", SPENDERS[0], 0)[:4]


@dataclass
class Crowd(MemoryChain):
    """A token whose owner approved all of SPENDERS, and took most of that back."""

    owner: str = ""
    allowed: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def logs(self, *_: object) -> FoundLogs:
        words = [bytes(12) + bytes.fromhex(one.removeprefix("0x")) for one in (self.owner, *SPENDERS)]
        approval = keccak(b"Approval(address,address,uint256)")
        return FoundLogs([(USDT, (approval, words[0], spender)) for spender in words[1:]])

    def call(self, to: str, data: bytes) -> bytes:
        assert (to, data[:4]) == (USDT, keccak(b"allowance(address,address)")[:4])
        self.asked.append("0x" + data[-20:].hex())
        return (self.asked[-1] in self.allowed).to_bytes(32, "big")

    def _apply(self, sent: Sent) -> bool:
        assert sent.data[:4] == APPROVE
        self.allowed.discard("0x" + sent.data[16:36].hex())
        return True


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    found = Crowd()
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + SLOW_S * len(found.asked), sleep=time.sleep)
    monkeypatch.setattr(hot, "time", clock)
    return found


@pytest.fixture
def account(house: VaultHouse, chain: Crowd) -> AccountId:
    account = house.ready()
    chain.owner = house.address(account)
    chain.coins[chain.owner] = ETHER
    return account


def test_what_was_found_in_time_is_taken_back_and_the_rest_is_no_none(
    house: VaultHouse, chain: Crowd, account: AccountId
) -> None:
    chain.allowed = {*SPENDERS[:2], SPENDERS[49]}
    with pytest.raises(UnavailableError, match=r"1\d\d of 200 spenders were not asked about: the time was over"):
        house.vault.revoke_allowances(account, key="k")
    assert (len(chain.executed), chain.allowed) == (3, set())
    assert len(chain.asked) <= 300 / SLOW_S
    assert chain.asked[:50] == list(SPENDERS[:50])
    chain.asked.clear()
    assert house.vault.allowances_revoked(account) is Verdict.CANNOT_TELL


def test_no_order_of_approvals_keeps_one_from_being_asked_about(
    house: VaultHouse, chain: Crowd, account: AccountId
) -> None:
    seen = []
    for _ in range(2):
        chain.asked.clear()
        with pytest.raises(UnavailableError, match="were not asked about"):
            house.vault.revoke_allowances(account, key="k")
        seen.append(chain.asked[50:])
    assert seen[0] != seen[1]


def test_one_that_is_left_is_enough_to_know_that_the_step_does_not_hold(
    house: VaultHouse, chain: Crowd, account: AccountId
) -> None:
    chain.allowed = {SPENDERS[3]}
    assert house.vault.allowances_revoked(account) is Verdict.DOES_NOT_HOLD
    assert chain.asked == list(SPENDERS[:4])
