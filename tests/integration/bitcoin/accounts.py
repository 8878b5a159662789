"""Bitcoin accounts of the vault, their deposits and their thief."""

from sqlalchemy import update

from service.domain.bitcoin.coins import Outpoint, proven
from service.domain.bitcoin.descriptor import Descriptor, Kind
from service.domain.bitcoin.network import REGTEST, network_of
from service.domain.bitcoin.psbt import Unsigned
from service.domain.bitcoin.sweep import draft
from service.domain.ids import AccountId
from service.store.tables.registry import connections
from service.vault.bitcoin import BitcoinVault
from service.vault.bitcoin_keys import cosign
from service.vault.bitcoin_wallets import current_of, wallets_of
from service.vault.vaults import Vaults
from tests.support.esplora import Esplora
from tests.support.incidents import CONNECTION
from tests.support.vault import VaultHouse

SEVERAL = {"threshold": "2", "vault_keys": "3"}
KINDS = [kind.value for kind in Kind]


def unprovisioned(house: VaultHouse, safe: str, wallet_id: str | None = None, **terms: str) -> AccountId:
    kind = Kind(terms.get("script", "wsh"))
    config = {"chain": REGTEST.chain, "script": kind.value} | ({} if kind.is_single else SEVERAL) | terms
    with house.superuser.begin() as uow:
        uow.connection.execute(
            update(connections).where(connections.c.id == CONNECTION).values(platform="bitcoin", config=config)
        )
    network = network_of(config["chain"])
    account = house.account(assets=(network.asset,), wallet=wallet_id)
    house.destination(account, safe, stated_chain=network.chain)
    return account


def registered(house: VaultHouse, safe: str, wallet_id: str | None = None, **terms: str) -> AccountId:
    account = unprovisioned(house, safe, wallet_id, **terms)
    vaults(house).provision(account)
    return account


def vaults(house: VaultHouse) -> Vaults:
    return Vaults(house.parts)


def wallet(house: VaultHouse, account: AccountId) -> Descriptor:
    return current_of(wallets_of(house.parts, account), account).descriptor


def fund(server: Esplora, of: Descriptor, *amounts: int) -> None:
    made = server.chain.pay(*((of.place(0, index).script_pubkey, amount) for index, amount in enumerate(amounts)))
    assert server.submit(made) is None
    server.mine()


def at_safe(server: Esplora, safe: Descriptor) -> int:
    return sum(int(str(one["value"])) for one in server.unspent(safe.address(0, 0)))


def bury(server: Esplora) -> None:
    server.mine()
    server.mine()


def steal(house: VaultHouse, server: Esplora, account: AccountId, rate: int, *, to: bytes = b"") -> bytes:
    """Return the thief's transaction of one coin, signed with keys of ours as a thief with two of them would."""
    of = current_of(wallets_of(house.parts, account), account)
    listed = server.unspent(of.descriptor.address(0, 0))[0]
    at = Outpoint(str(listed["txid"]), int(str(listed["vout"])))
    coin = proven(at, server.raw(at.txid) or b"", of.descriptor, 0, 0)
    taken = draft(of.descriptor, (coin,), to or of.descriptor.place(1, 30).script_pubkey, rate)
    assert taken is not None
    errand = BitcoinVault(house.parts)._errand(account, "thief")
    unsigned = Unsigned(of.descriptor, taken)
    return unsigned.whole(cosign(house.parts, of, unsigned, errand.request))
