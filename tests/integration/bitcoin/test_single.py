"""Wallets of one key: accounts of a seed by BIP-84 and BIP-86, raced, rotated near and far; the chain judges."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from hsm.custodian import KeyRef
from hsm.errors import KeyUseRefusedError
from hsm.keypath import DerivationPath
from hsm.mnemonic import seed_of_words
from hsm.pkcs11.custodian import TokenCustodian
from hsm.power import Power
from hsm.restrictions import Transfer
from service.domain.bitcoin.descriptor import Descriptor
from service.domain.bitcoin.network import MAIN, REGTEST
from service.domain.errors import ConflictError, ForbiddenError, RefusedByOtherSideError, UnavailableError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.domain.vault import WalletState
from service.vault import bitcoin_coins
from service.vault.bitcoin import BitcoinVault
from service.vault.bitcoin_keys import SIGNING
from service.vault.bitcoin_wallets import prepared_of, wallets_of
from tests.integration.bitcoin.accounts import at_safe, bury, fund, registered, steal, vaults, wallet
from tests.integration.hsm.tokens import set_up
from tests.support.esplora import Esplora
from tests.support.regtest import COIN, txid_of
from tests.support.servers import SoftHsm
from tests.support.vault import VaultHouse

pytestmark = pytest.mark.servers
SINGLE = {"wpkh": 84, "tr_key": 86}
# The first address of m/84h/0h/0h and m/86h/0h/0h, as the test vectors of BIP-84 and BIP-86 have it.
WORDS = " ".join(["abandon"] * 11 + ["about"])
PUBLISHED = {
    "wpkh": "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
    "tr_key": "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
}


def homes(house: VaultHouse, account: AccountId) -> list[tuple[str, str]]:
    """Return where the key of each of the account's wallets is derived, oldest first."""
    return [home for one in wallets_of(house.parts, account) for home in one.homes]


@pytest.mark.parametrize("script", SINGLE)
def test_a_restored_seed_has_the_addresses_that_the_bips_publish(
    house: VaultHouse, token: TokenCustodian, safe: Descriptor, script: str
) -> None:
    """A ceremony's words are kept in the token; accounts of one seed get one path after the other."""
    shared = f"words-{script}".replace("_", "-")
    if token.kept_wallet(shared) is None:
        token.keep_wallet(shared, token.restore_wallet(shared, seed_of_words(WORDS)))
    first = registered(house, safe.text, shared, script=script, chain=MAIN.chain)
    second = registered(house, safe.text, shared, script=script, chain=MAIN.chain)
    assert house.address(first) == PUBLISHED[script]
    purpose = SINGLE[script]
    assert homes(house, first) == [(shared, f"m/{purpose}h/0h/0h")]
    assert homes(house, second) == [(shared, f"m/{purpose}h/0h/1h")]


@pytest.mark.parametrize("script", SINGLE)
def test_a_wallet_whose_token_was_lost_is_swept_from_the_token_that_a_ceremony_restored(
    house: VaultHouse, server: Esplora, safe: Descriptor, softhsm: SoftHsm, tmp_path: Path, script: str
) -> None:
    shared, label = f"lost-{script}".replace("_", "-"), f"restored-{script}"
    lost = cast("TokenCustodian", house.parts.token)
    lost.keep_wallet(shared, lost.restore_wallet(shared, seed_of_words(WORDS, script)))
    account = registered(house, safe.text, shared, script=script)
    fund(server, wallet(house, account), COIN)
    with closing(
        TokenCustodian.open(set_up(softhsm.module, softhsm.configuration, tmp_path, Power.VAULT, label))
    ) as fresh:
        house.parts = replace(house.parts, token=fresh, statements=fresh.statements)
        fresh.keep_wallet(shared, fresh.restore_wallet(shared, seed_of_words(WORDS, script)))
        vaults(house).refresh()
        vaults(house).sweep(account, key="s")
        bury(server)
        assert vaults(house).swept(account) is Verdict.HOLDS
        assert vaults(house).prepare_rotation(account, "leaf", key="p").facts["address"]


@pytest.mark.parametrize("script", SINGLE)
def test_on_a_test_network_the_coin_type_is_1_and_the_registry_knows_the_path(
    house: VaultHouse, safe: Descriptor, script: str
) -> None:
    account = registered(house, safe.text, script=script)
    path = f"m/{SINGLE[script]}h/1h/0h"
    assert wallet(house, account).text.startswith({"wpkh": "wpkh([", "tr_key": "tr(["}[script])
    assert homes(house, account) == [(f"wallet-{account.lower()}", path)]
    with house.parts.db.begin() as uow:
        known = uow.registry.account(account)
    assert (known.wallet_id, known.account_path) == homes(house, account)[0]
    assert known.addresses == (f"{REGTEST.chain}:{wallet(house, account).address(0, 0)}",)


