"""What a wallet was before it was replaced or its seed was lost does not come back: neither as ours nor as safe."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from service.domain.bitcoin.descriptor import Descriptor
from service.domain.bitcoin.network import REGTEST
from service.domain.ids import AccountId
from service.vault import bitcoin_sweeps, bitcoin_wallets
from service.vault.bitcoin import REFRESH_AFTER_S
from tests.integration.bitcoin.accounts import bury, fund, registered, vaults, wallet
from tests.support.esplora import Esplora
from tests.support.regtest import COIN
from tests.support.vault import VaultHouse

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
