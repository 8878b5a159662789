"""More turns out lost than a rotation answers, before its keys are the current ones: they are lost keys themselves."""

import pytest

from hsm.keypath import DerivationPath
from hsm.rotation import Generate
from service.domain.errors import ApprovalError, ConflictError, UnknownOutcomeError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.domain.vault import WalletState
from service.vault import destinations, rotations
from service.vault.destruction import DESTROY_AFTER
from tests.support.chain import ETHER, MemoryChain
from tests.support.vault import COIN, OTHER_SAFE, SAFE, VaultHouse

HOLDS, NOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD


def lost(house: VaultHouse, account: AccountId, chain: MemoryChain) -> str:
    """Prepare keys as if a leaf were lost, and have somebody pay to them; return their address."""
    chain.coins[house.address(account)] = 3 * ETHER
    house.vault.restrict(account, key="r")
    told = str(house.vault.prepare_rotation(account, "leaf", key="p1").facts["address"])
    address = told.rpartition(":")[2].lower()
    chain.coins[address] = ETHER
    return address


@pytest.mark.parametrize("scope", ["account_key", "seed"])
def test_the_keys_of_a_rotation_that_goes_not_deep_enough_are_emptied_and_destroyed(
    house: VaultHouse, chain: MemoryChain, scope: str
) -> None:
    vault, account = house.vault, house.ready(wallet="treasury")
    given_up = lost(house, account, chain)
    deeper = vault.prepare_rotation(account, scope, key="p2")
    assert str(deeper.facts["address"]).rpartition(":")[2].lower() != given_up
    assert vault.prepare_rotation(account, scope, key="p2") == deeper
    assert vault.prepare_rotation(account, "leaf", key="p1").facts["address"] == deeper.facts["address"]
    assert vault.rotation_prepared(account) is HOLDS
    assert house.wallets() == {"treasury": "compromised", "treasury.2": "active"}
    assert [k[2] for k in house.keys(account)] == ["restricted", "restricted", "active"]
    vault.sweep(account, key="s")
    assert vault.swept(account) is HOLDS
    assert chain.coins[given_up] < ETHER // 100, "what was paid to given-up keys is swept"
    vault.retire(account, key="t")
    assert vault.retired(account) is HOLDS
    vault.destroy(account, key="d")
    house.clock.pass_by(DESTROY_AFTER)
    vault.destroy_due(account)
    assert [(k[0], k[2]) for k in house.keys(account)] == [
        ("treasury", "destroyed"), ("treasury", "destroyed"), ("treasury.2", "active"),
    ]  # fmt: skip
    assert vault.destroyed(account) is HOLDS


def test_keys_of_a_seed_that_another_account_lost_never_become_current(house: VaultHouse, chain: MemoryChain) -> None:
    vault, account, other = house.vault, house.ready(wallet="shared"), house.ready(wallet="shared")
    lost(house, account, chain)
    vault.sweep(account, key="s")
    vault.prepare_rotation(other, "seed", key="o")
    assert vault.rotation_prepared(account) is NOT
    with pytest.raises(ConflictError, match="counts as lost"):
        vault.retire(account, key="t")
    vault.prepare_rotation(account, "leaf", key="p1")
    assert vault.rotation_prepared(account) is HOLDS
    vault.sweep(account, key="s2")
    vault.retire(account, key="t2")
    assert house.keys(account)[-1][0] == "shared.2"


def test_a_worker_that_is_late_does_not_write_into_the_rotation_that_followed(
    house: VaultHouse, chain: MemoryChain
) -> None:
    account = house.ready(wallet="w")
    lost(house, account, chain)
    late = rotations.find_rotation(house.parts, account)
    house.vault.prepare_rotation(account, "seed", key="p2")
    with pytest.raises(ConflictError, match="was overtaken"):
        rotations.advance(house.parts, late, Generate("xpub-of-the-thief"))
    assert DerivationPath.parse(late.new_path) != DerivationPath.parse(late.old_path)
    assert house.vault.rotation_prepared(account) is HOLDS


def test_a_new_seed_that_is_lost_before_it_is_used_is_followed_by_another(
    house: VaultHouse, chain: MemoryChain
) -> None:
    account = house.ready(wallet="w")
    lost(house, account, chain)
    house.vault.prepare_rotation(account, "seed", key="p2")
    with house.parts.db.begin() as uow:
        uow.keys.set_wallet_state("w.2", WalletState.COMPROMISED)
    assert house.vault.rotation_prepared(account) is NOT
    house.vault.prepare_rotation(account, "seed", key="p2")
    assert house.keys(account)[-1][0] == "w.3"
    assert house.vault.rotation_prepared(account) is HOLDS


