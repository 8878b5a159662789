"""From provisioning to destruction: each act twice, after every death, and for the second loss of one account."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from hsm.restrictions import KeyState, Transfer
from service.domain.account import Holder
from service.domain.errors import ApprovalError, ConflictError, ForbiddenError, MissingCapabilityError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.vault.destruction import DESTROY_AFTER
from service.vault.keys import Vault
from tests.support.chain import ETHER, MemoryChain
from tests.support.vault import SAFE, USDT, Killed, Reaper, VaultHouse, a_digest, alone

HOLDS, NOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD


def fund(chain: MemoryChain, address: str) -> None:
    chain.coins[address] = 3 * ETHER
    chain.tokens[USDT, address] = 5_000_000


def acts(house: VaultHouse, chain: MemoryChain, account: AccountId, scope: str) -> list[Callable[[Vault], object]]:
    """Everything that containment does with one account's keys, in order."""

    def deposit(_: Vault) -> None:
        fund(chain, house.address(account))

    return [
        lambda vault: vault.provision(account),
        deposit,
        lambda vault: vault.restrict(account, key="restrict"),
        lambda vault: vault.prepare_rotation(account, scope, key="prepare"),
        lambda vault: vault.sweep(account, key="sweep"),
        lambda vault: vault.swept(account),
        lambda vault: vault.retire(account, key="retire"),
        lambda vault: vault.destroy(account, key="destroy"),
        lambda _: house.clock.pass_by(DESTROY_AFTER),
        lambda vault: vault.destroy_due(account),
    ]


def whole_life(house: VaultHouse, chain: MemoryChain, account: AccountId, scope: str) -> None:
    for act in acts(house, chain, account, scope):
        act(house.vault)


@pytest.mark.parametrize("scope", ["leaf", "account_key", "seed"])
def test_every_act_twice_is_one_effect(house: VaultHouse, chain: MemoryChain, scope: str) -> None:
    vault, account = house.vault, house.account(wallet="treasury")
    house.destination(account)
    first = vault.provision(account)
    assert vault.provision(account) == first
    old = house.address(account)
    fund(chain, old)
    assert house.keys(account) == [("treasury", "m/44h/60h/0h/0/0", "active")]
    assert vault.restricted(account) is NOT
    assert vault.restrict(account, key="r") == vault.restrict(account, key="r")
    assert vault.restricted(account) is HOLDS
    assert vault.rotation_prepared(account) is NOT
    prepared = vault.prepare_rotation(account, scope, key="p")
    assert vault.prepare_rotation(account, scope, key="p") == prepared
    assert vault.rotation_prepared(account) is HOLDS
    assert prepared.facts["address"] == vault.rotation_address(account)
    assert prepared.facts["sweep"] == {
        "holds": {f"eip155:1/erc20:{USDT}": "5000000", "eip155:1/slip44:60": "2997459000000000000"}
    }
    assert vault.swept(account) is NOT
    with pytest.raises(ConflictError, match="not empty"):
        vault.retire(account, key="t")
    sent = vault.sweep(account, key="s").facts["transactions"]
    assert vault.sweep(account, key="s").facts["transactions"] == sent
    assert vault.swept(account) is HOLDS
    assert len(chain.executed) == 2
    assert chain.tokens[USDT, SAFE] == 5_000_000
    assert vault.retired(account) is NOT
    with pytest.raises(ConflictError, match="no retired keys"):
        vault.destroy(account, key="d")
    assert vault.retire(account, key="t") == vault.retire(account, key="t")
    assert vault.retired(account) is HOLDS
    assert f"eip155:1:{house.address(account)}".lower() == str(prepared.facts["address"]).lower()
    assert vault.destroyed(account) is NOT
    assert vault.destroy(account, key="d") == vault.destroy(account, key="d")
    assert vault.destroyed(account) is HOLDS
    house.clock.pass_by(DESTROY_AFTER - timedelta(seconds=1))
    assert vault.destroy_due(account) == 0
    assert house.keys(account)[0][2] == "retired"
    house.clock.pass_by(timedelta(seconds=1))
    assert (vault.destroy_due(account), vault.destroy_due(account)) == (1, 0)
    assert vault.destroyed(account) is HOLDS
    assert vault.retire(account, key="t").facts == vault.retire(account, key="t").facts
    assert vault.provision(account).facts["addresses"] == [prepared.facts["address"]]
    seeds = {"leaf": {"treasury": "active"}}
    lost = {"treasury": "compromised", "treasury.2": "active"}
    assert house.wallets() == seeds.get(scope, lost)
    new = ("treasury", "m/44h/60h/1h/0/0") if scope == "leaf" else ("treasury.2", "m/44h/60h/0h/0/0")
    assert house.keys(account) == [("treasury", "m/44h/60h/0h/0/0", "destroyed"), (*new, "active")]


