"""Coins that others took: believed only with the transaction that spends them, and told when the wallet is retired."""

import pytest

from service.domain.bitcoin.descriptor import Descriptor
from service.domain.errors import UnavailableError
from service.domain.plan import Verdict
from tests.integration.bitcoin.accounts import bury, fund, registered, steal, vaults, wallet
from tests.support.esplora import Esplora
from tests.support.regtest import COIN, txid_of
from tests.support.vault import VaultHouse

pytestmark = pytest.mark.servers


def test_what_others_took_is_told_when_the_wallet_is_retired(
    house: VaultHouse, server: Esplora, safe: Descriptor
) -> None:
    account = registered(house, safe.text)
    fund(server, wallet(house, account), COIN, 3 * COIN)
    vaults(house).prepare_rotation(account, "seed", key="p")
    assert server.submit(steal(house, server, account, 5_000, to=safe.place(1, 0).script_pubkey)) is None
    bury(server)
    vaults(house).sweep(account, key="s")
    bury(server)
    assert vaults(house).swept(account) is Verdict.HOLDS
    vaults(house).prepare_rotation(account, "seed", key="p")
    receipt = vaults(house).retire(account, key="t")
    assert receipt.facts["taken"] == str(COIN), "not what our own transaction took"
    with house.parts.db.begin() as uow:
        ready = uow.bitcoin.prepared(account)
    assert ready is not None
    assert not ready.held


def test_a_coin_is_not_gone_by_an_endpoint_s_word(house: VaultHouse, server: Esplora, safe: Descriptor) -> None:
    account = registered(house, safe.text)
    of = wallet(house, account)
    fund(server, of, COIN)
    vaults(house).refresh()
    made = server.chain.pay((of.place(1, 5).script_pubkey, COIN))
    (coin,) = server.unspent(of.address(0, 0))
    server.change[f"/address/{of.address(0, 0)}/utxo"] = lambda _: []
    told = {"spent": True, "txid": txid_of(made), "status": server.status(str(coin["txid"]))}
    server.change[f"/tx/{coin['txid']}/outspend"] = lambda _: told
    with pytest.raises(UnavailableError, match="has not what it says spent"):
        vaults(house).swept(account)
    assert server.submit(made) is None
    server.mine()
    with pytest.raises(UnavailableError, match="does not spend"):
        vaults(house).swept(account)