def test_a_thief_is_outbid_and_a_slow_sweep_is_replaced(house: VaultHouse, server: Esplora, safe: Descriptor) -> None:
    account = registered(house, safe.text, script="wpkh")
    fund(server, wallet(house, account), COIN, COIN)
    vaults(house).refresh()
    vaults(house).restrict(account, key="r")
    theft = steal(house, server, account, 80_000)
    assert server.submit(theft) is None
    vaults(house).sweep(account, key="s")
    assert txid_of(theft) not in server.pool
    assert len(server.pool) == 2, "the contested coin goes apart from the free one"
    server.rates["1"] = 50.0
    vaults(house).sweep(account, key="s")
    assert len(server.pool) == 2, "the free one's was replaced"
    told = [row.state for row in house.sweeps(account)]
    assert sorted(told) == ["failed", "sent", "sent", "sent"], "what was ready held a coin that was gone"
    bury(server)
    assert vaults(house).swept(account) is Verdict.HOLDS
    assert at_safe(server, safe) > 2 * COIN - 300_000


def test_coins_within_the_gap_on_both_branches_are_swept_and_their_addresses_are_the_account_s(
    house: VaultHouse, server: Esplora, safe: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitcoin_coins, "GAP", 3)
    account = registered(house, safe.text, script="wpkh")
    of = wallet(house, account)
    at = [(0, 2), (1, 1), (1, 4)]
    beyond = of.place(0, 6)
    paid = server.chain.pay(*((of.place(*one).script_pubkey, COIN) for one in at), (beyond.script_pubkey, COIN))
    assert server.submit(paid) is None
    server.mine()
    vaults(house).refresh()
    first, others = f"{REGTEST.chain}:{of.address(0, 0)}", {f"{REGTEST.chain}:{of.address(*one)}" for one in at}
    with house.parts.db.begin() as uow:
        known = uow.registry.account(account).addresses
    assert (known[0], set(known[1:])) == (first, others)
    vaults(house).provision(account)
    house.clock.pass_by(timedelta(seconds=200))
    vaults(house).refresh()
    with house.parts.db.begin() as uow:
        assert uow.registry.account(account).addresses == known, "neither a repeat nor the next look changes them"
    vaults(house).sweep(account, key="s")
    bury(server)
    assert vaults(house).swept(account) is Verdict.HOLDS
    assert 3 * COIN - 100_000 < at_safe(server, safe) < 3 * COIN, "what lies beyond the gap is not seen"


def test_where_the_old_key_signs_no_more_a_child_of_the_new_wallet_pays(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text, script="tr_key")
    fund(server, wallet(house, account), COIN)
    new = vaults(house).prepare_rotation(account, "leaf", key="p").facts["descriptor"]
    house.destination(account, str(new), stated_chain=REGTEST.chain, stated_from=house.clock.now())
    vaults(house).provision(account)
    vaults(house).sweep(account, key="s")
    with house.superuser.begin() as uow:
        uow.keys.set_key_state([key.id for key in house.parts.keys_of(account)[:1]], SIGNING, "retired")
    server.rates["1"] = 100.0
    vaults(house).sweep(account, key="s")
    parent, child = (house.sweeps(account)[i].transaction_hash for i in (0, 1))
    assert server.spender(parent, 0) == child
    bury(server)
    assert vaults(house).swept(account) is Verdict.HOLDS


def test_a_lost_leaf_is_answered_with_the_next_account_and_its_neighbour_is_left_alone(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text, "near", script="wpkh")
    neighbour = registered(house, safe.text, "near", script="wpkh")
    fund(server, wallet(house, account), COIN)
    vaults(house).restrict(account, key="r")
    vaults(house).prepare_rotation(account, "leaf", key="p")
    assert homes(house, account) == [("near", "m/84h/1h/0h"), ("near", "m/84h/1h/2h")]
    assert vaults(house).restricted(neighbour) is Verdict.DOES_NOT_HOLD
    vaults(house).sweep(account, key="s")
    bury(server)
    vaults(house).retire(account, key="t")
    assert vaults(house).retired(account) is Verdict.HOLDS
    assert house.wallets()["near"] == "active"
    assert house.keys(account)[0] == ("near", "m/84h/1h/0h", "retired")
    old = KeyRef("near", DerivationPath.parse("m/84h/1h/0h/0/0"))
    with pytest.raises(KeyUseRefusedError):
        house.parts.token.sign(old, bytes(32))
    third = registered(house, safe.text, "near", script="wpkh")
    assert homes(house, third) == [("near", "m/84h/1h/3h")], "neither a used path nor a retired one"
    fund(server, wallet(house, neighbour), COIN)
    vaults(house).sweep(neighbour, key="n")
    bury(server)
    assert vaults(house).swept(neighbour) is Verdict.HOLDS


