"""The rounds of `bench.containment` on chains: own EVM wallets, Safes, Bitcoin wallets, traces."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, cast

from eth_account import Account
from sqlalchemy import update

from bench.containment_clock import Stopwatch, require
from hsm.custodian import KeyRef
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.guardian import GuardianToken
from hsm.power import Power
from service.chain.bitcoin import EsploraChain
from service.chain.evm_tracing import EvmTracing
from service.chain.guard import guard_code
from service.clock import SystemClock
from service.domain.bitcoin.descriptor import Descriptor, Kind
from service.domain.bitcoin.network import REGTEST
from service.domain.evm import Fee, Transaction
from service.domain.ids import AccountId, IncidentId
from service.domain.safe import call
from service.domain.secrets import Secret
from service.domain.vault import VaultKey
from service.flow import forensics
from service.store.database import SqlDatabase, create
from service.store.tables.incident import incidents
from service.store.tables.keys import accounts
from service.vault.guardian import Guardian
from service.vault.multisig import Multisigs
from tests.integration.bitcoin.accounts import fund, registered, vaults, wallet
from tests.integration.hsm.tokens import set_up
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER, SAFE_BUILD, Anvil, Mining, running_anvil
from tests.support.cosigners import Cosigners, Custodian, two_of_three
from tests.support.esplora import Esplora, esplora
from tests.support.incidents import CONNECTION, add_account, add_connection, add_incident
from tests.support.regtest import COIN, Regtest
from tests.support.servers import PostgresForTests, SoftHsm, running_postgres, softhsm_folder
from tests.support.traced_chain import traced_chain
from tests.support.vault import VaultHouse, vault_house

TOKEN: Final = SAFE_BUILD / "test" / "ERC20Token.sol" / "ERC20Token.json"
THIEF: Final = "0x" + "bad0" * 10
RECOVERY: Final = "0x" + "ec" * 20
GWEI: Final = 10**9
PENDING: Final = 3
SPENDERS: Final = 3
COINS: Final = 20
HOPS: Final = 10


@dataclass(frozen=True, slots=True)
class Parts:
    """What every chain's stage stands on."""

    postgres: PostgresForTests
    softhsm: SoftHsm
    folder: Path
    token: TokenCustodian


@contextmanager
def parts() -> Iterator[Parts]:
    """Start PostgreSQL and a vault token in SoftHSM2."""
    with ExitStack() as stack:
        softhsm = stack.enter_context(softhsm_folder())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (vault := folder / "vault").mkdir()
        token = TokenCustodian.open(set_up(softhsm.module, softhsm.configuration, vault, Power.VAULT, "bench-vault"))
        stack.callback(token.close)
        yield Parts(stack.enter_context(running_postgres()), softhsm, folder, token)


@contextmanager
def on_anvil(found: Parts) -> Iterator[tuple[Anvil, Mining, VaultHouse]]:
    """Start a node and open a key worker's vault on it."""
    with running_anvil() as chain, closing(Mining(chain.url, CHAIN_ID)) as access:
        house, close = vault_house(
            found.postgres.migrated_database(), found.token, found.token.statements, {CHAIN: access}
        )
        yield chain, access, house
        close()


def own_wallet(rounds: int) -> dict[str, list[float]]:
    """A thief has an own wallet's key: it is restricted, what he sent is outbid, what he may take is taken back."""
    watch = Stopwatch()
    with parts() as found, on_anvil(found) as (chain, access, house):
        for _ in range(rounds):
            _one_wallet(watch, chain, access, house)
    return watch.times


