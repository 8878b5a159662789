"""Sweeps of wallets that other people must sign for, too: half-signed, kept so, and renewed only when it is asked for."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.domain.bitcoin.descriptor import Cosigner, Descriptor
from service.domain.bitcoin.psbt import Signature, Unsigned, read_kept, write
from service.domain.bitcoin.sweep import plan
from service.domain.bitcoin.wallet import PreparedSweep
from service.domain.errors import ApprovalError, MissingCapabilityError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.vault.bitcoin_halves import keep_ready
from tests.integration.bitcoin.accounts import bury, fund, registered, vaults, wallet
from tests.support.cosigners import Cosigners
from tests.support.esplora import Esplora
from tests.support.regtest import COIN
from tests.support.vault import VaultHouse

pytestmark = pytest.mark.servers
HOLDS, NOT, CANNOT = Verdict.HOLDS, Verdict.DOES_NOT_HOLD, Verdict.CANNOT_TELL
Half = tuple[Unsigned, tuple[Signature, ...]]


@pytest.fixture
def other(cosigners: Cosigners, tmp_path: Path) -> Cosigner:
    return cosigners.new(f"other{abs(hash(tmp_path))}")


@pytest.fixture
def shared(house: VaultHouse, safe: Descriptor, cosigners: Cosigners, other: Cosigner, tmp_path: Path) -> AccountId:
    """A wallet of which the vault has one key of the two that must sign; `absent` is never asked."""
    absent = cosigners.new(f"absent{abs(hash(tmp_path))}")
    return registered(house, safe.text, vault_keys="1", other_keys=f"{other.text} {absent.text}")


def kept(house: VaultHouse, account: AccountId) -> PreparedSweep:
    with house.parts.db.begin() as uow:
        ready = uow.bitcoin.prepared(account)
    assert ready is not None
    return ready


def halves(house: VaultHouse, account: AccountId, safe: Descriptor) -> list[Half]:
    """Return each draft that is kept, with its signatures."""
    of, ready = wallet(house, account), kept(house, account)
    coins = {coin.at: coin for coin in ready.proven(of)}
    return [read_kept(one, of, coins, safe.place(0, 0).script_pubkey) for one in ready.psbts]


def moved(found: list[Half]) -> list[tuple[int, int]]:
    """Return how much each draft moves, and how many signatures it has."""
    return sorted((sum(coin.amount for coin in one.draft.coins), len(made)) for one, made in found)


def ask(house: VaultHouse, account: AccountId, key: str) -> None:
    with pytest.raises(MissingCapabilityError, match="has 1 of 2 signatures"):
        vaults(house).sweep(account, key=key)


def refresh(house: VaultHouse) -> None:
    house.clock.pass_by(timedelta(seconds=125))
    assert vaults(house).refresh() == 1


def test_every_draft_is_half_signed_and_stays_so_while_its_coins_are_unspent(
    house: VaultHouse,
    server: Esplora,
    safe: Descriptor,
    shared: AccountId,
    cosigners: Cosigners,
    other: Cosigner,
) -> None:
    of = wallet(house, shared)
    fund(server, of, COIN)
    assert server.submit(server.chain.pay((of.place(0, 1).script_pubkey, 5 * COIN))) is None
    ask(house, shared, "s")
    first = kept(house, shared).psbts
    assert moved(halves(house, shared, safe)) == [(COIN, 1), (5 * COIN, 1)]
    fund(server, of, 2 * COIN)
    refresh(house)
    assert kept(house, shared).psbts[:2] == first, "what people are signing stays as it is"
    assert moved(halves(house, shared, safe)) == [(COIN, 1), (2 * COIN, 0), (5 * COIN, 1)]
    ask(house, shared, "s2")
    assert set(first) < set(kept(house, shared).psbts)
    assert moved(halves(house, shared, safe)) == [(COIN, 1), (2 * COIN, 1), (5 * COIN, 1)]
    assert vaults(house).swept(shared) is NOT
    for one, made in halves(house, shared, safe):
        assert server.submit(one.whole([*made, *cosigners.sign(one, other)])) is None
    refresh(house)
    assert vaults(house).swept(shared) is CANNOT, "sent by people, in no block yet, and not outbid"
    bury(server)
    refresh(house)
    assert vaults(house).swept(shared) is HOLDS
    assert (kept(house, shared).psbts, kept(house, shared).taken) == ((), 0), "nobody else took it"


def test_a_half_signed_sweep_is_renewed_only_by_a_sweep_at_a_higher_fee(
    house: VaultHouse, server: Esplora, safe: Descriptor, shared: AccountId
) -> None:
    fund(server, wallet(house, shared), COIN)
    ask(house, shared, "s")
    first = kept(house, shared).psbts
    server.rates["1"] *= 1.4
    refresh(house)
    ask(house, shared, "s2")
    assert kept(house, shared).psbts == first
    server.rates["1"] *= 1.4
    refresh(house)
    assert kept(house, shared).psbts == first
    ask(house, shared, "s3")
    assert kept(house, shared).psbts != first
    assert moved(halves(house, shared, safe)) == [(COIN, 1)]
    house.forge(shared, descriptor=safe.address(1, 0), signature=None)
    with pytest.raises(ApprovalError, match="no active, signed safe destination"):
        vaults(house).sweep(shared, key="s4")


def test_what_was_signed_while_a_sweep_was_made_ready_stands(
    house: VaultHouse, server: Esplora, shared: AccountId
) -> None:
    fund(server, wallet(house, shared), COIN)
    refresh(house)
    before = kept(house, shared)
    ask(house, shared, "s")
    signed = kept(house, shared)
    with house.parts.db.begin() as uow:
        assert keep_ready(uow, before, before) == signed
    assert kept(house, shared).psbts == signed.psbts != before.psbts


def test_a_psbt_that_the_vault_did_not_sign_keeps_no_coin_from_being_signed_for(
    house: VaultHouse,
    server: Esplora,
    safe: Descriptor,
    shared: AccountId,
    cosigners: Cosigners,
    other: Cosigner,
) -> None:
    of = wallet(house, shared)
    fund(server, of, COIN)
    refresh(house)
    ready = kept(house, shared)
    (dear,) = plan(of, ready.proven(of), safe.place(0, 0).script_pubkey, ready.rate * 3).drafts
    foreign = write(Unsigned(of, dear), cosigners.sign(Unsigned(of, dear), other))
    with house.superuser.begin() as uow:
        uow.bitcoin.keep(replace(ready, psbts=(foreign, b"no PSBT")))
    ask(house, shared, "s")
    (mine,) = kept(house, shared).psbts
    assert mine != foreign
