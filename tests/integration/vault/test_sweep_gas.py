"""Sweeps where the node says the wrong gas, where a token takes more than others, and where gas is not all that is paid."""

import pytest

from service.domain.errors import RefusedByOtherSideError, UnavailableError
from service.domain.evm import COIN_GAS, MAX_FEE, MOST_GAS, NATIVE_GAS, TOKEN_GAS, Fee
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from tests.support.chain import ETHER, GWEI, MemoryChain
from tests.support.vault import COIN, SAFE, TOKEN, USDT, VaultHouse

HOLDS, NOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD


@pytest.fixture
def account(house: VaultHouse, chain: MemoryChain) -> AccountId:
    found = house.ready()
    chain.coins[house.address(found)] = ETHER
    return found


def say(chain: MemoryChain, said: int | Exception) -> None:
    """Let the node say a fixed thing of the gas, whatever is asked."""

    def estimate(sender: str, to: str | None, data: bytes, value: int = 0) -> int:
        if isinstance(said, Exception):
            raise said
        return said

    chain.estimate = estimate  # type: ignore[method-assign]  # a node that lies


def swept(house: VaultHouse, account: AccountId, attempts: int, key: str = "s") -> Verdict:
    for _ in range(attempts):
        house.vault.sweep(account, key=key)
        verdict = house.vault.swept(account)
    return verdict


def offered(chain: MemoryChain, to: str) -> list[int]:
    return [sent.gas for sent in chain.executed if sent.to == to]


def test_the_coin_that_a_contract_takes_pays_for_what_it_runs(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.hungry[SAFE] = 40_000
    assert swept(house, account, 1) is HOLDS
    assert offered(chain, SAFE) == [48_000]
    assert chain.coins[SAFE] == ETHER - 48_000 * chain.fee().max_fee


def test_to_an_address_without_code_nothing_is_left_for_gas(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    assert swept(house, account, 1) is HOLDS
    assert offered(chain, SAFE) == [NATIVE_GAS]


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        (0, [NATIVE_GAS, 2 * NATIVE_GAS]),
        (25_000, [30_000, 60_000]),
        (MOST_GAS + 1, [COIN_GAS]),
        (2**256 - 1, [COIN_GAS]),
        (MOST_GAS, [MOST_GAS]),
        (UnavailableError("no estimates here"), [COIN_GAS]),
        (RefusedByOtherSideError("execution reverted"), [COIN_GAS]),
    ],
)
def test_a_lying_node_is_bounded_both_ways(
    house: VaultHouse, chain: MemoryChain, account: AccountId, said: int | Exception, limits: list[int]
) -> None:
    chain.hungry[SAFE] = 40_000
    say(chain, said)
    assert swept(house, account, len(limits)) is HOLDS
    assert offered(chain, SAFE) == limits
    assert chain.coins[SAFE] > ETHER * 98 // 100


@pytest.mark.parametrize("said", [416_000, MOST_GAS])
def test_no_estimate_makes_coin_worthless_that_is_worth_the_gas_which_moving_it_may_use(
    house: VaultHouse, chain: MemoryChain, account: AccountId, said: int
) -> None:
    """At the highest fee that we offer."""
    chain.fee = lambda: Fee(MAX_FEE, 1)  # type: ignore[method-assign]  # a node that lies
    chain.coins[house.address(account)] = 5 * ETHER
    say(chain, said)
    house.vault.sweep(account, key="s")
    assert chain.coins[SAFE] >= 5 * ETHER - MOST_GAS * MAX_FEE
    assert house.vault.swept(account) is HOLDS


def test_a_token_that_takes_more_than_others_gets_more_and_the_coin_for_that_is_kept(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.tokens[USDT, house.address(account)] = 7
    chain.hungry[USDT] = 180_000
    say(chain, UnavailableError("no estimates here"))
    assert swept(house, account, 1) is NOT
    assert chain.coins[SAFE] > ETHER * 99 // 100
    assert swept(house, account, 1) is HOLDS
    assert offered(chain, USDT) == [TOKEN_GAS, 2 * TOKEN_GAS]
    assert chain.tokens[USDT, SAFE] == 7


def test_what_takes_more_than_the_most_is_paid_for_no_more_and_keeps_nothing_else(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.tokens[USDT, house.address(account)] = 7
    chain.hungry[USDT] = 10**7
    say(chain, UnavailableError("no estimates here"))
    for _ in range(4):
        chain.coins[house.address(account)] += ETHER // 10
        assert swept(house, account, 1) is NOT
    with pytest.raises(
        UnavailableError, match=f"{USDT} was not sent: it failed in a block with 500000 gas.*the rest was"
    ):
        house.vault.sweep(account, key="s")
    assert offered(chain, USDT) == [TOKEN_GAS, 2 * TOKEN_GAS, 4 * TOKEN_GAS, MOST_GAS]
    assert chain.coins[SAFE] > ETHER * 13 // 10
    assert house.vault.swept(account) is NOT
    chain.hungry.clear()
    assert swept(house, account, 1, key="asked again") is HOLDS
    assert offered(chain, USDT)[-1] == TOKEN_GAS


def test_what_would_fail_by_the_node_s_word_is_paid_for_once(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.tokens[USDT, house.address(account)] = 7
    honest = chain.token_balance
    chain.token_balance = lambda token, owner: 1 + honest(token, owner)  # type: ignore[method-assign]  # it fails
    chain.estimate = lambda *call: 21_000 if not call[2] else _refuse()  # type: ignore[method-assign]  # it says so
    assert swept(house, account, 1) is NOT
    with pytest.raises(UnavailableError, match="was not sent: it failed in a block, and the chain would revert it"):
        house.vault.sweep(account, key="s")
    assert len(offered(chain, USDT)) == 1
    chain.token_balance = honest  # type: ignore[method-assign]  # as before
    chain.estimate = lambda *_: 30_000  # type: ignore[method-assign]  # as before
    assert swept(house, account, 1) is HOLDS
    assert chain.tokens[USDT, SAFE] == 7


def _refuse() -> int:
    raise RefusedByOtherSideError("the chain would revert it: paused")


def test_a_token_is_moved_also_where_there_is_coin_for_its_estimate_only(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready(assets=(COIN, TOKEN))
    chain.tokens[USDT, house.address(account)] = 7
    chain.coins[house.address(account)] = 80_000 * chain.fee().max_fee
    assert swept(house, account, 1) is HOLDS
    assert offered(chain, USDT) == [78_000]
    assert chain.tokens[USDT, SAFE] == 7


def test_what_a_chain_takes_beside_the_gas_is_kept_from_the_second_round_on(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.beside = NATIVE_GAS * 5 * GWEI
    assert swept(house, account, 1) is HOLDS
    assert [row.state for row in house.sweeps(account)] == ["failed", "final"]
    assert chain.coins[SAFE] > ETHER * 99 // 100


def test_a_chain_that_wants_more_gas_for_anything_is_offered_more(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    chain.least = 150_000
    say(chain, UnavailableError("no estimates here"))
    assert swept(house, account, 1) is HOLDS
    assert offered(chain, SAFE) == [4 * COIN_GAS]