def _one_wallet(watch: Stopwatch, chain: Anvil, access: Mining, house: VaultHouse) -> None:
    token, vault = chain.deploy(TOKEN), house.vault
    account, key = _funded(chain, house, f"{CHAIN}/slip44:60", f"{CHAIN}/erc20:{token}")
    thief = _Thief(chain, house, key)
    for number in range(1, SPENDERS + 1):
        thief.send(token, call("approve(address,uint256)", f"0x{number:040x}", 2**256 - 1))
    before = chain.balance(THIEF)
    chain.rpc("evm_setAutomine", False)  # noqa: FBT003  the call's own form
    for _ in range(PENDING):
        thief.send(THIEF, value=ETHER // 10)
    with watch.timing("own EVM wallet: its key restricted"):
        vault.restrict(account, key="r")
        require(partial(vault.restricted, account))
    access.left = PENDING
    with watch.timing(f"own EVM wallet: {PENDING} pending payments outbid, in the block that follows at once"):
        vault.replace_pending(account, {}, key="p")
        require(partial(vault.pending_replaced, account, {}))
    chain.rpc("evm_setAutomine", True)  # noqa: FBT003  as above
    if chain.balance(THIEF) != before:
        raise RuntimeError("the thief was paid: what is timed did not outbid him")
    with watch.timing(f"own EVM wallet: {SPENDERS} allowances found in logs and taken back"):
        vault.revoke_allowances(account, key="a")
        require(partial(vault.allowances_revoked, account))


def _funded(chain: Anvil, house: VaultHouse, *assets: str) -> tuple[AccountId, VaultKey]:
    account = house.account(assets=assets)
    house.vault.provision(account)
    (key,) = house.parts.keys_of(account)
    chain.fund(key.address, 2 * ETHER)
    return account, key


@dataclass(slots=True)
class _Thief:
    """Sends with a wallet's own key, past every rule of ours."""

    chain: Anvil
    house: VaultHouse
    key: VaultKey
    nonce: int = 0

    def send(self, to: str, data: bytes = b"", value: int = 0) -> None:
        made = Transaction(CHAIN_ID, self.nonce, to, value, data, 100_000, Fee(5 * GWEI, GWEI))
        path = DerivationPath.parse(self.key.path)
        signed = self.house.parts.token.sign(KeyRef(self.key.wallet_id, path), made.digest())
        self.chain.rpc("eth_sendRawTransaction", "0x" + made.signed(signed.v, signed.r, signed.s).hex())
        self.nonce += 1


def safe(rounds: int) -> dict[str, list[float]]:
    """A Safe of version 1.5.0, two of whose three owners are the vault's: locked, then an owner replaced under the lock."""
    watch = Stopwatch()
    with parts() as found:
        (folder := found.folder / "guardian").mkdir()
        config = set_up(found.softhsm.module, found.softhsm.configuration, folder, Power.GUARDIAN, "bench-guardian")
        with closing(GuardianToken.open(config)) as token:
            for _ in range(rounds):
                with on_anvil(found) as (chain, access, house):  # a chain without our guard
                    guardian = Guardian(token, access, CHAIN_ID, guard_code(), RECOVERY)
                    chain.fund(guardian.address)
                    _one_safe(watch, chain, house, guardian)
    return watch.times


def _one_safe(watch: Stopwatch, chain: Anvil, house: VaultHouse, guardian: Guardian) -> None:
    multisigs = Multisigs(house.parts, lambda _: replace(guardian, until=time.monotonic() + 60))
    account, owner, spare = _a_safe(chain, house)
    with watch.timing("Safe: guard created, installed for transactions and modules, tripped"):
        multisigs.lock(account)
        require(partial(multisigs.locked, account))
    with watch.timing("Safe: an owner replaced under the lock"):
        multisigs.replace_owner(account, owner, spare)
        require(partial(multisigs.owner_replaced, account, owner, spare))


def _a_safe(chain: Anvil, house: VaultHouse) -> tuple[AccountId, str, str]:
    """Return a 2-of-3 Safe's account, the owner outside, and the key that may take his place."""
    coin = (f"{CHAIN}/slip44:60",)
    owners = [house.account(assets=coin) for _ in range(2)]
    account = house.account(assets=coin, holder="multisig")
    for one in owners:
        house.vault.provision(one)
    outsider = str(Account.create().address)
    address = chain.safe([house.address(owners[0]), house.address(owners[1]), outsider], 2)
    with house.superuser.begin() as uow:
        at = update(accounts).where(accounts.c.id == account)
        uow.connection.execute(at.values(addresses=[f"{CHAIN}:{address}"]))
    house.vault.provision(account)
    chain.fund(address, 5 * ETHER)
    return account, outsider.lower(), house.parts.keys_of(account)[0].address.lower()


def bitcoin_wallet(rounds: int) -> dict[str, list[float]]:
    """A 2-of-3 wallet of the vault's keys: its sweep is kept ready, and goes out."""
    watch = Stopwatch()
    with parts() as found:
        mined = Regtest(found.folder / "regtest")
        mined.grow(130)
        cold = two_of_three(Cosigners(cast("Custodian", found.token)), Kind.WSH, "cold")[0]
        for _ in range(rounds):
            with esplora(mined) as (server, url), closing(EsploraChain(url, REGTEST)) as chain:
                database = found.postgres.migrated_database()
                house, close = vault_house(database, found.token, found.token.statements, {}, {REGTEST.chain: chain})
                _one_bitcoin_wallet(watch, house, server, cold)
                close()
    return watch.times


def _one_bitcoin_wallet(watch: Stopwatch, house: VaultHouse, server: Esplora, cold: Descriptor) -> None:
    account = registered(house, cold.text)
    fund(server, wallet(house, account), *(COIN for _ in range(COINS)))
    with watch.timing(f"Bitcoin wallet: sweep of {COINS} coins signed and kept ready"):
        vaults(house).refresh()
    with watch.timing(f"Bitcoin wallet: the ready sweep of {COINS} coins broadcast and accepted by the node"):
        sent = vaults(house).sweep(account, key="s").facts["transactions"]
    if not (isinstance(sent, list) and sent and set(sent) <= set(server.pool)):
        raise RuntimeError("the sweep is not in the node's pool")
    server.mine()
    server.mine()
    require(partial(vaults(house).swept, account))


def traced(rounds: int) -> dict[str, list[float]]:
    """A theft is passed on from address to address: followed to its end, the report written and drawn."""
    watch = Stopwatch()
    people = ["0x" + f"{number:02x}" * 20 for number in range(0x20, 0x20 + HOPS + 1)]
    with running_postgres() as postgres, traced_chain() as chain, closing(EvmTracing(chain.url, CHAIN)) as source:
        chain.have(people[0], 100 * ETHER)
        for giver, taker in pairwise(people):
            chain.pay(giver, taker, 50 * ETHER)
        db = SqlDatabase(create(Secret(postgres.migrated_database()), pool_size=2), SystemClock())
        with db.begin() as uow:
            add_connection(uow.connection)
            account = add_account(uow.connection, "hot-1")
            at = update(accounts).where(accounts.c.id == account)
            uow.connection.execute(at.values(addresses=[f"{CHAIN}:{people[0]}"]))
        for _ in range(rounds):
            with db.begin() as uow:
                incident = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/hot-1",)))
                began = update(incidents).where(incidents.c.id == incident)
                uow.connection.execute(began.values(first_harm_at=datetime.now(UTC) - timedelta(hours=1)))
            with watch.timing(f"trace: {HOPS} hops followed, poison, haircut and FIFO, drawn"):
                forensics.gather(forensics.Tracer(db, {CHAIN: source}, {}, SystemClock()), incident)
            with db.begin() as uow:
                trace = uow.forensics.trace(incident)
            if trace is None or trace.state != "complete" or people[-1] not in (trace.report or ""):
                raise RuntimeError("the trace did not come to its end")
        db.engine.dispose()
    return watch.times
