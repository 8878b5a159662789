"""The vault's Bitcoin accounts: kept ready, raced, replaced, re-keyed; with a lying, deaf and slow Esplora."""

from typing import Any

import pytest
from sqlalchemy import update

from service.domain.bitcoin.descriptor import Descriptor
from service.domain.bitcoin.network import REGTEST, address_of
from service.domain.bitcoin.psbt import Unsigned, read
from service.domain.bitcoin.sweep import plan
from service.domain.errors import (
    ApprovalError,
    ConflictError,
    InputError,
    MissingCapabilityError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.plan import Verdict
from service.store.tables.registry import connections
from service.vault.bitcoin_keys import SIGNING
from tests.integration.bitcoin.accounts import KINDS, at_safe, bury, fund, registered, steal, vaults, wallet
from tests.support.cosigners import Cosigners
from tests.support.esplora import Esplora
from tests.support.regtest import COIN, txid_of
from tests.support.vault import VaultHouse
from workers.reconcile import _rest

pytestmark = pytest.mark.servers
HOLDS, NOT, CANNOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD, Verdict.CANNOT_TELL


@pytest.mark.parametrize("script", KINDS)
def test_what_was_made_ready_goes_out_and_is_final_when_buried(
    house: VaultHouse, server: Esplora, safe: Descriptor, script: str
) -> None:
    account = registered(house, safe.text, script=script)
    of = wallet(house, account)
    assert of.kind.value == script
    fund(server, of, COIN, 2 * COIN, 3 * COIN)
    assert vaults(house).refresh() == 1
    assert vaults(house).refresh() == 0, "it is fresh"
    with house.parts.db.begin() as uow:
        ready = uow.bitcoin.prepared(account)
    assert ready is not None
    assert len(ready.psbts) == 1
    vaults(house).restrict(account, key="r")
    receipt = vaults(house).sweep(account, key="s")
    sent = receipt.facts["transactions"]
    assert vaults(house).swept(account) is CANNOT
    server.mine()
    assert vaults(house).swept(account) is CANNOT, "one block is not enough"
    server.mine()
    assert vaults(house).swept(account) is HOLDS
    assert 6 * COIN - 100_000 < at_safe(server, safe) < 6 * COIN
    assert [row.transaction_hash for row in house.sweeps(account)] == sent


def test_a_late_deposit_and_a_repeat_are_one_more_transaction_and_none(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    fund(server, wallet(house, account), COIN)
    vaults(house).sweep(account, key="s")
    vaults(house).sweep(account, key="s")
    assert len(house.sweeps(account)) == 1
    bury(server)
    fund(server, wallet(house, account), COIN)
    assert vaults(house).swept(account) is NOT
    vaults(house).sweep(account, key="s")
    bury(server)
    assert vaults(house).swept(account) is HOLDS
    assert len(house.sweeps(account)) == 2


def test_a_thief_in_the_pool_is_outbid_and_the_rest_goes_apart(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    fund(server, wallet(house, account), COIN, COIN)
    vaults(house).refresh()
    theft = steal(house, server, account, 80_000)
    assert server.submit(theft) is None
    vaults(house).sweep(account, key="s")
    assert txid_of(theft) not in server.pool
    assert len(server.pool) == 2, "the contested coin goes apart from the free one"
    bury(server)
    assert vaults(house).swept(account) is HOLDS
    assert at_safe(server, safe) > 2 * COIN - 200_000


def test_a_coin_that_a_block_gave_to_the_thief_is_lost_and_the_rest_is_not(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    fund(server, wallet(house, account), COIN, COIN)
    vaults(house).refresh()
    assert server.submit(steal(house, server, account, 5_000)) is None
    bury(server)
    vaults(house).sweep(account, key="s")
    bury(server)
    # The thief's change stays with the wallet's own change branch in this test; it is swept as well.
    vaults(house).sweep(account, key="s")
    bury(server)
    assert vaults(house).swept(account) is HOLDS
    assert any(row.state == "failed" for row in house.sweeps(account)), "what was ready held a coin that was gone"


def test_when_fees_rise_our_own_transaction_is_replaced_and_one_of_them_counts(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    fund(server, wallet(house, account), COIN)
    vaults(house).sweep(account, key="s")
    server.rates["1"] = 50.0
    vaults(house).refresh()
    vaults(house).sweep(account, key="s")
    assert len(server.pool) == 1
    assert len(house.sweeps(account)) == 2
    bury(server)
    assert vaults(house).swept(account) is HOLDS
    assert sorted(row.state for row in house.sweeps(account)) == ["failed", "final"]


def test_where_the_old_keys_sign_no_more_a_child_of_the_new_wallet_pays(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    fund(server, wallet(house, account), COIN)
    new = vaults(house).prepare_rotation(account, "leaf", key="p").facts["descriptor"]
    house.destination(account, str(new), stated_chain=REGTEST.chain, stated_from=house.clock.now())
    vaults(house).provision(account)
    vaults(house).sweep(account, key="s")
    with house.superuser.begin() as uow:
        uow.keys.set_key_state([key.id for key in house.parts.keys_of(account)[:3]], SIGNING, "retired")
    server.rates["1"] = 100.0
    vaults(house).sweep(account, key="s")
    assert len(server.pool) == 2
    parent, child = (house.sweeps(account)[i].transaction_hash for i in (0, 1))
    assert server.spender(parent, 0) == child
    bury(server)
    assert vaults(house).swept(account) is HOLDS


def test_a_lost_answer_is_settled_and_a_lost_transaction_is_sent_again(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    fund(server, wallet(house, account), COIN)
    server.swallow = 1
    vaults(house).sweep(account, key="s")
    assert len(server.pool) == 1
    bury(server)
    assert vaults(house).swept(account) is HOLDS
    fund(server, wallet(house, account), COIN)
    server.deaf = 1
    with pytest.raises(UnknownOutcomeError):
        vaults(house).sweep(account, key="s")
    assert not server.pool
    vaults(house).sweep(account, key="s")
    assert len(server.pool) == 1
    assert len(house.sweeps(account)) == 2, "byte for byte, not signed anew"
    bury(server)
    assert vaults(house).swept(account) is HOLDS


def test_rekeying_replaces_the_wallet_only_when_the_old_one_is_empty(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    before = wallet(house, account)
    fund(server, before, COIN)
    first = vaults(house).prepare_rotation(account, "seed", key="p")
    assert vaults(house).prepare_rotation(account, "seed", key="p").facts["address"] == first.facts["address"]
    assert vaults(house).rotation_prepared(account) is HOLDS
    assert vaults(house).rotation_address(account) == first.facts["address"]
    with pytest.raises(ConflictError, match="not empty yet"):
        vaults(house).retire(account, key="t")
    vaults(house).sweep(account, key="s")
    bury(server)
    vaults(house).retire(account, key="t")
    assert vaults(house).retire(account, key="t").facts["address"] == first.facts["address"]
    assert vaults(house).retired(account) is HOLDS
    after = wallet(house, account)
    assert not set(after.keys) & set(before.keys)
    vaults(house).destroy(account, key="d")
    assert vaults(house).destroyed(account) is HOLDS
    fund(server, after, COIN)
    assert vaults(house).sweep(account, key="s").facts["transactions"]
    assert not server.pool, "a late repeat of the old sweep does not empty the new wallet"


def test_others_must_sign_too_and_get_the_psbt(
    house: VaultHouse, server: Esplora, safe: Descriptor, cosigners: Cosigners
) -> None:
    other = cosigners.new("other-person-key")
    third = cosigners.new("third-person-key")
    account = registered(house, safe.text, vault_keys="1", other_keys=f"{other.text} {third.text}")
    fund(server, wallet(house, account), COIN)
    vaults(house).refresh()
    with pytest.raises(MissingCapabilityError, match="has 1 of 2 signatures"):
        vaults(house).sweep(account, key="s")
    assert not server.pool
    with house.parts.db.begin() as uow:
        ready = uow.bitcoin.prepared(account)
    assert ready is not None
    of = wallet(house, account)
    (made,) = plan(of, ready.proven(of), safe.place(0, 0).script_pubkey, 5_000).drafts
    unsigned = Unsigned(of, made)
    signatures = [*read(ready.psbts[0], unsigned), *cosigners.sign(unsigned, other)]
    assert server.submit(unsigned.whole(signatures)) is None, "the vault's signature and another person's"


def test_a_server_that_lists_an_address_no_more_does_not_stop_what_was_kept_ready(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    of = wallet(house, account)
    fund(server, of, COIN)
    vaults(house).refresh()
    server.change[f"/address/{of.address(0, 0)}/utxo"] = lambda _: None
    with pytest.raises(UnavailableError, match="does not know"):
        vaults(house).sweep(account, key="s")
    assert len(server.pool) == 1
    with pytest.raises(UnavailableError):
        vaults(house).swept(account)
    server.mine()


def test_a_sweep_that_is_not_fresh_is_found_by_the_sweeper(house: VaultHouse, safe: Descriptor) -> None:
    account = registered(house, safe.text)
    with house.superuser.begin() as uow:
        assert ("refresh", "keys.refresh", {}) in list(_rest(uow.connection, overdue=False))
    assert vaults(house).refresh() == 1
    with house.superuser.begin() as uow:
        assert uow.bitcoin.prepared(account) is not None
        assert ("refresh", "keys.refresh", {}) not in list(_rest(uow.connection, overdue=False))


def test_an_esplora_that_lies_or_goes_back_moves_nothing(house: VaultHouse, server: Esplora, safe: Descriptor) -> None:
    account = registered(house, safe.text)
    of = wallet(house, account)
    fund(server, of, COIN)

    def richer(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one | {"value": one["value"] * 2} for one in told]

    server.change[f"/address/{of.address(0, 0)}/utxo"] = richer
    with pytest.raises(UnavailableError, match="lies about the amount"):
        vaults(house).sweep(account, key="s")
    server.change.clear()
    server.change["/tx/"] = another
    with pytest.raises(UnavailableError):
        vaults(house).sweep(account, key="s")
    server.change.clear()
    server.rates["1"] = 5000.0
    with pytest.raises(UnavailableError, match="over the limit of 1000"):
        vaults(house).sweep(account, key="s")
    server.rates["1"] = 5.0
    vaults(house).refresh()
    server.behind = 1
    with pytest.raises(UnavailableError, match="went back from block"):
        vaults(house).swept(account)
    assert not server.pool
    assert not house.sweeps(account)


def another(told: Any) -> Any:
    """Answer every question for a transaction's bytes with another one's."""
    return "03000000" + told[8:] if isinstance(told, str) else told


def test_a_forged_destination_or_descriptor_signs_nothing(house: VaultHouse, server: Esplora, safe: Descriptor) -> None:
    account = registered(house, safe.text)
    fund(server, wallet(house, account), COIN)
    thief = address_of(b"\x00\x14" + bytes(20), REGTEST)
    house.forge(account, descriptor=thief)
    with pytest.raises(ApprovalError, match="no active, signed safe destination"):
        vaults(house).sweep(account, key="s")
    assert not server.pool


@pytest.mark.parametrize("of", ["{}.2", "{}.2.1", "x", "acc_é"])
def test_no_account_takes_a_name_that_another_s_rekeying_needs(house: VaultHouse, safe: Descriptor, of: str) -> None:
    account = registered(house, safe.text)
    other = house.account(assets=(REGTEST.asset,), identity=of.format(account))
    with pytest.raises(InputError, match="an account's id is acc_"):
        vaults(house).provision(other)
    sharing = house.account(wallet=f"bitcoin-{account.lower()}.2.1")
    with pytest.raises(InputError, match="give the account another wallet_id"):
        vaults(house).provision(sharing)
    assert vaults(house).prepare_rotation(account, "seed", key="p").facts["address"]


def test_wrong_terms_and_mixed_assets_are_said(house: VaultHouse, safe: Descriptor) -> None:
    with pytest.raises(InputError, match="threshold is a number"):
        registered(house, safe.text, threshold="x")
    mixed = house.account(assets=(REGTEST.asset, "eip155:1/slip44:60"))
    with pytest.raises(InputError, match="one account for each"):
        vaults(house).provision(mixed)
    with house.superuser.begin() as uow:
        uow.connection.execute(update(connections).values(platform="standard"))
    plain = house.account(assets=(REGTEST.asset,))
    with pytest.raises(MissingCapabilityError, match="under a connection of platform bitcoin"):
        vaults(house).provision(plain)
