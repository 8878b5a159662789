"""The vault token is lost, the database is not: a ceremony restores the seed from its shares into another token."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from hsm.ceremony.journal import Journal
from hsm.ceremony.offices import TokenVault
from hsm.ceremony.plan import read_plan
from hsm.ceremony.run import Ceremony
from hsm.errors import KeyUseRefusedError
from hsm.keypath import DerivationPath
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.custodian import TokenCustodian
from hsm.power import Power
from hsm.software import ACKNOWLEDGEMENT, SoftwareCustodian
from service.domain.errors import ApprovalError, InputError, RefusedByOtherSideError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.store.tables.keys import vault_wallets
from service.store.tables.proof import timeline
from tests.integration.hsm.tokens import set_up, uri_of
from tests.support.ceremony import AT, PLAN, MemoryWitnesses, Script, plan_text
from tests.support.chain import ETHER, MemoryChain
from tests.support.servers import SoftHsm
from tests.support.vault import OTHER_SAFE, SAFE, VaultHouse, vault_house

SEED = bytes(range(32))
HOLDS = Verdict.HOLDS


def token_of(softhsm: SoftHsm, folder: Path, label: str) -> TokenConfig:
    (folder / label).mkdir()
    return set_up(softhsm.module, softhsm.configuration, folder / label, Power.VAULT, label)


def hold(plan: str, config: TokenConfig, people: Script, witnesses: MemoryWitnesses, folder: Path) -> None:
    read = read_plan(plan)
    with closing(TokenVault(uri_of(config))) as office:
        Ceremony(read, office, witnesses, people, Journal(folder, read.ceremony), lambda: AT).run()


def in_token(house: VaultHouse, token: SoftwareCustodian | TokenCustodian) -> None:
    """Start the key worker on another token."""
    statements = token if isinstance(token, SoftwareCustodian) else token.statements
    house.parts = replace(house.parts, token=token, statements=statements)


def entries(house: VaultHouse, kind: str) -> list[str]:
    with house.superuser.begin() as uow:
        wanted = select(timeline.c.subject).where(timeline.c.kind == kind).order_by(timeline.c.id)
        return list(uow.connection.execute(wanted).scalars())


def envelope(house: VaultHouse, wallet: str) -> bytes:
    with house.superuser.begin() as uow:
        wanted = select(vault_wallets.c.sealed_seed).where(vault_wallets.c.id == wallet)
        return bytes(uow.connection.execute(wanted).scalar_one())


@pytest.mark.servers
def test_shares_bring_every_account_of_a_wallet_back_in_a_fresh_token(
    softhsm: SoftHsm, fresh_postgres_url: str, chain: MemoryChain, tmp_path: Path
) -> None:
    people, witnesses = Script(), MemoryWitnesses()
    lost = token_of(softhsm, tmp_path, "vault-lost")
    hold(PLAN, lost, people, witnesses, tmp_path)
    with closing(TokenCustodian.open(lost)) as token:
        house, close = vault_house(fresh_postgres_url, token, token.statements, {"eip155:1": chain})
        account, idle = house.ready(wallet="treasury"), house.ready(wallet="treasury")
        house.vault.prepare_rotation(account, "leaf", key="p")
        house.vault.sweep(account, key="s")
        house.vault.retire(account, key="t")
        before = house.keys(account)
        held = {one: house.address(one) for one in (account, idle)}
    fresh = token_of(softhsm, tmp_path, "vault-fresh")
    people.typed = [*people.shares[1:], ""]
    hold(plan_text(ceremony="ceremony: again", seed="seed: shares", backup=""), fresh, people, witnesses, tmp_path)
    with closing(TokenCustodian.open(fresh)) as token:
        in_token(house, token)
        for one, address in held.items():
            chain.coins[address] = ETHER
            house.vault.sweep(one, key="again")
            assert house.vault.swept(one) is HOLDS
        assert chain.coins[SAFE] > ETHER * 18 // 10
        assert entries(house, "wallet.restored") == ["treasury"], "once, for all accounts under the seed"
        assert sorted(entries(house, "safe_destination.signed")) == sorted([account, idle] * 2)
        kept = token.kept_wallet("treasury")
        assert kept is not None
        assert envelope(house, "treasury") == kept.envelope
        (retired,) = [DerivationPath.parse(path) for _, path, state in before if state == "retired"]
        with pytest.raises(KeyUseRefusedError, match="does not come back"):
            token.leaf(kept, "treasury", retired)
        assert house.vault.retired(account) is HOLDS
        house.vault.prepare_rotation(idle, "leaf", key="p2")
        assert house.vault.rotation_prepared(idle) is HOLDS
        assert house.address(house.ready(wallet="treasury")) not in held.values()
    close()


@pytest.fixture
def account(house: VaultHouse, chain: MemoryChain) -> AccountId:
    """An account whose token was lost before anything was signed."""
    token = house.parts.token
    assert isinstance(token, SoftwareCustodian)
    token.kept["old"] = token.restore_wallet("old", SEED)
    found = house.ready(wallet="old")
    chain.coins[house.address(found)] = ETHER
    in_token(house, SoftwareCustodian(ACKNOWLEDGEMENT))
    return found


def left(house: VaultHouse, seed: bytes) -> None:
    """Leave a seed in the house's token, as a ceremony does."""
    token = house.parts.token
    assert isinstance(token, SoftwareCustodian)
    token.kept["old"] = token.restore_wallet("old", seed)


@pytest.mark.parametrize(
    ("seed", "why"), [(b"", "no ceremony left it"), (SEED[::-1], "not shown to be the same")], ids=["none", "another"]
)
def test_a_seed_that_is_not_there_or_another_one_takes_no_wallet_over(
    house: VaultHouse, chain: MemoryChain, account: AccountId, seed: bytes, why: str
) -> None:
    before = envelope(house, "old")
    if seed:
        left(house, seed)
    for do in (
        lambda: house.vault.sweep(account, key="s"),
        lambda: house.vault.prepare_rotation(account, "leaf", key="p"),
        lambda: house.ready(wallet="old"),
    ):
        with pytest.raises(RefusedByOtherSideError, match=why):
            do()
    assert (envelope(house, "old"), entries(house, "wallet.restored"), chain.executed) == (before, [], [])
    left(house, SEED)
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS


def test_a_wallet_of_which_no_key_is_recorded_is_not_taken_over(house: VaultHouse) -> None:
    token = SoftwareCustodian(ACKNOWLEDGEMENT)
    with house.superuser.begin() as uow:
        uow.connection.execute(
            vault_wallets.insert().values(
                id="old", sealed_seed=token.restore_wallet("old", SEED).envelope, state="active", created_at=uow.now
            )
        )
    left(house, SEED)
    with pytest.raises(RefusedByOtherSideError, match="each of its 0 recorded keys"):
        house.parts.seed("old")
    with pytest.raises(InputError, match="no wallet none"):
        house.parts.seed("none")


def test_in_another_token_only_what_the_authority_stated_is_signed_anew(
    house: VaultHouse, chain: MemoryChain, account: AccountId
) -> None:
    left(house, SEED)
    house.forge(account, descriptor=OTHER_SAFE)
    with pytest.raises(ApprovalError, match="no active, signed safe destination"):
        house.vault.sweep(account, key="s")
    assert (chain.executed, len(entries(house, "safe_destination.signed"))) == ([], 1)
    house.forge(account, descriptor=SAFE)
    house.vault.sweep(account, key="s")
    assert house.vault.swept(account) is HOLDS
    assert len(entries(house, "safe_destination.signed")) == 2
