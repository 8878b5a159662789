"""Accounts with many leaves: restored ones are found on the chain, all rotate at once, all are swept and retired."""

import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import update

from hsm.custodian import KeyRef
from hsm.derivation import evm_address
from hsm.errors import HsmError, KeyUseRefusedError
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
from hsm.restrictions import Transfer
from hsm.software import SoftwareCustodian
from service.domain.errors import (
    ConflictError,
    ForbiddenError,
    MissingCapabilityError,
    RefusedByOtherSideError,
    UnavailableError,
)
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.store.tables.keys import vault_keys
from tests.support.chain import ETHER, MemoryChain
from tests.support.vault import SAFE, USDT, VaultHouse, a_digest, vault_house

SEED = bytes(range(64))
ACCOUNT_PATH = DerivationPath.account(44, 60, 0)
HOLDS = Verdict.HOLDS


def software(house: VaultHouse) -> SoftwareCustodian:
    assert isinstance(house.parts.token, SoftwareCustodian)
    return house.parts.token


def restored(house: VaultHouse, wallet: str = "old") -> SoftwareCustodian:
    """Leave a restored seed in the token, as a ceremony does."""
    token = software(house)
    token.kept[wallet] = token.restore_wallet(wallet, SEED)
    return token


def address(token: SoftwareCustodian, below: str) -> str:
    sealed = token.kept["old"]
    return evm_address(
        token.prove(sealed, "old", [ACCOUNT_PATH.below(DerivationPath.parse(below))], bytes(32))[0].public_key
    )


def with_used_leaves(house: VaultHouse, chain: MemoryChain) -> AccountId:
    token = restored(house)
    chain.coins[address(token, "m/0/0").lower()] = ETHER
    chain.nonces[address(token, "m/0/7").lower()] = 3
    chain.tokens[USDT, address(token, "m/0/27").lower()] = 5
    chain.coins[address(token, "m/1/2").lower()] = ETHER
    return house.ready(wallet="old")


def test_a_restored_wallet_s_used_leaves_are_found(house: VaultHouse, chain: MemoryChain) -> None:
    account = with_used_leaves(house, chain)
    assert [path for _, path, _ in sorted(house.keys(account))] == [
        f"m/44h/60h/0h/{below}" for below in ("0/0", "0/27", "0/7", "1/2")
    ]
    first = house.vault.provision(account)
    assert len(first.facts["addresses"]) == 4  # type: ignore[arg-type]  # a list of CAIP-10 ids
    assert house.vault.provision(account) == first


def test_a_drawn_wallet_is_not_scanned(house: VaultHouse, chain: MemoryChain) -> None:
    chain.next_nonce = None  # type: ignore[method-assign,assignment]  # asking would fail
    assert len(house.keys(house.ready(wallet="fresh"))) == 1


def test_what_cannot_be_asked_is_not_taken_for_unused(house: VaultHouse, chain: MemoryChain) -> None:
    restored(house)

    def lost(address: str) -> int:
        raise UnavailableError(f"the chain did not answer for {address}")

    account, asked = house.account(wallet="old"), chain.next_nonce
    chain.next_nonce = lost  # type: ignore[method-assign]  # one answer is lost
    with pytest.raises(UnavailableError):
        house.vault.provision(account)
    assert house.vault.restricted(account) is not HOLDS
    chain.next_nonce = asked  # type: ignore[method-assign]  # it answers again
    house.vault.provision(account)
    elsewhere = house.account(wallet="old", assets=("eip155:10/slip44:60",))
    with pytest.raises(MissingCapabilityError, match="eip155:10"):
        house.vault.provision(elsewhere)


def test_a_chain_that_calls_everything_used_is_not_believed(house: VaultHouse, chain: MemoryChain) -> None:
    restored(house)

    def always(address: str) -> int:
        return len(address)

    chain.next_nonce = always  # type: ignore[method-assign]  # a lying endpoint
    with pytest.raises(ConflictError, match="more than 1000"):
        house.vault.provision(house.account(wallet="old"))


