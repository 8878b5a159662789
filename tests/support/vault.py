"""A vault for tests: real PostgreSQL under the key worker's role, an authority that signs destinations, any token."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from sqlalchemy import insert, select, update

from hsm.custodian import SealedSeed, StatementSigner
from hsm.keypath import DerivationPath
from hsm.schnorr import WalletKeys
from service.domain.ids import AccountId, new_id
from service.domain.secrets import Secret
from service.domain.setup import DESTINATION_TAG, RegisteredDestination
from service.ports.chain import BitcoinChain, ContractChain
from service.ports.store.unit import UnitOfWork
from service.store.database import SqlDatabase, create
from service.store.tables.keys import accounts, safe_destinations, sweeps, vault_keys, vault_wallets
from service.vault.keys import Vault
from service.vault.parts import VaultParts
from service.vault.provision import key_of
from tests.support.authority import MovedClock
from tests.support.incidents import CONNECTION, add_connection
from tests.support.servers import url_of_role

SAFE = "0x5afe000000000000000000000000000000000001"
OTHER_SAFE = "0x5afe000000000000000000000000000000000002"
COIN = "eip155:1/slip44:60"
USDT = "0xdac17f958d2ee523a2206206994597c13d831ec7"
TOKEN = f"eip155:1/erc20:{USDT}"


class Killed(BaseException):
    """The process died here: nothing of ours may catch it."""


@dataclass
class Reaper:
    """Kills at the n-th point it passes; counts the points otherwise."""

    at: int | None = None
    passed: int = 0

    def point(self) -> None:
        self.passed += 1
        if self.at is not None and self.passed == self.at:
            raise Killed


class Mortal:
    """Passes a point before and after every call of what it wraps."""

    def __init__(self, target: object, reaper: Reaper) -> None:
        self._target = target
        self._reaper = reaper

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def call(*args: object, **named: object) -> object:
            self._reaper.point()
            answer = found(*args, **named)
            self._reaper.point()
            return answer

        return call


class MortalDatabase:
    """Passes a point just before each commit and just after it."""

    def __init__(self, db: SqlDatabase, reaper: Reaper) -> None:
        self._db = db
        self._reaper = reaper

    def begin(self, *, on_disk: bool = True) -> AbstractContextManager[Any]:
        @contextmanager
        def unit() -> Any:
            with self._db.begin(on_disk=on_disk) as uow:
                yield uow
                self._reaper.point()
            self._reaper.point()

        return unit()


class Effects:
    """Passes a point after each call of what it wraps that leaves something behind.

    A death before such a call, or after one that only asked, leaves what a death after the last effect left.
    """

    def __init__(self, target: object, reaper: Reaper, *names: str) -> None:
        self._target = target
        self._reaper = reaper
        self._names = names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self._names:
            return found

        def call(*args: object, **named: object) -> object:
            answer = found(*args, **named)
            self._reaper.point()
            return answer

        return call


class EffectsDatabase:
    """Passes a point after each commit of a transaction that wrote something."""

    def __init__(self, db: SqlDatabase, reaper: Reaper) -> None:
        self._db = db
        self._reaper = reaper

    def begin(self, *, on_disk: bool = True) -> AbstractContextManager[Any]:
        @contextmanager
        def unit() -> Any:
            with self._db.begin(on_disk=on_disk) as uow:
                yield uow
                asked = uow.connection.exec_driver_sql("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
                wrote = bool(asked.scalar_one())
            if wrote:
                self._reaper.point()

        return unit()


class Authority:
    """Signs as the authority's token does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.pem = self._key.public_key().public_bytes(serialization.Encoding.PEM, form)

    def sign(self, body: str) -> bytes:
        r, s = decode_dss_signature(self._key.sign(body.encode(), ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@dataclass
class VaultHouse:
    """One key worker and what a test may do around it."""

    url: str
    superuser: SqlDatabase
    parts: VaultParts
    authority: Authority
    clock: MovedClock
    numbers: list[str] = field(default_factory=list)

    @property
    def vault(self) -> Vault:
        return Vault(self.parts)

    def dying(self, reaper: Reaper) -> VaultParts:
        """Return the same parts, mortal after every commit, change of the token and transaction that is sent."""
        db = EffectsDatabase(self.superuser, reaper)
        token = Effects(self.parts.token, reaper, "leaf", "disable", "destroy")
        chains = {name: Effects(chain, reaper, "send") for name, chain in self.parts.chains.items()}
        bitcoin = {name: Effects(chain, reaper, "send") for name, chain in self.parts.bitcoin.items()}
        return replace(self.parts, db=db, token=token, chains=chains, bitcoin=bitcoin)

    def account(
        self,
        *,
        wallet: str | None = None,
        assets: tuple[str, ...] = (COIN, TOKEN),
        holder: str = "vault_key",
        identity: str = "",
    ) -> AccountId:
        identity = AccountId(identity or new_id("acc"))
        self.numbers.append(identity)
        with self.superuser.begin() as uow:
            uow.connection.execute(
                insert(accounts).values(
                    id=identity,
                    connection_id=CONNECTION,
                    ref=f"hot-{len(self.numbers)}",
                    holder=holder,
                    wallet_id=wallet,
                    assets=list(assets),
                    provisioning="pending",
                    created_at=uow.now,
                )
            )
        return identity

    def destination(self, account: AccountId, descriptor: str = SAFE, **changes: object) -> None:
        """Register a destination as the authority does; `changes` forge columns of the row."""
        active_from = self.clock.now() - timedelta(seconds=1)
        stated = RegisteredDestination(
            tag=DESTINATION_TAG,
            account=account,
            connection=CONNECTION,
            ref=str(changes.pop("stated_ref", f"hot-{self.numbers.index(account) + 1}")),
            chain=str(changes.pop("stated_chain", "eip155:1")),
            descriptor=descriptor,
            active_from=changes.pop("stated_from", active_from),  # type: ignore[arg-type]  # a moment where given
            approval="setup",
        )
        row: dict[str, object] = {
            "account_id": account,
            "chain": stated.chain,
            "descriptor": stated.descriptor,
            "active_from": stated.active_from,
            "statement": stated.text,
            "statement_signature": self.authority.sign(stated.text),
            "created_at": self.clock.now(),
        }
        with self.superuser.begin() as uow:
            uow.connection.execute(insert(safe_destinations).values({**row, **changes}))

    def ready(self, **kind: Any) -> AccountId:
        """Return a provisioned account with a destination."""
        account = self.account(**kind)
        self.destination(account)
        self.vault.provision(account)
        return account

    def add_leaves(self, account: AccountId, count: int) -> list[str]:
        """Give an account the records of so many leaves in all; return their addresses in the order of its keys."""
        (first,) = self.parts.keys_of(account)
        path = DerivationPath.parse(first.path).parent.parent
        with self.parts.db.begin() as uow:
            wallet = uow.keys.wallet(first.wallet_id)
        assert wallet is not None
        paths = [path.leaf(0, index) for index in range(1, count)]
        proved = self.parts.token.prove(SealedSeed(wallet.sealed_seed), wallet.id, paths, bytes(32))
        with self.parts.db.begin() as uow:
            uow.keys.add_keys([key_of(account, leaf, first.chain) for leaf in proved])
        return [key.address.lower() for key in self.parts.keys_of(account)]

    def address(self, account: AccountId) -> str:
        """Return the account's current address as our records have it."""
        with self.superuser.begin() as uow:
            found = uow.connection.execute(select(accounts.c.addresses).where(accounts.c.id == account)).scalar_one()
        return str(found[0]).rpartition(":")[2].lower()

    def keys(self, account: AccountId) -> list[tuple[str, str, str]]:
        """Return (wallet, path, state) of the account's keys."""
        wanted = select(vault_keys).where(vault_keys.c.account_id == account).order_by(vault_keys.c.id)
        with self.superuser.begin() as uow:
            return [(k.wallet_id, k.path, k.state) for k in uow.connection.execute(wanted)]

    def sweeps(self, account: AccountId) -> list[Any]:
        with self.superuser.begin() as uow:
            wanted = select(sweeps).where(sweeps.c.account_id == account).order_by(sweeps.c.id)
            return list(uow.connection.execute(wanted))

    def wallets(self) -> Mapping[str, str]:
        with self.superuser.begin() as uow:
            return {row.id: row.state for row in uow.connection.execute(select(vault_wallets))}

    def forge(self, account: AccountId, **columns: object) -> None:
        """Change a safe destination's row as somebody with the database's password would."""
        with self.superuser.begin() as uow:
            uow.connection.execute(
                update(safe_destinations).where(safe_destinations.c.account_id == account).values(**columns)
            )


def vault_house(
    url: str,
    token: WalletKeys,
    statements: StatementSigner,
    chains: Mapping[str, ContractChain],
    bitcoin: Mapping[str, BitcoinChain] | None = None,
) -> tuple[VaultHouse, Callable[[], None]]:
    """Build a house on a migrated database; returns it and how to close it."""
    clock, authority = MovedClock(), Authority()
    superuser = SqlDatabase(create(Secret(url), pool_size=2), clock)
    db = SqlDatabase(create(Secret(url_of_role(url, "portcullis_keys")), pool_size=2), clock)
    with superuser.begin() as uow:
        add_connection(uow.connection)
    parts = VaultParts(db, token, statements, chains, authority.pem, clock, bitcoin or {})

    def close() -> None:
        superuser.engine.dispose()
        db.engine.dispose()

    return VaultHouse(url, superuser, parts, authority, clock), close


def alone(_: UnitOfWork) -> None:
    """Where nobody else works on the step: for what asks whether it is still its worker's."""


def a_digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def moment(house: VaultHouse, seconds: int) -> datetime:
    return house.clock.now() + timedelta(seconds=seconds)
