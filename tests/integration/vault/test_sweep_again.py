"""Sweeps that their chain forgot: what is in no block and unknown to the node is sent again, byte for byte."""

import pytest

from service.domain.errors import UnavailableError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from tests.support.chain import ETHER, MemoryChain, Sent
from tests.support.vault import SAFE, USDT, VaultHouse

HOLDS, NOT, CANNOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD, Verdict.CANNOT_TELL
THIEF = "0x" + "bd" * 20


@pytest.fixture
def account(house: VaultHouse, chain: MemoryChain) -> AccountId:
    found = house.ready()
    chain.coins[house.address(found)] = ETHER
    chain.tokens[USDT, house.address(found)] = 7
    return found


@pytest.fixture
def pending(house: VaultHouse, chain: MemoryChain, account: AccountId) -> list[str]:
    """Hashes of a sweep of token and coin that waits in the node's pool."""
    chain.mines = False
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is CANNOT
    return [row.transaction_hash for row in house.sweeps(account)]


def test_what_the_node_s_pool_forgot_is_sent_again_as_it_is(
    house: VaultHouse, chain: MemoryChain, account: AccountId, pending: list[str]
) -> None:
    chain.pool.clear()
    assert house.vault.swept(account) is NOT
    house.vault.sweep(account, key="s")
    assert [sent.hash for sent in chain.pool.values()] == pending
    assert house.vault.swept(account) is CANNOT
    chain.mine()
    assert house.vault.swept(account) is HOLDS
    assert len(house.sweeps(account)) == 2


def test_what_can_no_longer_be_paid_has_failed_and_what_is_left_is_swept(
    house: VaultHouse, chain: MemoryChain, account: AccountId, pending: list[str]
) -> None:
    """Code at the address can take the coin without using a nonce (EIP-7702)."""
    chain.pool.clear()
    chain.coins[house.address(account)] = ETHER // 10
    chain.mines = True
    house.vault.sweep(account, key="s")
    assert chain.tokens[USDT, SAFE] == 7
    assert chain.coins[SAFE] > ETHER * 9 // 100
    assert {row.transaction_hash: row.state for row in house.sweeps(account)}[pending[1]] == "failed"


def test_what_stands_behind_a_refused_one_gives_its_nonce_back(
    house: VaultHouse, chain: MemoryChain, account: AccountId, pending: list[str]
) -> None:
    address = house.address(account)
    chain.pool[address, 0] = Sent(address, 0, THIEF, 1, b"", 21_000, 3 * chain.fee().max_fee, "0xbad")
    house.vault.sweep(account, key="s")
    chain.mine()
    assert chain.tokens[USDT, SAFE] == 7
    assert chain.coins[SAFE] > ETHER * 9 // 10
    assert chain.coins[THIEF] == 0
    assert {row.state for row in house.sweeps(account) if row.transaction_hash in pending} == {"failed"}


def test_what_the_thief_s_transaction_took_the_place_of_is_no_reason_to_wait(
    house: VaultHouse, chain: MemoryChain, account: AccountId, pending: list[str]
) -> None:
    chain.pool.clear()
    chain.nonces[house.address(account)] = 1
    chain.mines = True
    house.vault.sweep(account, key="s")
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS
    assert chain.tokens[USDT, SAFE] == 7
    states = {row.transaction_hash: row.state for row in house.sweeps(account)}
    assert [states[name] for name in pending] == ["failed", "final"]


# --- after a rotation, when its keys sign nothing any more


def rotated_and_dropped(house: VaultHouse, chain: MemoryChain) -> tuple[AccountId, str]:
    """Return an account whose sweep a reorganisation took out of its block, and its old address."""
    vault, account = house.vault, house.ready()
    address = house.address(account)
    chain.coins[address] = ETHER
    vault.prepare_rotation(account, "leaf", key="p")
    vault.sweep(account, key="s")
    assert vault.swept(account) is HOLDS
    vault.retire(account, key="t")
    for gone in (chain.receipts, chain.nonces, chain.coins, chain.executed):
        gone.clear()
    chain.coins[address] = ETHER
    return account, address


def test_what_could_not_be_sent_after_the_rotation_is_sent_by_the_next_attempt(
    house: VaultHouse, chain: MemoryChain
) -> None:
    account, address = rotated_and_dropped(house, chain)
    send = chain.send

    def away(raw: bytes) -> str:
        raise UnavailableError(f"the endpoint did not answer: {len(raw)} bytes were not sent")

    chain.send = away  # type: ignore[method-assign]  # the endpoint is away
    with pytest.raises(UnavailableError, match="not sent"):
        house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is NOT
    chain.send = send  # type: ignore[method-assign]  # it answers again
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS
    assert (chain.coins[SAFE] > ETHER * 98 // 100, chain.coins[address] < ETHER // 100) == (True, True)


def test_what_the_pool_forgot_after_the_rotation_is_sent_again_by_any_sweep(
    house: VaultHouse, chain: MemoryChain
) -> None:
    account, _ = rotated_and_dropped(house, chain)
    chain.mines = False
    house.vault.sweep(account, key="s")
    chain.pool.clear()
    chain.mines = True
    house.vault.sweep(account, key="asked anew")
    assert house.vault.swept(account) is HOLDS
    assert chain.coins[SAFE] > ETHER * 98 // 100
    assert len(house.sweeps(account)) == 1