def test_a_lost_account_key_is_answered_with_another_seed_which_its_neighbours_share(
    house: VaultHouse, safe: Descriptor
) -> None:
    one, two = (registered(house, safe.text, "far", script="tr_key") for _ in range(2))
    vaults(house).prepare_rotation(one, "account_key", key="p")
    assert house.wallets()["far"] == "compromised"
    vaults(house).prepare_rotation(two, "leaf", key="q")
    assert homes(house, one)[1] == ("far.2", "m/86h/1h/0h")
    assert homes(house, two)[1] == ("far.2", "m/86h/1h/1h"), "nothing new is derived from a seed that counts as lost"
    with pytest.raises(ConflictError, match="is compromised"):
        registered(house, safe.text, "far", script="tr_key")


def test_a_rekeying_that_broke_off_goes_on_where_it_was_and_what_it_left_is_retired_with_the_rest(
    house: VaultHouse, safe: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is recorded and in no wallet: repeated it is that key again, and answered otherwise it may not stay able."""
    account = registered(house, safe.text, "broken", script="tr_key")

    def dies(*_: object) -> bool:
        raise UnavailableError("the worker ends here")

    with monkeypatch.context() as patched:
        patched.setattr("service.vault.bitcoin_wallets.answers", dies)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                vaults(house).prepare_rotation(account, "leaf", key="p")
    assert [path for _, path, _ in house.keys(account)] == ["m/86h/1h/0h", "m/86h/1h/1h"]
    vaults(house).prepare_rotation(account, "seed", key="p2")
    assert homes(house, account)[1] == ("broken.2", "m/86h/1h/0h")
    vaults(house).retire(account, key="t")
    assert [state for _, _, state in house.keys(account)] == ["retired", "retired", "active"]
    assert vaults(house).retired(account) is Verdict.HOLDS
    assert prepared_of(wallets_of(house.parts, account)) is None


def test_a_path_that_another_account_was_given_meanwhile_is_not_taken_twice(
    house: VaultHouse, safe: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (registered(house, safe.text, "raced", script="wpkh") for _ in range(2))
    with monkeypatch.context() as patched:
        patched.setattr("service.store.keys.KeyRepository.account_paths", lambda *_: ["m/84h/1h/0h"])
        with pytest.raises(UnavailableError, match="given to another account"):
            vaults(house).prepare_rotation(one, "leaf", key="p")
    vaults(house).prepare_rotation(one, "leaf", key="p")
    assert homes(house, one)[1] == ("raced", "m/84h/1h/2h")
    assert homes(house, two) == [("raced", "m/84h/1h/1h")]


@pytest.mark.parametrize("script", SINGLE)
def test_a_restricted_key_signs_nothing_but_the_sweep_and_a_disabled_leaf_nothing_at_all(
    house: VaultHouse, server: Esplora, safe: Descriptor, script: str
) -> None:
    account = registered(house, safe.text, script=script)
    fund(server, wallet(house, account), COIN)
    vaults(house).restrict(account, key="r")
    (key,) = house.parts.keys_of(account)
    task = BitcoinVault(house.parts)._errand(account, "s")
    house.parts.require_allowed(key, task.request)
    with pytest.raises(ForbiddenError, match="a restricted key signs only"):
        house.parts.require_allowed(key, Transfer(account))
    leaf = KeyRef(key.wallet_id, DerivationPath.parse(f"{key.path}/0/0"))
    house.parts.token.leaf(house.parts.seed(key.wallet_id), key.wallet_id, leaf.path)
    house.parts.token.disable(leaf)
    with pytest.raises(RefusedByOtherSideError, match="disabled"):
        vaults(house).sweep(account, key="s")
    assert not server.pool


@pytest.mark.parametrize("script", SINGLE)
def test_more_turns_out_lost_than_a_prepared_wallet_answers(
    house: VaultHouse, server: Esplora, safe: Descriptor, script: str
) -> None:
    vault, account = vaults(house), registered(house, safe.text, script=script)
    vault.restrict(account, key="r")
    near = vault.prepare_rotation(account, "leaf", key="p1")
    far = vault.prepare_rotation(account, "seed", key="p2")
    assert far.facts["address"] != near.facts["address"]
    assert vault.prepare_rotation(account, "leaf", key="p1").facts["address"] == far.facts["address"]
    (first, *_), (second, _), (third, _) = homes(house, account)
    assert (second, third) == (first, f"{first}.2")
    assert vault.rotation_prepared(account) is Verdict.HOLDS
    with house.parts.db.begin() as uow:
        uow.keys.set_wallet_state(third, WalletState.COMPROMISED)
    assert vault.rotation_prepared(account) is Verdict.DOES_NOT_HOLD
    with pytest.raises(ConflictError, match="counts as lost"):
        vault.retire(account, key="t")
    vault.prepare_rotation(account, "leaf", key="p3")
    bury(server)
    vault.retire(account, key="t")
    assert [k[2] for k in house.keys(account)] == ["retired", "retired", "retired", "active"]
    assert house.keys(account)[-1][0] == f"{first}.3"
