"""Sweeps of several chains and many addresses: what fails at one keeps no other, and all are come to in the end."""

from dataclasses import replace
from typing import Any

import pytest

from service.domain.errors import ApprovalError, MissingCapabilityError, PortcullisError, UnavailableError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.ports.chain import Mined
from service.vault import everywhere, payments, sweeper, visits
from tests.support.chain import ETHER, MemoryChain
from tests.support.vault import COIN, SAFE, TOKEN, USDT, VaultHouse

HOLDS, NOT, CANNOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD, Verdict.CANNOT_TELL
BASE = "eip155:8453"
BASE_COIN = f"{BASE}/slip44:60"


@pytest.fixture
def base(house: VaultHouse, chain: MemoryChain) -> MemoryChain:
    """A second chain, after the first in the order of their names."""
    found = MemoryChain()
    house.parts = replace(house.parts, chains={"eip155:1": chain, BASE: found})
    return found


@pytest.fixture
def account(house: VaultHouse, base: MemoryChain) -> AccountId:
    """An account with coin on the second chain."""
    found = house.account(assets=(COIN, TOKEN, BASE_COIN))
    house.destination(found)
    house.destination(found, stated_chain=BASE)
    house.vault.provision(found)
    base.coins[house.address(found)] = ETHER
    return found


def away(*_: object) -> Any:
    raise UnavailableError("the chain's endpoint did not answer")


def test_a_token_that_nothing_pays_for_keeps_no_other_chain_from_being_swept(
    house: VaultHouse, chain: MemoryChain, base: MemoryChain, account: AccountId
) -> None:
    chain.tokens[USDT, house.address(account)] = 1
    with pytest.raises(UnavailableError, match=f"{USDT} was not sent: 0x.* cannot pay"):
        house.vault.sweep(account, key="s")
    assert base.coins[SAFE] > ETHER * 98 // 100
    assert house.vault.swept(account) is NOT


def test_a_chain_that_is_away_keeps_no_other_from_being_swept_and_hides_nothing_there(
    house: VaultHouse, chain: MemoryChain, base: MemoryChain, account: AccountId
) -> None:
    house.vault.sweep(account, key="s")
    chain.balance = chain.fee = chain.mined_nonce = chain.next_nonce = away  # type: ignore[assignment, method-assign]  # no answers
    assert house.vault.swept(account) is CANNOT
    base.coins[house.address(account)] += ETHER
    assert house.vault.swept(account) is NOT
    with pytest.raises(UnavailableError, match="did not answer"):
        house.vault.sweep(account, key="s")
    assert base.coins[SAFE] > ETHER * 196 // 100
    assert house.vault.swept(account) is CANNOT


@pytest.mark.parametrize(
    ("has_endpoint", "error"),
    [(False, MissingCapabilityError), (True, ApprovalError)],
    ids=["no endpoint", "no safe destination"],
)
def test_what_ends_the_step_at_one_chain_is_told_when_the_others_are_swept(
    house: VaultHouse,
    chain: MemoryChain,
    has_endpoint: bool,  # noqa: FBT001  a table of cases
    error: type[PortcullisError],
) -> None:
    account, lacking = house.ready(assets=("eip155:0/slip44:60", COIN)), MemoryChain()
    house.parts = replace(house.parts, chains={"eip155:1": chain, **({"eip155:0": lacking} if has_endpoint else {})})
    chain.coins[house.address(account)] = lacking.coins[house.address(account)] = ETHER
    with pytest.raises(error):
        house.vault.sweep(account, key="s")
    assert chain.coins[SAFE] > ETHER * 98 // 100
    assert house.vault.swept(account) is not HOLDS


