"""Outbidding what is pending on a chain that demands 10 % more, as real nodes do."""

import pytest

from service.domain.errors import MissingCapabilityError, UnavailableError
from service.domain.evm import COIN_GAS, MAX_FEE, NATIVE_GAS, transaction_hash
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from tests.support.chain import ETHER, GWEI, MemoryChain, Sent
from tests.support.vault import COIN, VaultHouse

THIEF = "0x" + "bad0" * 10


def pending(house: VaultHouse, chain: MemoryChain, account: AccountId, *, max_fee: int) -> str:
    address = house.address(account)
    chain.coins[address] = 10 * ETHER
    chain.pool[address, 0] = Sent(address, 0, THIEF, ETHER, b"", 21_000, max_fee, transaction_hash(b"theft"))
    return address


def test_a_higher_offer_than_ours_is_outbid_by_doubling(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready()
    address = pending(house, chain, account, max_fee=150 * GWEI)
    house.vault.restrict(account, key="r")
    assert house.vault.pending_replaced(account, {}) is Verdict.DOES_NOT_HOLD
    house.vault.replace_pending(account, {}, key="p")
    assert house.vault.pending_replaced(account, {}) is Verdict.HOLDS
    (mined,) = chain.executed
    assert (mined.to, mined.value, mined.data, mined.nonce) == (address, 0, b"", 0)
    assert mined.max_fee >= 165 * GWEI
    assert chain.coins[THIEF] == 0


def test_an_offer_over_our_limit_is_not_followed(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready()
    pending(house, chain, account, max_fee=2 * MAX_FEE)
    with pytest.raises(UnavailableError, match="more than we ever do"):
        house.vault.replace_pending(account, {}, key="p")
    assert house.vault.pending_replaced(account, {}) is Verdict.DOES_NOT_HOLD


def test_nothing_is_sent_where_nothing_is_pending(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready()
    assert house.vault.pending_replaced(account, {}) is Verdict.HOLDS
    house.vault.replace_pending(account, {}, key="p")
    assert chain.executed == []


def test_a_chain_that_is_away_keeps_no_other_from_being_outbid(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready(assets=("eip155:0/slip44:60", COIN))
    pending(house, chain, account, max_fee=20 * GWEI)
    with pytest.raises(MissingCapabilityError, match="no endpoint for chain eip155:0"):
        house.vault.replace_pending(account, {}, key="p")
    assert (len(chain.executed), chain.coins[THIEF]) == (1, 0)
    assert house.vault.pending_replaced(account, {}) is Verdict.CANNOT_TELL


@pytest.mark.parametrize(("said", "offered"), [(60_000, 72_000), (None, COIN_GAS)])
def test_a_chain_that_wants_more_gas_for_anything_is_offered_what_it_estimates(
    house: VaultHouse, chain: MemoryChain, monkeypatch: pytest.MonkeyPatch, said: int | None, offered: int
) -> None:
    def estimate(*_: object) -> int:
        if said is None:
            raise UnavailableError("no estimates here")
        return said

    account = house.ready()
    address = pending(house, chain, account, max_fee=20 * GWEI)
    chain.least = 45_000
    monkeypatch.setattr(chain, "estimate", estimate)
    house.vault.replace_pending(account, {}, key="p")
    assert [(sent.to, sent.gas) for sent in chain.executed] == [(address, offered)]
    assert chain.coins[THIEF] == 0


def test_a_cancellation_offers_no_more_than_its_nonce_is_worth(house: VaultHouse, chain: MemoryChain) -> None:
    """Whoever has the key may have put code at its address that would use any gas: it fails, and the nonce is used."""
    account = house.ready()
    address = pending(house, chain, account, max_fee=20 * GWEI)
    chain.hungry[address] = 10**6
    house.vault.replace_pending(account, {}, key="p")
    assert [sent.gas for sent in chain.executed] == [NATIVE_GAS]
    assert house.vault.pending_replaced(account, {}) is Verdict.HOLDS


def test_a_chain_that_refuses_a_cancellation_whatever_its_gas_is_named(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.ready()
    pending(house, chain, account, max_fee=20 * GWEI)
    chain.least = 10**6
    with pytest.raises(UnavailableError, match="could not be taken: intrinsic gas too low"):
        house.vault.replace_pending(account, {}, key="p")
