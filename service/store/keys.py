"""The vault's records on PostgreSQL; implements `ports.store.keys.KeyStore`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, union, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from service.domain.errors import ConflictError
from service.domain.ids import AccountId
from service.domain.vault import RotationRecord, SweepState, SweepTransaction, VaultKey, Wallet, WalletState
from service.store.attention import CLOCKS_APART
from service.store.tables.activity import activities
from service.store.tables.keys import (
    accounts,
    guardian_gas,
    rotations,
    safe_destinations,
    sweep_steps,
    sweeps,
    vault_keys,
    vault_wallets,
)

PRICED_BY: Final = 500
_A_DOLLAR: Final = 1
"""Below it, the cents that a platform rounds to make a price that is none."""
_ONCE_AN_EVENT: Final = "Publish"
_ONCE_A_STATE: Final = {"published": "verified"}
"""Publishing the new address was an event and a state of a rotation until docs/adr/0056: such rows are read without it."""


def _key_of(row: Row[Any]) -> VaultKey:
    return VaultKey(
        row.id,
        row.wallet_id,
        AccountId(row.account_id),
        row.path,
        row.chain,
        row.public_key,
        row.address,
        row.state,
        row.destroy_from,
        row.destroy_by,
    )


def _sweep_of(row: Row[Any]) -> SweepTransaction:
    return SweepTransaction(
        id=row.id,
        step_key=row.step_key,
        account_id=AccountId(row.account_id),
        chain=row.chain,
        from_address=row.from_address,
        to_address=row.to_address,
        asset=row.asset,
        amount_base_units=int(row.amount_base_units),
        nonce=row.nonce,
        raw_transaction=bytes(row.raw_transaction),
        transaction_hash=row.transaction_hash,
        state=SweepState(row.state),
    )


class KeyRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def wallet(self, wallet_id: str) -> Wallet | None:
        """Read a wallet."""
        row = self._connection.execute(select(vault_wallets).where(vault_wallets.c.id == wallet_id)).first()
        return None if row is None else Wallet(row.id, bytes(row.sealed_seed), WalletState(row.state), row.restored)

    def add_wallet(self, wallet: Wallet) -> None:
        """Insert a wallet."""
        self._connection.execute(
            insert(vault_wallets).values(
                id=wallet.id,
                sealed_seed=wallet.sealed_seed,
                state=wallet.state.value,
                restored=wallet.restored,
                created_at=self._now,
            )
        )

    def replace_seed(self, wallet_id: str, before: bytes, after: bytes) -> bool:
        """See the port."""
        changed = self._connection.execute(
            update(vault_wallets)
            .where(vault_wallets.c.id == wallet_id, vault_wallets.c.sealed_seed == before)
            .values(sealed_seed=after, restored=True)
            .returning(vault_wallets.c.id)
        )
        return changed.first() is not None

    def set_wallet_state(self, wallet_id: str, state: WalletState) -> None:
        """Move a wallet to another state."""
        self._connection.execute(update(vault_wallets).where(vault_wallets.c.id == wallet_id).values(state=state.value))

    def account_paths(self, wallet_id: str) -> Sequence[str]:
        """List every account path of a wallet, in use now or given out by a rotation; a key of Bitcoin has its own."""
        current = select(accounts.c.account_path).where(
            accounts.c.wallet_id == wallet_id, accounts.c.account_path.is_not(None)
        )
        rotated = select(rotations.c.new_path).where(rotations.c.new_wallet_id == wallet_id)
        before = select(rotations.c.old_path).where(rotations.c.old_wallet_id == wallet_id)
        bitcoin = select(vault_keys.c.path).where(
            vault_keys.c.wallet_id == wallet_id, vault_keys.c.chain.startswith("bip122:")
        )
        return [str(path) for path in self._connection.execute(union(current, rotated, before, bitcoin)).scalars()]

    def reserve_path(self, account_id: AccountId, wallet_id: str, path: str) -> None:
        """Give an account its wallet and account path."""
        self._connection.execute(
            update(accounts).where(accounts.c.id == account_id).values(wallet_id=wallet_id, account_path=path)
        )

    def add_keys(self, keys: Sequence[VaultKey]) -> None:
        """Insert leaf keys once."""
        values = [
            {
                "id": key.id,
                "wallet_id": key.wallet_id,
                "account_id": key.account_id,
                "path": key.path,
                "chain": key.chain,
                "public_key": key.public_key,
                "address": key.address,
                "state": key.state,
                "created_at": self._now,
            }
            for key in keys
        ]
        if values:
            self._connection.execute(upsert(vault_keys).values(values).on_conflict_do_nothing())

    def keys_of(self, account_id: AccountId) -> Sequence[VaultKey]:
        """List an account's leaf keys."""
        query = select(vault_keys).where(vault_keys.c.account_id == account_id).order_by(vault_keys.c.id)
        return [_key_of(row) for row in self._connection.execute(query)]

    def keys_under(self, wallet_id: str) -> Sequence[VaultKey]:
        """See the port."""
        query = select(vault_keys).where(vault_keys.c.wallet_id == wallet_id).order_by(vault_keys.c.id)
        return [_key_of(row) for row in self._connection.execute(query)]

    def keys_at(self, addresses: Sequence[str]) -> Sequence[VaultKey]:
        """List the leaf keys of addresses, in whatever case they are written."""
        wanted = [address.lower() for address in addresses]
        query = select(vault_keys).where(func.lower(vault_keys.c.address).in_(wanted)).order_by(vault_keys.c.id)
        return [_key_of(row) for row in self._connection.execute(query)]

    def given_up(self) -> Sequence[VaultKey]:
        """See the port."""
        lost = or_(vault_keys.c.state != "active", vault_wallets.c.state != WalletState.ACTIVE.value)
        query = select(vault_keys).join(vault_wallets, vault_wallets.c.id == vault_keys.c.wallet_id).where(lost)
        return [_key_of(row) for row in self._connection.execute(query.order_by(vault_keys.c.id))]

    def set_key_state(self, key_ids: Sequence[str], before: Collection[str], after: str) -> Sequence[str]:
        """See the port. Locked first, by a statement of its own: the next one sees what they have become meanwhile."""
        named = vault_keys.c.id.in_(key_ids)
        self._connection.execute(select(vault_keys.c.id).where(named).order_by(vault_keys.c.id).with_for_update())
        moved = update(vault_keys).where(named, vault_keys.c.state.in_(before)).values(state=after)
        return sorted(self._connection.execute(moved.returning(vault_keys.c.id)).scalars())

    def schedule_destruction(self, key_ids: Sequence[str], at: datetime, by: str) -> None:
        """Write down from when retired keys are destroyed; a time that stands is kept."""
        waiting = and_(vault_keys.c.id.in_(key_ids), vault_keys.c.destroy_from.is_(None))
        self._connection.execute(update(vault_keys).where(waiting).values(destroy_from=at, destroy_by=by))

    def assets(self, account_id: AccountId) -> Sequence[str]:
        """List the assets a sweep must carry."""
        found = self._connection.execute(select(accounts.c.assets).where(accounts.c.id == account_id)).scalar()
        return [str(asset) for asset in found or []]

    def usd_of_units(self, account_id: AccountId) -> Mapping[str, Decimal]:
        """See the port."""
        at = self._connection.execute(
            select(accounts.c.connection_id, accounts.c.ref).where(accounts.c.id == account_id)
        )
        if (row := at.first()) is None:
            return {}
        told = activities.c
        newest = (
            select(told.asset, told.amount_usd, told.amount_base_units)
            .where(told.connection_id == row.connection_id, told.account == row.ref)
            .order_by(told.id.desc())
            .limit(PRICED_BY)
            .subquery()
        ).c
        price, asset = func.max(newest.amount_usd / newest.amount_base_units), func.lower(newest.asset)
        query = (
            select(asset, price)
            .where(newest.amount_usd >= _A_DOLLAR, newest.amount_base_units > 0, newest.asset.is_not(None))
            .group_by(asset)
        )
        return {str(name): Decimal(most) for name, most in self._connection.execute(query)}

    def provisioned(self, account_id: AccountId, addresses: Sequence[str]) -> bool:
        """Mark an account as ready."""
        changed = self._connection.execute(
            update(accounts)
            .where(
                accounts.c.id == account_id,
                or_(accounts.c.provisioning != "ready", accounts.c.addresses != list(addresses)),
            )
            .values(addresses=list(addresses), provisioning="ready")
            .returning(accounts.c.id)
        )
        return changed.first() is not None

    def sign_destination(self, account_id: AccountId, chain: str, active_from: datetime, signature: bytes) -> None:
        """Store the vault's signature."""
        self._connection.execute(
            update(safe_destinations)
            .where(
                safe_destinations.c.account_id == account_id,
                safe_destinations.c.chain == chain,
                safe_destinations.c.active_from == active_from,
            )
            .values(signature=signature)
        )

    def rotation(self, account_id: AccountId) -> RotationRecord | None:
        """Read and lock the newest rotation."""
        row = self._connection.execute(
            select(rotations)
            .where(rotations.c.account_id == account_id)
            .order_by(rotations.c.id.desc())
            .limit(1)
            .with_for_update()
        ).first()
        if row is None:
            return None
        return RotationRecord(
            id=row.id,
            step_key=row.step_key,
            account_id=account_id,
            scope=row.scope,
            old_wallet_id=row.old_wallet_id,
            old_path=row.old_path,
            new_wallet_id=row.new_wallet_id,
            new_path=row.new_path,
            state=_ONCE_A_STATE.get(row.state, row.state),
            events=tuple((kind, dict(fields)) for kind, fields in row.events if kind != _ONCE_AN_EVENT),
        )

    def add_rotation(self, record: RotationRecord) -> None:
        """Insert a rotation."""
        self._connection.execute(
            insert(rotations).values(
                id=record.id,
                step_key=record.step_key,
                account_id=record.account_id,
                scope=record.scope,
                state=record.state,
                old_wallet_id=record.old_wallet_id,
                old_path=record.old_path,
                new_wallet_id=record.new_wallet_id,
                new_path=record.new_path,
                events=[list(e) for e in record.events],
                created_at=self._now,
                updated_at=self._now,
            )
        )

    def save_rotation(self, record: RotationRecord) -> None:
        """Write a rotation's progress."""
        self._connection.execute(
            update(rotations)
            .where(rotations.c.id == record.id)
            .values(state=record.state, events=[list(e) for e in record.events], updated_at=self._now)
        )

    def begin_sweep(self, account_id: AccountId, step_key: str, keys_of: str) -> str:
        """See the port."""
        row = {"account_id": account_id, "step_key": step_key, "keys_of": keys_of, "begun_at": self._now}
        self._connection.execute(upsert(sweep_steps).values(row).on_conflict_do_nothing())
        return self.begun_sweep(account_id, step_key) or keys_of

    def begun_sweep(self, account_id: AccountId, step_key: str) -> str | None:
        """See the port."""
        query = select(sweep_steps.c.keys_of).where(
            sweep_steps.c.account_id == account_id, sweep_steps.c.step_key == step_key
        )
        return self._connection.execute(query).scalar_one_or_none()

    def sweeps(self, account_id: AccountId) -> Sequence[SweepTransaction]:
        """List the account's sweep transactions."""
        query = select(sweeps).where(sweeps.c.account_id == account_id).order_by(sweeps.c.chain, sweeps.c.nonce)
        return [_sweep_of(row) for row in self._connection.execute(query)]

    def add_sweep(self, sweep: SweepTransaction) -> None:
        """Insert a signed sweep transaction."""
        values = {name: getattr(sweep, name) for name in SweepTransaction.__dataclass_fields__}
        values["state"] = sweep.state.value
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(sweeps).values(**values, created_at=self._now))
        except IntegrityError as error:
            taken = f"nonce {sweep.nonce} of {sweep.from_address} is taken by another sweep"
            raise ConflictError(taken) from error

    def set_sweep_state(self, sweep_id: str, state: SweepState) -> None:
        """Move a sweep transaction to another state."""
        self._connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(state=state.value))

    def guardian_gas(self, chain: str, since: datetime, *, besides: int) -> int:
        """See the port."""
        lately = guardian_gas.c.at.between(since, self._now + CLOCKS_APART)
        query = select(func.coalesce(func.sum(guardian_gas.c.gas), 0)).where(
            guardian_gas.c.chain == chain, lately, guardian_gas.c.nonce != besides
        )
        return int(self._connection.execute(query).scalar_one())

    def use_guardian_gas(self, chain: str, nonce: int, gas: int) -> None:
        """See the port."""
        made = upsert(guardian_gas).values(chain=chain, nonce=nonce, gas=gas, at=self._now)
        self._connection.execute(
            made.on_conflict_do_update(
                index_elements=["chain", "nonce"], set_={"gas": made.excluded.gas, "at": made.excluded.at}
            )
        )