def test_an_address_that_cannot_be_emptied_keeps_no_other_from_its_turn(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready()
    addresses = house.add_leaves(account, 4)
    for address in addresses[1:]:
        chain.coins[address] = ETHER
    chain.tokens[USDT, addresses[0]] = 1
    with pytest.raises(UnavailableError, match=f"(?i){addresses[0]} cannot pay"):
        house.vault.sweep(account, key="s")
    assert chain.coins[SAFE] > 3 * ETHER * 98 // 100
    assert house.vault.swept(account) is NOT


# --- more addresses than there is time for


class Slow:
    """A chain whose every answer takes a second, on the only clock there is."""

    def __init__(self, chain: MemoryChain) -> None:
        self._chain = chain
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._chain, name)

        def call(*args: object) -> object:
            self.now += 1
            return found(*args)

        return call


@pytest.fixture
def slow(house: VaultHouse, chain: MemoryChain, monkeypatch: pytest.MonkeyPatch) -> Slow:
    found = Slow(chain)
    house.parts = replace(house.parts, chains={"eip155:1": found})
    for module in (everywhere, payments, sweeper, visits):
        monkeypatch.setattr(module, "time", found)
    monkeypatch.setattr(sweeper, "SENDING_S", 25.0)
    monkeypatch.setattr(sweeper, "ASKING_S", 12.0)
    return found


def test_many_addresses_are_worked_through_over_several_attempts_and_the_rest_is_told(
    house: VaultHouse, chain: MemoryChain, slow: Slow
) -> None:
    account = house.ready()
    addresses = house.add_leaves(account, 60)
    chain.coins[addresses[-1]] = ETHER
    with pytest.raises(UnavailableError, match="eip155:1 took too long: 47 addresses there are left for later"):
        house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is NOT, "not empty, as far as anybody knows"
    for _ in range(6):
        began = slow.now
        try:
            house.vault.sweep(account, key="s")
        except UnavailableError as error:
            assert "left for later" in str(error)  # noqa: PT017  some attempts end so, the last does not
        verdict = house.vault.swept(account)
        assert slow.now - began < 25 + 12 + 12
    assert chain.coins[SAFE] > ETHER * 98 // 100
    assert verdict is HOLDS
    slow.now += 2 * visits.LATELY_S
    assert house.vault.swept(account) is NOT, "what was seen long ago is not known"
    assert all(house.vault.swept(account) is NOT for _ in range(8))
    assert house.vault.swept(account) is HOLDS


def test_addresses_that_always_take_long_keep_no_other_from_its_turn(
    house: VaultHouse, chain: MemoryChain, slow: Slow
) -> None:
    account = house.ready()
    addresses = house.add_leaves(account, 30)
    for address in addresses[:29]:
        chain.tokens[USDT, address] = 1
    chain.coins[addresses[29]] = ETHER
    for _ in range(10):
        with pytest.raises(UnavailableError, match="cannot pay"):
            house.vault.sweep(account, key="s")
    assert chain.coins[SAFE] > ETHER * 98 // 100


def test_the_price_is_asked_once_for_all_addresses(house: VaultHouse, chain: MemoryChain) -> None:
    account, asked, price = house.ready(), [], chain.fee()
    for address in house.add_leaves(account, 5):
        chain.coins[address] = ETHER
    chain.fee = lambda: (asked.append(price), price)[1]  # type: ignore[method-assign, func-returns-value]  # counts
    house.vault.sweep(account, key="s")
    assert (len(asked), len(chain.executed)) == (1, 5)


def test_what_stands_is_asked_of_each_transaction_once(house: VaultHouse, chain: MemoryChain) -> None:
    account, asked, mined = house.ready(), list[str](), chain.mined
    for address in house.add_leaves(account, 5):
        chain.coins[address] = ETHER
    house.vault.sweep(account, key="s")
    names = [row.transaction_hash for row in house.sweeps(account)]

    def counted(transaction_hash: str) -> Mined | None:
        asked.append(transaction_hash)
        return mined(transaction_hash)

    chain.mined = counted  # type: ignore[method-assign]  # counts the questions
    stood = house.vault.standing(account, names)
    assert (sorted(stood.transactions), sorted(stood.nonces.values())) == (sorted(names), [1] * 5)
    assert sorted(asked) == sorted(names)
