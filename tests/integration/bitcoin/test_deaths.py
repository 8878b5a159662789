"""A Bitcoin account from its first wallet to the destruction of its keys, dying after everything that leaves something."""

from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import pytest

from hsm.software import ACKNOWLEDGEMENT, SoftwareCustodian
from service.chain.bitcoin import EsploraChain
from service.domain.bitcoin.descriptor import Kind
from service.domain.bitcoin.network import REGTEST
from service.domain.bitcoin.wallet import WalletUse
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.vault import bitcoin_coins
from service.vault.bitcoin_wallets import wallets_of
from service.vault.destruction import DESTROY_AFTER
from service.vault.vaults import Vaults
from tests.integration.bitcoin.accounts import at_safe, bury, fund, unprovisioned, wallet
from tests.support.cosigners import Cosigners, any_wallet
from tests.support.esplora import Esplora
from tests.support.regtest import COIN, Regtest
from tests.support.vault import Killed, Reaper, VaultHouse, vault_house

pytestmark = [pytest.mark.servers, pytest.mark.repeats]


@pytest.fixture
def server(mined: Regtest) -> Esplora:
    return Esplora(mined)


@pytest.fixture
def house(fresh_postgres_url: str, server: Esplora, monkeypatch: pytest.MonkeyPatch) -> Iterator[VaultHouse]:
    """A vault with a token in memory and a chain that is asked without a socket: a life takes a fraction of a second."""

    def answer(asked: httpx.Request) -> httpx.Response:
        if asked.method == "POST":
            refused = server.submit(bytes.fromhex(asked.content.decode()))
            return httpx.Response(200 if refused is None else 400, text=refused or "")
        found = server.answer(asked.url.path)
        if isinstance(found, str):
            return httpx.Response(200, text=found)
        return httpx.Response(404) if found is None else httpx.Response(200, json=found)

    monkeypatch.setattr(bitcoin_coins, "GAP", 2)
    token = SoftwareCustodian(ACKNOWLEDGEMENT)
    with closing(EsploraChain("http://chain.invalid", REGTEST)) as chain:
        chain._client = httpx.Client(transport=httpx.MockTransport(answer))
        found, close = vault_house(fresh_postgres_url, token, token, {}, {REGTEST.chain: chain})
        yield found
        close()


def acts(house: VaultHouse, server: Esplora, account: AccountId, scope: str) -> list[Callable[[Vaults], object]]:
    return [
        lambda vault: vault.provision(account),
        lambda _: fund(server, wallet(house, account), COIN, COIN),
        lambda vault: vault.restrict(account, key="restrict"),
        lambda vault: vault.prepare_rotation(account, scope, key="prepare"),
        lambda vault: vault.sweep(account, key="sweep"),
        lambda _: bury(server),
        lambda vault: vault.swept(account),
        lambda vault: vault.retire(account, key="retire"),
        lambda vault: vault.destroy(account, key="destroy"),
        lambda _: house.clock.pass_by(DESTROY_AFTER),
        lambda vault: vault.destroy_due(account),
    ]


@pytest.mark.parametrize(
    ("script", "scope"), [("wsh", "seed"), ("tr", "seed"), ("wpkh", "leaf"), ("tr_key", "account_key")]
)
def test_a_worker_may_die_after_every_effect(house: VaultHouse, server: Esplora, script: str, scope: str) -> None:
    """In life n each act dies after its n-th effect; who comes after begins anew."""
    cold = Cosigners(SoftwareCustodian(ACKNOWLEDGEMENT))  # type: ignore[arg-type]  # what a test's token does of it
    safe = any_wallet(cold, Kind(script), "cold")[0]
    terms = {} if Kind(script).is_single else {"threshold": "2", "vault_keys": "2"}
    ours = int(terms.get("vault_keys", "1"))
    point = deaths = died = 0
    while died or not point:
        point, died = point + 1, 0
        account = unprovisioned(house, safe.text, script=script, **terms)
        before = at_safe(server, safe)
        reaper = Reaper(at=point)
        dying = Vaults(house.dying(reaper))
        for act in acts(house, server, account, scope):
            reaper.passed = 0
            try:
                act(dying)
            except Killed:
                died += 1
                act(Vaults(house.parts))
        deaths += died
        told = f"died after effect {point}"
        made = wallets_of(house.parts, account)
        assert [one.use for one in made] == [WalletUse.REPLACED, WalletUse.CURRENT], told
        assert Vaults(house.parts).destroyed(account) is Verdict.HOLDS, told
        assert sorted(state for _, _, state in house.keys(account)) == ["active"] * ours + ["destroyed"] * ours, told
        assert made[0].homes.isdisjoint(made[1].homes), told
        seeds = [set(one.signers.values()) for one in made]
        assert seeds[0] == seeds[1] if scope == "leaf" else seeds[0].isdisjoint(seeds[1]), told
        assert 2 * COIN - 100_000 < at_safe(server, safe) - before < 2 * COIN, told
        assert [row.state for row in house.sweeps(account)] == ["final"], told
    assert deaths > 20
