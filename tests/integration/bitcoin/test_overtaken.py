"""What a wallet was before it was replaced or its seed was lost does not come back: neither as ours nor as safe."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta

import pytest

from service.domain.bitcoin.descriptor import Descriptor, Kind
from service.domain.bitcoin.network import REGTEST
from service.domain.errors import ApprovalError, ConflictError, UnknownOutcomeError
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.domain.vault import WalletState
from service.vault import bitcoin_sweeps, bitcoin_wallets, destinations
from service.vault.bitcoin import REFRESH_AFTER_S, BitcoinVault
from service.vault.bitcoin_wallets import wallets_of
from service.vault.given_up import why_lost
from tests.integration.bitcoin.accounts import at_safe, bury, fund, registered, vaults, wallet
from tests.support.esplora import Esplora
from tests.support.regtest import COIN
from tests.support.vault import VaultHouse, alone

pytestmark = pytest.mark.servers


def emptied(house: VaultHouse, server: Esplora, safe: Descriptor) -> tuple[AccountId, Descriptor]:
    """Return an account whose swept wallet can be replaced, but for dust at its first address, and that wallet."""
    account = registered(house, safe.text, script="wpkh")
    old = wallet(house, account)
    fund(server, old, COIN)
    vaults(house).prepare_rotation(account, "leaf", key="p")
    vaults(house).sweep(account, key="s")
    bury(server)
    fund(server, old, 300)
    return account, old


def known(house: VaultHouse, account: AccountId) -> tuple[str, ...]:
    with house.parts.db.begin() as uow:
        return uow.registry.account(account).addresses


MEANWHILE: dict[str, tuple[object, Callable[[VaultHouse, AccountId], object]]] = {
    "scan": (bitcoin_sweeps, lambda house, _: vaults(house).refresh()),
    "sign_destinations": (bitcoin_wallets, lambda house, account: vaults(house).provision(account)),
}
"""What a job is doing, by where it is called, when another worker retires the wallet that it began with."""


@pytest.mark.parametrize("step", MEANWHILE)
def test_an_address_of_a_wallet_that_is_replaced_meanwhile_is_not_ours_again(
    house: VaultHouse, server: Esplora, safe: Descriptor, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    account, old = emptied(house, server, safe)
    module, job = MEANWHILE[step]
    real = getattr(module, step)

    def overtaken(*given: object) -> object:
        found = real(*given)
        monkeypatch.setattr(module, step, real)
        vaults(house).retire(account, key="t")
        return found

    house.clock.pass_by(timedelta(seconds=REFRESH_AFTER_S + 1))
    monkeypatch.setattr(module, step, overtaken)
    job(house, account)
    new = wallet(house, account)
    assert new != old
    assert known(house, account) == (f"{REGTEST.chain}:{new.address(0, 0)}",)


LATE: dict[str, tuple[object, str, Callable[[BitcoinVault, AccountId], object]]] = {
    "restrict": (BitcoinVault, "_exposed", lambda vault, account: vault.restrict(account, key="r")),
    "lift": (
        BitcoinVault,
        "_exposed",
        lambda vault, account: vault.lift_restriction(account, key="l", still_mine=alone),
    ),
    "retire": (bitcoin_sweeps, "refresh", lambda vault, account: vault.retire(account, key="t1")),
}
"""What a worker does that stands still after it read how things are: where it reads."""


@pytest.mark.parametrize("what", LATE)
def test_a_worker_that_wakes_after_two_rotations_changes_nothing(
    house: VaultHouse, server: Esplora, safe: Descriptor, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    vault, account = BitcoinVault(house.parts), registered(house, safe.text, script="wpkh")
    if what == "lift":
        vault.restrict(account, key="r")
    vault.prepare_rotation(account, "leaf", key="p1")
    at, reads, act = LATE[what]
    real = getattr(at, reads)

    def stands_still(*given: object) -> object:
        monkeypatch.setattr(at, reads, real)
        found = real(*given)
        vault.retire(account, key="t1")
        vault.prepare_rotation(account, "leaf", key="p2")
        vault.retire(account, key="t2")
        return found

    monkeypatch.setattr(at, reads, stands_still)
    with pytest.raises(ConflictError, match="replaced meanwhile") if what == "retire" else nullcontext():
        act(vault, account)
    assert [state for _, _, state in house.keys(account)] == ["retired", "retired", "active"]
    assert [one.use.value for one in wallets_of(house.parts, account)] == ["replaced", "replaced", "current"]


def test_a_repeated_sweep_that_had_found_nothing_leaves_the_new_wallet_alone(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    vault, account = vaults(house), registered(house, safe.text, script="wpkh")
    vault.prepare_rotation(account, "leaf", key="p")
    vault.sweep(account, key="s")
    vault.retire(account, key="t")
    fund(server, wallet(house, account), COIN)
    vault.sweep(account, key="s")
    assert not server.pool
    assert (vault.swept(account, key="s"), vault.swept(account)) == (Verdict.HOLDS, Verdict.DOES_NOT_HOLD)


@pytest.mark.parametrize("form", ["descriptor", "first address", "later address"])
def test_nothing_is_swept_to_a_wallet_of_ours_that_was_given_up(
    house: VaultHouse, server: Esplora, safe: Descriptor, form: str
) -> None:
    """The re-keyed wallet was registered as the safe destination, then its seed turned out lost as well."""
    vault, account = vaults(house), registered(house, safe.text, script="wpkh")
    fund(server, wallet(house, account), COIN)
    vault.restrict(account, key="r")
    vault.prepare_rotation(account, "leaf", key="p1")
    given_up = wallets_of(house.parts, account)[1].descriptor
    to = {"descriptor": given_up.text, "first address": given_up.address(0, 0), "later address": given_up.address(1, 3)}
    house.destination(account, to[form], stated_chain=REGTEST.chain, stated_from=house.clock.now())
    vault.provision(account)
    chosen = destinations.verified_destination(house.parts, account, REGTEST.chain)
    assert chosen.destination.descriptor == to[form], "until then it is as good as any"
    vault.prepare_rotation(account, "seed", key="p2")
    vault.sweep(account, key="s")
    bury(server)
    assert vault.swept(account) is Verdict.HOLDS
    assert at_safe(server, safe) > COIN - 100_000, "it went to the one that was registered before"
    assert not server.unspent(given_up.address(0, 0)) + server.unspent(given_up.address(1, 3))


def test_where_the_only_destination_was_given_up_nothing_is_swept_and_people_are_told(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    """A wallet of another account: its key restricted; then named by another path of its seed, which is lost."""
    vault, other = vaults(house), registered(house, safe.text, "near", script="wpkh")
    ours = wallet(house, other)
    account = registered(house, ours.text, script="tr_key")
    fund(server, wallet(house, account), COIN)
    vault.restrict(other, key="r")
    with pytest.raises(ApprovalError, match=re.escape(f"{ours.text} is our own and lost (key m/84h/1h/0h of account")):
        vault.sweep(account, key="s")
    assert "is our own and lost" in str(vault.prepare_rotation(account, "leaf", key="p").facts["sweep"])
    vault.lift_restriction(other, key="l", still_mine=alone)
    vault.sweep(account, key="s")
    assert len(server.pool) == 1
    sibling = registered(house, safe.text, "near", script="wpkh")
    with house.parts.db.begin() as uow:
        uow.keys.set_wallet_state("near", WalletState.COMPROMISED)
        (key,) = wallet(house, sibling).keys
        unknown = replace(key, path="m/84h/1h/9h", xpub=safe.keys[0].xpub)
        named = Descriptor.of(Kind.WPKH, 1, (unknown,), REGTEST).text
        assert why_lost(uow, REGTEST.chain, named) is not None
        assert why_lost(uow, REGTEST.chain, safe.text) is None


def test_what_was_signed_for_a_wallet_before_it_was_given_up_is_not_sent(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    vault, other = vaults(house), registered(house, safe.text, script="wpkh")
    ours, account = wallet(house, other), registered(house, safe.text, script="wpkh")
    house.destination(account, ours.text, stated_chain=REGTEST.chain, stated_from=house.clock.now())
    vault.provision(account)
    fund(server, wallet(house, account), COIN)
    server.deaf = 1
    with pytest.raises(UnknownOutcomeError):
        vault.sweep(account, key="s")
    vault.restrict(other, key="r")
    vault.sweep(account, key="s")
    bury(server)
    assert vault.swept(account) is Verdict.HOLDS
    assert at_safe(server, safe) > COIN - 100_000
    assert [(row.to_address, row.state) for row in house.sweeps(account)] == [
        (ours.text, "failed"), (safe.text, "final"),
    ]  # fmt: skip