def test_all_leaves_are_restricted_swept_rotated_and_retired(house: VaultHouse, chain: MemoryChain) -> None:
    account, vault = with_used_leaves(house, chain), house.vault
    old = house.parts.keys_of(account)
    vault.restrict(account, key="r")
    prepared = vault.prepare_rotation(account, "leaf", key="p")
    assert vault.prepare_rotation(account, "leaf", key="p") == prepared
    assert vault.rotation_prepared(account) is HOLDS
    new = [path for _, path, state in house.keys(account) if state == "active"]
    assert sorted(new) == [f"m/44h/60h/1h/{below}" for below in ("0/0", "0/27", "0/7", "1/2")]
    with pytest.raises(UnavailableError, match="cannot pay"):
        vault.sweep(account, key="s")
    chain.coins[address(software(house), "m/0/27").lower()] = ETHER
    vault.sweep(account, key="s")
    assert vault.swept(account) is HOLDS
    assert chain.tokens[USDT, SAFE] == 5
    token = software(house)
    unused = KeyRef("old", DerivationPath.parse("m/44h/60h/0h/0/7"))
    assert not token.exists(unused), "nothing was there to sweep"
    vault.retire(account, key="t")
    assert vault.retired(account) is HOLDS
    for key in old:
        with pytest.raises(ForbiddenError, match="retired"):
            house.parts.sign(key, Transfer(account), a_digest("payroll"))
    with pytest.raises(KeyUseRefusedError, match="retired"):
        token.leaf(token.kept["old"], "old", unused.path)


def test_a_key_restricted_while_it_signs_gives_no_signature(house: VaultHouse) -> None:
    account = house.ready()
    (key,) = house.parts.keys_of(account)
    token, ask = software(house), software(house).sign

    def slow(ref: KeyRef, digest: bytes) -> object:
        made = ask(ref, digest)
        house.vault.restrict(account, key="r")
        return made

    token.sign = slow  # type: ignore[method-assign,assignment]  # the restriction comes in the middle
    with pytest.raises(ForbiddenError, match="restricted"):
        house.parts.sign(key, Transfer(account), a_digest("payroll"))


def test_a_row_that_names_another_key_signs_nothing(house: VaultHouse) -> None:
    account = house.ready()
    house.vault.prepare_rotation(account, "leaf", key="p")
    new = house.parts.keys_of(account)[-1]
    house.parts.sign(new, Transfer(account), a_digest("first use"))
    assert software(house).exists(KeyRef(new.wallet_id, DerivationPath.parse(new.path)))
    with house.superuser.begin() as uow:
        wanted = update(vault_keys).where(vault_keys.c.id == new.id)
        uow.connection.execute(wanted.values(path="m/44h/60h/9h/0/0"))
    forged = house.parts.keys_of(account)[-1]
    with pytest.raises(RefusedByOtherSideError, match="another key"):
        house.parts.sign(forged, Transfer(account), a_digest("payroll"))


@pytest.fixture
def real(fresh_postgres_url: str, token: TokenCustodian, chain: MemoryChain) -> Iterator[VaultHouse]:
    found, close = vault_house(fresh_postgres_url, token, token.statements, {"eip155:1": chain})
    yield found
    close()


def test_a_hundred_leaves_rotate_in_the_token(real: VaultHouse, record_property: Callable[[str, object], None]) -> None:
    """How long it takes is printed by bench/keys.py; here only that it is one batch, and right."""
    account = real.ready()
    real.add_leaves(account, 100)
    began = time.perf_counter()
    made = real.vault.prepare_rotation(account, "leaf", key="p")
    record_property("rotate_100_leaves_s", round(time.perf_counter() - began, 3))
    assert len(set(made.facts["addresses"])) == 100  # type: ignore[call-overload]  # a list of CAIP-10 ids
    assert real.vault.rotation_prepared(account) is HOLDS
    new = real.parts.keys_of(account)[-1]
    real.parts.sign(new, Transfer(account), a_digest("first use"))
    with pytest.raises(HsmError):
        real.parts.token.sign(KeyRef(new.wallet_id, DerivationPath.parse("m/0/0")), bytes(32))


def test_what_is_left_of_a_sweep_goes_elsewhere_once_its_destination_is_given_up(
    house: VaultHouse, chain: MemoryChain
) -> None:
    token, take = restored(house), chain.send
    for below in ("m/0/0", "m/1/2"):
        chain.coins[address(token, below).lower()] = ETHER
    account, other = house.ready(wallet="old"), house.ready()
    house.destination(account, house.address(other), stated_from=house.clock.now())
    house.vault.provision(account)

    def give_up(raw: bytes) -> str:
        name = take(raw)
        house.vault.restrict(other, key="r")
        return name

    chain.send = give_up  # type: ignore[method-assign]  # the destination's key is restricted while it is swept to
    house.vault.sweep(account, key="s")
    assert [row.to_address for row in house.sweeps(account)] == [house.address(other), SAFE]
    assert house.vault.swept(account) is HOLDS