def told(house: VaultHouse, account: AccountId) -> list[tuple[str, object]]:
    """Return what the audit log says of the account's rotations, with the step that it names."""
    with house.superuser.begin() as uow:
        found = uow.connection.exec_driver_sql("SELECT body FROM audit_entries ORDER BY id").scalars().all()
    said = [json.loads(body) for body in found]
    ours = [one for one in said if one["kind"].startswith("rotation.") and one["facts"]["account"] == account]
    return [(one["kind"], one["facts"].get("approval")) for one in ours]


def test_the_log_says_of_a_rotation_what_was_done_by_who_did_it(house: VaultHouse, chain: MemoryChain) -> None:
    """The vault publishes nothing, so it says nothing of it; the sweep's step emptied the old keys, not who found it."""
    account = house.ready()
    whole_life(house, chain, account, "leaf")
    assert told(house, account) == [
        ("rotation.proposed", None),
        ("rotation.generated", None),
        ("rotation.verified", None),
        ("rotation.swept", "sweep"),
        ("rotation.retired", "retire"),
        ("rotation.destroyed", "destroy"),
    ]
    empty = house.ready()
    house.vault.prepare_rotation(empty, "leaf", key="prepare")
    house.vault.retire(empty, key="seen")
    assert told(house, empty)[-2:] == [("rotation.swept", "seen"), ("rotation.retired", "seen")]


def test_a_late_repeat_of_a_sweep_leaves_the_new_keys_alone(house: VaultHouse, chain: MemoryChain) -> None:
    vault, account = house.vault, house.ready()
    whole_life(house, chain, account, "leaf")
    fund(chain, house.address(account))
    before = list(chain.executed)
    vault.sweep(account, key="sweep")
    assert chain.executed == before


def test_the_second_loss_restricts_and_empties_the_keys_that_replaced_the_first(
    house: VaultHouse, chain: MemoryChain
) -> None:
    vault, account = house.vault, house.ready(wallet="w")
    whole_life(house, chain, account, "leaf")
    fund(chain, house.address(account))
    assert vault.restricted(account) is NOT
    assert vault.swept(account) is NOT
    vault.restrict(account, key="r2")
    vault.prepare_rotation(account, "seed", key="p2")
    vault.sweep(account, key="s2")
    assert vault.swept(account) is HOLDS
    vault.retire(account, key="t2")
    vault.destroy(account, key="d2")
    house.clock.pass_by(DESTROY_AFTER)
    vault.destroy_due(account)
    assert [(k[0], k[2]) for k in house.keys(account)] == [("w", "destroyed"), ("w", "destroyed"), ("w.2", "active")]
    assert vault.destroyed(account) is HOLDS


def test_accounts_of_one_wallet_have_their_own_paths_and_share_the_new_seed(
    house: VaultHouse, chain: MemoryChain
) -> None:
    one, two, three = (house.ready(wallet="shared") for _ in range(3))
    assert len({house.address(a) for a in (one, two, three)}) == 3
    for account in (one, two):
        house.vault.prepare_rotation(account, "seed", key=account)
    assert house.wallets() == {"shared": "compromised", "shared.2": "active"}
    assert [k[:2] for k in house.keys(two)] == [("shared", "m/44h/60h/1h/0/0"), ("shared.2", "m/44h/60h/1h/0/0")]
    # The third was thought to have lost a leaf only; under a lost seed that is no answer.
    house.vault.prepare_rotation(three, "leaf", key=three)
    assert house.keys(three)[-1][:2] == ("shared.2", "m/44h/60h/2h/0/0")
    newcomer = house.account(wallet="shared")
    with pytest.raises(ConflictError, match="compromised"):
        house.vault.provision(newcomer)
    assert chain.executed == []


def test_a_wallet_named_like_a_successor_keeps_its_paths(house: VaultHouse) -> None:
    neighbour, account = house.ready(wallet="hot.2"), house.ready(wallet="hot")
    house.vault.prepare_rotation(account, "seed", key="p")
    assert house.keys(account)[-1][:2] == ("hot.2", "m/44h/60h/1h/0/0")
    assert house.keys(neighbour) == [("hot.2", "m/44h/60h/0h/0/0", "active")]


