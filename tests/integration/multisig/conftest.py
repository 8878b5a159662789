"""Safes on a chain of our own, owners and guardian in SoftHSM2, rows in PostgreSQL."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from sqlalchemy import update

from hsm.custodian import KeyRef
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.guardian import GuardianToken
from hsm.power import Power
from hsm.restrictions import KeyState
from service.chain.evm import JsonRpcChain
from service.chain.guard import guard_code
from service.chain.safe_service import HttpSafeService
from service.domain.ids import AccountId
from service.domain.safe import ZERO, packed
from service.store.tables.keys import accounts, vault_keys
from service.vault import hot, sweeper
from service.vault.guardian import Guardian
from service.vault.multisig import Multisigs
from tests.integration.hsm.tokens import set_up
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER, Anvil, data_of, running_anvil
from tests.support.safe_service import FakeSafeService, serving
from tests.support.servers import SoftHsm
from tests.support.vault import VaultHouse, vault_house

RECOVERY = "0x" + "ec" * 20
EXECUTE = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
TRANSACTION_HASH = "getTransactionHash(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,uint256)"


@dataclass
class SafeHouse:
    """A 2-of-3 Safe with five ether: owners 0 and 1 are keys of our vault, owner 2 is somebody outside."""

    chain: Anvil
    house: VaultHouse
    guardian: Guardian
    account: AccountId
    address: str
    owners: tuple[AccountId, ...]
    outsider: LocalAccount

    @property
    def multisigs(self) -> Multisigs:
        return Multisigs(self.house.parts, lambda _: replace(self.guardian, until=time.monotonic() + 300))

    @property
    def spare(self) -> str:
        """The key that the vault made for the multisig itself."""
        return self.house.parts.keys_of(self.account)[0].address.lower()

    def owner(self, number: int) -> str:
        return str(self.outsider.address).lower() if number == 2 else self.house.address(self.owners[number])

    def nonce(self) -> int:
        return int.from_bytes(self.chain.call(self.address, "nonce()"), "big")

    def signed(self, to: str, data: bytes, *by: int, value: int = 0, **more: int) -> bytes:
        """Let owners sign what they are shown, each with the own key; returns what anybody may send to the Safe.

        `more`: nonce, operation, gas_price.
        """
        fields = (to, value, data, more.get("operation", 0), 0, 0, more.get("gas_price", 0), ZERO, ZERO)
        nonce = more.get("nonce", self.nonce())
        digest = self.chain.call(self.address, TRANSACTION_HASH, *fields, nonce)
        signatures = sorted((bytes.fromhex(self.owner(n)[2:]), self.sign(n, digest)) for n in by)
        return data_of(EXECUTE, *fields, b"".join(signature for _, signature in signatures))

    def sign(self, number: int, digest: bytes) -> bytes:
        """Return an owner's signature as a Safe reads it."""
        if number == 2:
            return bytes(self.outsider.unsafe_sign_hash(Hash32(digest)).signature)
        key = self.house.parts.keys_of(self.owners[number])[0]
        found = self.house.parts.token.sign(KeyRef(key.wallet_id, DerivationPath.parse(key.path)), digest)
        return packed(found.r, found.s, found.v)


@pytest.fixture(autouse=True)
def slow_chains_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still makes no chain late."""
    monkeypatch.setattr(hot, "PATIENCE_S", 300.0)
    monkeypatch.setattr(hot, "SENDING_S", 300.0)
    monkeypatch.setattr(sweeper, "SENDING_S", 300.0)
    monkeypatch.setattr(sweeper, "ASKING_S", 300.0)


@pytest.fixture(scope="session")
def anvil() -> Iterator[Anvil]:
    with running_anvil() as chain:
        yield chain


@pytest.fixture(scope="session")
def vault_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenCustodian]:
    folder: Path = tmp_path_factory.mktemp("owners-vault")
    token = TokenCustodian.open(set_up(softhsm.module, softhsm.configuration, folder, Power.VAULT, "owners-vault"))
    yield token
    token.close()


@pytest.fixture(scope="session")
def guardian_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardianToken]:
    folder: Path = tmp_path_factory.mktemp("the-guardian")
    token = GuardianToken.open(set_up(softhsm.module, softhsm.configuration, folder, Power.GUARDIAN, "the-guardian"))
    yield token
    token.close()


@pytest.fixture
def chain(anvil: Anvil) -> Iterator[Anvil]:
    """The chain as it began, for each test anew."""
    before = anvil.rpc("evm_snapshot")
    yield anvil
    assert anvil.rpc("evm_revert", before)


@pytest.fixture
def safe_house(
    fresh_postgres_url: str, chain: Anvil, vault_token: TokenCustodian, guardian_token: GuardianToken
) -> Iterator[SafeHouse]:
    access = JsonRpcChain(chain.url, CHAIN_ID)
    house, close = vault_house(fresh_postgres_url, vault_token, vault_token.statements, {CHAIN: access})
    coin = (f"{CHAIN}/slip44:60",)
    owners = tuple(house.account(assets=coin) for _ in range(2))
    account = house.account(assets=coin, holder="multisig")
    outsider: LocalAccount = Account.create()
    for one in owners:
        house.vault.provision(one)
    address = chain.safe([house.address(owners[0]), house.address(owners[1]), outsider.address], 2)
    with house.superuser.begin() as uow:
        uow.connection.execute(
            update(accounts).where(accounts.c.id == account).values(addresses=[f"{CHAIN}:{address}"])
        )
    house.vault.provision(account)
    guardian = Guardian(guardian_token, access, CHAIN_ID, guard_code(), RECOVERY)
    chain.fund(guardian.address)
    chain.fund(address, 5 * ETHER)
    yield SafeHouse(chain, house, guardian, account, address, owners, outsider)
    access.close()
    close()


@pytest.fixture
def service(safe_house: SafeHouse) -> FakeSafeService:
    owners = [safe_house.owner(number) for number in range(3)]
    made = FakeSafeService(CHAIN_ID, safe_house.address, owners)
    made.signer = safe_house.outsider
    return made


@pytest.fixture
def multisigs(safe_house: SafeHouse, service: FakeSafeService) -> Iterator[Multisigs]:
    with serving(service) as url:
        client = HttpSafeService(url)
        yield replace(safe_house.multisigs, services={CHAIN: client})
        client.close()


def set_state(house: SafeHouse, account: AccountId, state: KeyState) -> None:
    with house.house.superuser.begin() as uow:
        uow.connection.execute(update(vault_keys).where(vault_keys.c.account_id == account).values(state=state.value))