def test_nothing_is_swept_to_an_address_of_ours_that_was_given_up(house: VaultHouse, chain: MemoryChain) -> None:
    """It was registered as the safe destination while its keys were the new ones, in whatever case."""
    vault, account = house.vault, house.account(wallet="treasury")
    house.destination(account, SAFE)
    vault.provision(account)
    chain.coins[house.address(account)] = 3 * ETHER
    vault.restrict(account, key="r")
    given_up = str(vault.prepare_rotation(account, "leaf", key="p1").facts["address"]).rpartition(":")[2]
    house.destination(account, given_up, stated_from=house.clock.now())
    vault.provision(account)
    assert destinations.verified_destination(house.parts, account, "eip155:1").destination.descriptor == given_up
    vault.prepare_rotation(account, "seed", key="p2")
    vault.sweep(account, key="s")
    assert vault.swept(account) is HOLDS
    assert (chain.coins.get(given_up.lower(), 0), chain.coins[SAFE] > 2 * ETHER) == (0, True)


def test_what_was_signed_for_an_address_before_it_was_given_up_is_not_sent(
    house: VaultHouse, chain: MemoryChain
) -> None:
    vault, account, other = house.vault, house.ready(), house.ready()
    house.destination(account, house.address(other), stated_from=house.clock.now())
    vault.provision(account)
    chain.coins[house.address(account)] = 3 * ETHER
    chain.deaf = 1
    with pytest.raises(UnknownOutcomeError):
        vault.sweep(account, key="s")
    vault.restrict(other, key="r")
    vault.sweep(account, key="s")
    assert vault.swept(account) is HOLDS
    assert (chain.coins.get(house.address(other), 0), chain.coins[SAFE] > 2 * ETHER) == (0, True)
    assert [(row.to_address, row.state) for row in house.sweeps(account)] == [
        (house.address(other), "failed"), (SAFE, "final"),
    ]  # fmt: skip


def test_what_a_reorganisation_drops_is_not_sent_again_to_an_address_given_up_meanwhile(
    house: VaultHouse, chain: MemoryChain
) -> None:
    vault, account, other = house.vault, house.ready(assets=(COIN,)), house.ready()
    house.destination(account, house.address(other), stated_from=house.clock.now())
    vault.provision(account)
    chain.coins[house.address(account)] = 3 * ETHER
    vault.sweep(account, key="s")
    assert vault.swept(account) is HOLDS
    chain.receipts.clear()
    chain.nonces.clear()
    chain.coins.clear()
    chain.coins[house.address(account)] = 3 * ETHER
    vault.restrict(other, key="r")
    vault.sweep(account, key="s")
    assert vault.swept(account) is HOLDS
    assert (chain.coins.get(house.address(other), 0), chain.coins[SAFE] > 2 * ETHER) == (0, True)


def test_a_restricted_address_of_another_account_is_no_safe_destination(house: VaultHouse, chain: MemoryChain) -> None:
    vault, other = house.vault, house.ready()
    account = house.account()
    house.destination(account, house.address(other))
    vault.provision(account)
    chain.coins[house.address(account)] = 3 * ETHER
    vault.restrict(other, key="r")
    with pytest.raises(ApprovalError, match=rf"{house.address(other)} is our own and lost \(key .* is restricted"):
        vault.sweep(account, key="s")
    assert chain.coins[house.address(account)] == 3 * ETHER
    house.destination(account, OTHER_SAFE, stated_from=house.clock.now())
    vault.provision(account)
    vault.sweep(account, key="s")
    assert chain.coins[OTHER_SAFE] > 2 * ETHER


def test_an_address_of_a_seed_that_is_lost_is_no_safe_destination_while_its_key_is_active(house: VaultHouse) -> None:
    account, other = house.account(), house.ready(wallet="shared")
    house.destination(account, house.address(other))
    house.vault.provision(account)
    with house.parts.db.begin() as uow:
        uow.keys.set_wallet_state("shared", WalletState.COMPROMISED)
    with pytest.raises(ApprovalError, match="is active, its seed shared compromised"):
        destinations.verified_destination(house.parts, account, "eip155:1")
    with house.parts.db.begin() as uow:
        uow.keys.set_wallet_state("shared", WalletState.ACTIVE)
    found = destinations.verified_destination(house.parts, account, "eip155:1")
    assert found.destination.descriptor == house.address(other)