def test_a_restricted_key_signs_nothing_else(house: VaultHouse) -> None:
    account = house.ready()
    parts = house.parts
    key = parts.keys_of(account)[0]
    parts.sign(key, Transfer(account), a_digest("payroll"))
    house.vault.restrict(account, key="r")
    with pytest.raises(ForbiddenError, match="restricted"):
        parts.sign(key, Transfer(account), a_digest("payroll"))
    house.vault.lift_restriction(account, key="l", still_mine=alone)
    parts.sign(key, Transfer(account), a_digest("payroll"))
    with parts.db.begin() as uow:
        uow.keys.set_key_state([key.id], (KeyState.ACTIVE.value,), KeyState.RETIRED.value)
    with pytest.raises(ForbiddenError, match="retired"):
        parts.sign(key, Transfer(account), a_digest("payroll"))


def test_an_account_that_the_platform_holds_has_no_keys_here(house: VaultHouse) -> None:
    account = house.account(holder=Holder.PLATFORM.value)
    house.destination(account)
    house.vault.provision(account)
    assert house.keys(account) == []
    refused: tuple[Callable[[], object], ...] = (
        lambda: house.vault.restrict(account, key="k"),
        lambda: house.vault.prepare_rotation(account, "leaf", key="k"),
        lambda: house.vault.sweep(account, key="k"),
    )
    for act in refused:
        with pytest.raises(MissingCapabilityError):
            act()


def test_prepared_keys_do_not_wait_for_a_safe_destination(house: VaultHouse, chain: MemoryChain) -> None:
    account = house.account(assets=("bip122:000000000019d6689c085ae165831e93/slip44:0",))
    house.vault.provision(account)
    made = house.vault.prepare_rotation(account, "leaf", key="p")
    assert "no EVM asset" in str(made.facts["sweep"])
    assert house.vault.rotation_prepared(account) is HOLDS
    assert chain.executed == []


@pytest.mark.parametrize("done", [4, 7])
def test_a_rotation_that_was_published_when_that_was_a_state_is_gone_on_with(
    house: VaultHouse, chain: MemoryChain, done: int
) -> None:
    """Prepared, or retired already."""
    account = house.account()
    house.destination(account)
    life = acts(house, chain, account, "leaf")
    for act in life[:done]:
        act(house.vault)
    with house.superuser.begin() as uow:
        record = uow.keys.rotation(account)
        assert record is not None
        state = "published" if record.state == "verified" else record.state
        events = (*record.events[:2], ("Publish", {"approval": "ap_1"}), *record.events[2:])
        uow.keys.save_rotation(replace(record, state=state, events=events))
    assert house.vault.rotation_prepared(account) is HOLDS
    for act in life[done:]:
        act(house.vault)
    assert house.vault.destroyed(account) is HOLDS
    assert [state for _, _, state in house.keys(account)] == ["destroyed", "active"]


@pytest.mark.repeats
@pytest.mark.parametrize("scope", ["leaf", "seed"])
def test_a_worker_may_die_anywhere(house: VaultHouse, chain: MemoryChain, scope: str) -> None:
    """After every commit, change of the token and transaction sent: in life n each act dies after its n-th effect.

    Who comes after begins anew.
    """
    point = deaths = died = 0
    while died or not point:
        point, died = point + 1, 0
        account = house.account()
        house.destination(account)
        chain.executed.clear()
        reaper = Reaper(at=point)
        mortal = Vault(house.dying(reaper))
        for act in acts(house, chain, account, scope):
            reaper.passed = 0
            try:
                act(mortal)
            except Killed:
                died += 1
                act(house.vault)
        assert house.vault.destroyed(account) is HOLDS, f"died at point {point}"
        assert [state for _, _, state in house.keys(account)] == ["destroyed", "active"], f"died at point {point}"
        moved = [(t.to, bool(t.data)) for t in chain.executed]
        assert moved == [(USDT, True), (SAFE, False)], f"died at point {point}"
        assert sorted(s.state for s in house.sweeps(account)) == ["final", "final"], f"died at point {point}"
        deaths += died
    assert deaths > 25


def test_a_destination_that_was_stated_for_another_place_is_not_signed(house: VaultHouse, chain: MemoryChain) -> None:
    """Who registers accounts could give one account's id, and what was signed for it, to another's funds."""
    account = house.account()
    house.destination(account, stated_ref="hot-of-somebody-else")
    house.vault.provision(account)
    with pytest.raises(ApprovalError, match="no active, signed safe destination"):
        house.vault.sweep(account, key="k")
