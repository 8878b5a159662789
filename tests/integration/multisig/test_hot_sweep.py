"""An own hot wallet is emptied into a Safe on a real EVM, by a restricted key, whatever the node says of the gas."""

import pytest

from service.chain.evm import JsonRpcChain
from service.domain.errors import RefusedByOtherSideError, UnavailableError
from service.domain.evm import COIN_GAS, MOST_GAS, NATIVE_GAS, TOKEN_GAS, gas_of
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.domain.vault import VaultKey
from tests.integration.multisig.conftest import SafeHouse
from tests.integration.multisig.test_hot_wallet import TOKEN, wallet
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER, data_of

COIN = f"{CHAIN}/slip44:60"


class Saying(JsonRpcChain):
    """Says a fixed thing of the gas, whatever is asked."""

    def __init__(self, endpoint: str, said: int | Exception) -> None:
        super().__init__(endpoint, CHAIN_ID)
        self.said = said

    def estimate(self, sender: str, to: str | None, data: bytes, value: int = 0) -> int:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def restricted(house: SafeHouse, *assets: str) -> tuple[AccountId, VaultKey]:
    """Return a restricted wallet with two ether whose safe destination is the Safe."""
    account, key = wallet(house, *assets)
    house.house.destination(account, house.address, stated_chain=CHAIN)
    house.house.vault.provision(account)
    house.house.vault.restrict(account, key="r")
    return account, key


def limits(house: SafeHouse, account: AccountId, asset: str) -> list[int]:
    return [gas_of(row.raw_transaction) for row in house.house.sweeps(account) if row.asset == asset]


def test_coin_and_token_go_into_a_safe_in_one_attempt(safe_house: SafeHouse) -> None:
    house = safe_house
    token = house.chain.deploy(TOKEN)
    account, key = restricted(house, token)
    house.chain.send(token, data_of("transfer(address,uint256)", key.address, 1000))
    before = house.chain.balance(house.address)
    house.house.vault.sweep(account, key="s")
    assert house.house.vault.swept(account) is Verdict.HOLDS
    assert int.from_bytes(house.chain.call(token, "balanceOf(address)", house.address), "big") == 1000
    assert house.chain.balance(house.address) - before > ETHER * 199 // 100
    (coin,) = [row for row in house.house.sweeps(account) if row.asset == COIN]
    used = int(house.chain.receipt(coin.transaction_hash)["gasUsed"], 16)
    assert NATIVE_GAS < used < gas_of(coin.raw_transaction) < COIN_GAS


@pytest.mark.parametrize(
    ("said", "offered"),
    [
        (UnavailableError("eth_estimateGas is not offered"), [COIN_GAS]),
        (RefusedByOtherSideError("execution reverted"), [COIN_GAS]),
        (10**12, [COIN_GAS]),
        (MOST_GAS, [MOST_GAS]),
        (0, [NATIVE_GAS, 2 * NATIVE_GAS]),
        (22_000, [26_400, 52_800]),
    ],
)
def test_a_node_that_says_nothing_or_lies_is_bounded(
    safe_house: SafeHouse, said: int | Exception, offered: list[int]
) -> None:
    house = safe_house
    token = house.chain.deploy(TOKEN)
    account, key = restricted(house, token)
    house.chain.send(token, data_of("transfer(address,uint256)", key.address, 1000))
    chain = Saying(house.chain.url, said)
    object.__setattr__(house.house.parts, "chains", {CHAIN: chain})
    before = house.chain.balance(house.address)
    for _ in offered:
        house.house.vault.sweep(account, key="s")
        verdict = house.house.vault.swept(account)
    chain.close()
    assert verdict is Verdict.HOLDS
    assert limits(house, account, COIN) == offered
    assert limits(house, account, f"{CHAIN}/erc20:{token}") == [MOST_GAS if said == MOST_GAS else TOKEN_GAS]
    assert int.from_bytes(house.chain.call(token, "balanceOf(address)", house.address), "big") == 1000
    assert house.chain.balance(house.address) - before > ETHER * 19 // 10


def test_an_allowance_whose_revocation_ran_out_of_gas_is_taken_back_with_twice_as_much(safe_house: SafeHouse) -> None:
    house = safe_house
    token = house.chain.deploy(TOKEN)
    account, key = restricted(house, token)
    spender = house.chain.people[2]
    house.chain.rpc("anvil_impersonateAccount", key.address)
    house.chain.send(token, data_of("approve(address,uint256)", spender, 2**256 - 1), sender=key.address)
    chain = Saying(house.chain.url, 20_000)
    object.__setattr__(house.house.parts, "chains", {CHAIN: chain})
    house.chain.fund(key.address, (TOKEN_GAS - 1) * chain.fee().max_fee)  # too little for the usual limit
    chain.said = 22_000
    names = house.house.vault.revoke_allowances(account, key="k").facts["transactions"]
    assert isinstance(names, list)
    assert house.house.vault.allowances_revoked(account) is Verdict.HOLDS
    told = [house.chain.rpc("eth_getTransactionByHash", name)["gas"] for name in names]
    assert [int(gas, 16) for gas in told] == [26_400, 52_800]
    chain.said, held = 0, house.chain.balance(key.address)
    assert house.house.vault.revoke_allowances(account, key="k").facts["transactions"] == []
    assert house.chain.balance(key.address) == held
    chain.close()


def test_an_allowance_that_cannot_be_taken_back_by_the_node_s_word_keeps_no_other(safe_house: SafeHouse) -> None:
    house = safe_house
    token, other = house.chain.deploy(TOKEN), house.chain.deploy(TOKEN)
    account, key = restricted(house, token, other)
    house.chain.rpc("anvil_impersonateAccount", key.address)
    for one in (token, other):
        house.chain.send(one, data_of("approve(address,uint256)", house.chain.people[2], 7), sender=key.address)

    class Refusing(JsonRpcChain):
        def estimate(self, sender: str, to: str | None, data: bytes, value: int = 0) -> int:
            if to == token.lower():
                raise RefusedByOtherSideError("the chain would revert it: paused")
            return super().estimate(sender, to, data, value)

    chain = Refusing(house.chain.url, CHAIN_ID)
    object.__setattr__(house.house.parts, "chains", {CHAIN: chain})
    with pytest.raises(UnavailableError, match=f"at {token.lower()} cannot be taken back: .*paused"):
        house.house.vault.revoke_allowances(account, key="k")
    left = [
        house.chain.call(one, "allowance(address,address)", key.address, house.chain.people[2])
        for one in (token, other)
    ]
    assert [int.from_bytes(one, "big") for one in left] == [7, 0]
    assert house.house.vault.allowances_revoked(account) is Verdict.DOES_NOT_HOLD
    chain.close()
