"""What is written of keys, by workers that stand still between reading and writing, and by steps that are repeated late."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from service.actions.destroy_key import DestroyKey
from service.domain.errors import StaleFenceError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.ports.store.unit import UnitOfWork
from service.vault.destruction import DESTROY_AFTER
from service.vault.keys import Vault
from tests.integration.vault.test_lifecycle import told
from tests.support.chain import ETHER, MemoryChain
from tests.support.vault import COIN, SAFE, TOKEN, USDT, VaultHouse, alone

HOLDS, NOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD


def states(house: VaultHouse, account: AccountId) -> list[str]:
    return [state for _, _, state in house.keys(account)]


def rotated(house: VaultHouse, account: AccountId, number: int) -> None:
    """Replace the account's keys by steps that end in a number."""
    house.vault.prepare_rotation(account, "leaf", key=f"p{number}")
    house.vault.sweep(account, key=f"s{number}")
    assert house.vault.swept(account) is HOLDS
    house.vault.retire(account, key=f"t{number}")


def stands_still(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Let the next worker that has read which keys are exposed wake only when all this was done."""
    real = Vault._exposed

    def paused(vault: Vault, account: AccountId) -> object:
        monkeypatch.setattr(Vault, "_exposed", real)
        found = real(vault, account)
        meanwhile()
        return found

    monkeypatch.setattr(Vault, "_exposed", paused)


def test_a_late_restriction_revives_no_retired_key(
    house: VaultHouse, chain: MemoryChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, account = house.vault, house.ready()
    chain.coins[house.address(account)] = ETHER
    stands_still(monkeypatch, lambda: rotated(house, account, 1))
    vault.restrict(account, key="r")
    assert states(house, account) == ["retired", "active"]
    vault.destroy(account, key="d")
    house.clock.pass_by(DESTROY_AFTER)
    assert (vault.destroy_due(account), vault.destroyed(account)) == (1, HOLDS)


def test_a_late_lift_revives_no_retired_key(house: VaultHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, account = house.vault, house.ready()
    vault.restrict(account, key="r")
    stands_still(monkeypatch, lambda: rotated(house, account, 1))
    vault.lift_restriction(account, key="l", still_mine=alone)
    assert states(house, account) == ["retired", "active"]


def test_who_lost_his_step_lifts_nothing(house: VaultHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker lifted in his place, and a new alert restricted."""
    vault, account = house.vault, house.ready()
    vault.restrict(account, key="r")

    def meanwhile() -> None:
        vault.lift_restriction(account, key="l", still_mine=alone)
        vault.restrict(account, key="r2")

    def taken_over(_: UnitOfWork) -> None:
        raise StaleFenceError("taken over")

    stands_still(monkeypatch, meanwhile)
    with pytest.raises(StaleFenceError):
        vault.lift_restriction(account, key="l", still_mine=taken_over)
    assert vault.restricted(account) is HOLDS


def test_a_restriction_takes_what_was_lifted_while_it_read(house: VaultHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, account = house.vault, house.ready()
    vault.restrict(account, key="r")
    stands_still(monkeypatch, lambda: vault.lift_restriction(account, key="l", still_mine=alone))
    vault.restrict(account, key="r2")
    assert vault.restricted(account) is HOLDS


@pytest.mark.parametrize("paid", ["coin", "token"])
def test_what_comes_to_a_retired_address_stops_no_later_rotation(
    house: VaultHouse, chain: MemoryChain, paid: str
) -> None:
    vault, account = house.vault, house.ready()
    first = house.address(account)
    chain.coins[first] = ETHER
    rotated(house, account, 1)
    second = house.address(account)
    chain.coins[second] = 9 * ETHER
    if paid == "coin":
        chain.coins[first] = ETHER
    else:
        chain.tokens[USDT, first] = 1
    vault.restrict(account, key="r")
    assert vault.swept(account) is NOT
    rotated(house, account, 2)
    assert states(house, account) == ["retired", "retired", "active"]
    assert chain.coins[second] < ETHER // 100
    assert told(house, account)[-2:] == [("rotation.swept", "s2"), ("rotation.retired", "t2")]
    left = DestroyKey().remark(vault.destroy(account, key="d"))
    assert f"1 base units of {TOKEN} at {house.parts.keys_of(account)[0].address}" in left or paid == "coin"
    assert f"{ETHER} base units of {COIN} at {house.parts.keys_of(account)[0].address}" in left or paid == "token"


def test_a_repeated_sweep_that_had_found_nothing_leaves_the_new_keys_alone(
    house: VaultHouse, chain: MemoryChain
) -> None:
    """The thief was quicker; after the rotation a reorganisation took his transaction out of its block."""
    vault, account = house.vault, house.ready(assets=(COIN,))
    old = house.address(account)
    chain.nonces[old] = 1
    stood = vault.standing(account, ())
    rotated(house, account, 1)
    new = house.address(account)
    chain.coins[new], chain.coins[old], chain.nonces[old] = 5 * ETHER, ETHER, 0
    assert stood.still(vault.standing(account, ())) is NOT, "so the step is done again"
    vault.sweep(account, key="s1")
    assert (chain.coins[new], chain.coins[old], SAFE in chain.coins) == (5 * ETHER, ETHER, False)
    assert vault.swept(account, key="s1") is NOT, "what it was approved for lies where no key signs"
    chain.coins[old] = 0
    assert vault.swept(account, key="s1") is HOLDS, "the new keys' funds are not its business"
    vault.sweep(account, key="s2")
    assert (chain.coins[new] < ETHER // 100, vault.swept(account, key="s2")) == (True, HOLDS)


def test_a_sweep_after_a_rotation_goes_on_until_all_is_sent(house: VaultHouse, chain: MemoryChain) -> None:
    vault, account = house.vault, house.ready(assets=(COIN,))
    rotated(house, account, 1)
    new = house.address(account)
    for _ in range(2):
        chain.coins[new] = 5 * ETHER
        vault.sweep(account, key="later")
        assert vault.swept(account, key="later") is HOLDS


def test_a_rotation_is_destroyed_by_who_decided_it_when_its_own_keys_are(house: VaultHouse) -> None:
    vault, account = house.vault, house.ready()
    rotated(house, account, 1)
    vault.destroy(account, key="d1")
    house.clock.pass_by(timedelta(hours=10))
    rotated(house, account, 2)
    vault.destroy(account, key="d1")  # repeated late
    house.clock.pass_by(DESTROY_AFTER)
    assert (vault.destroy_due(account), vault.destroy_due(account)) == (1, 0)
    assert states(house, account) == ["destroyed", "retired", "active"]
    assert told(house, account)[-1] == ("rotation.retired", "t2"), "nobody decided about the second one's"
    vault.destroy(account, key="d2")
    house.clock.pass_by(DESTROY_AFTER)
    assert vault.destroy_due(account) == 1
    assert told(house, account)[-1] == ("rotation.destroyed", "d2")
