"""Bitcoin wallets and prepared sweeps on PostgreSQL; implements `ports.store.bitcoin.BitcoinStore`."""

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from service.domain.bitcoin.descriptor import Descriptor
from service.domain.bitcoin.network import network_of
from service.domain.bitcoin.wallet import BitcoinWallet, CoinKept, PreparedSweep, WalletUse
from service.domain.errors import ConflictError
from service.domain.ids import AccountId
from service.store.tables.bitcoin import bitcoin_wallets, prepared_sweeps


class BitcoinRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def wallets(self, account_id: AccountId) -> Sequence[BitcoinWallet]:
        """See the port."""
        query = (
            select(bitcoin_wallets).where(bitcoin_wallets.c.account_id == account_id).order_by(bitcoin_wallets.c.number)
        )
        return [_wallet_of(row) for row in self._connection.execute(query)]

    def add(self, wallet: BitcoinWallet) -> None:
        """See the port."""
        values = {
            "account_id": wallet.account_id,
            "number": wallet.number,
            "chain": wallet.descriptor.network.chain,
            "descriptor": wallet.descriptor.text,
            "signers": dict(wallet.signers),
            "use": wallet.use.value,
            "step_key": wallet.step_key,
            "created_at": self._now,
        }
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(bitcoin_wallets).values(values))
        except IntegrityError as error:
            raise ConflictError(f"account {wallet.account_id} has its wallet {wallet.number} already") from error

    def set_use(self, account_id: AccountId, number: int, use: WalletUse) -> None:
        """See the port."""
        self._connection.execute(
            update(bitcoin_wallets)
            .where(bitcoin_wallets.c.account_id == account_id, bitcoin_wallets.c.number == number)
            .values(use=use.value)
        )

    def reach(self, account_id: AccountId, number: int, receive: int, change: int) -> None:
        """See the port."""
        columns = bitcoin_wallets.c
        self._connection.execute(
            update(bitcoin_wallets)
            .where(columns.account_id == account_id, columns.number == number)
            .values(receive=func.greatest(columns.receive, receive), change=func.greatest(columns.change, change))
        )

    def prepared(self, account_id: AccountId) -> PreparedSweep | None:
        """See the port."""
        query = select(prepared_sweeps).where(prepared_sweeps.c.account_id == account_id)
        row = self._connection.execute(query).first()
        return None if row is None else _prepared_of(row)

    def keep(self, sweep: PreparedSweep) -> None:
        """See the port."""
        values = {
            "wallet": sweep.wallet,
            "destination": sweep.to,
            "rate": sweep.rate,
            "tip": sweep.tip,
            "coins": msgspec.to_builtins(sweep.coins),
            "made_by": {name: raw.hex() for name, raw in sweep.made_by.items()},
            "psbts": [base64.b64encode(one).decode() for one in sweep.psbts],
            "made_at": sweep.made_at,
        }
        self._connection.execute(
            upsert(prepared_sweeps)
            .values(account_id=sweep.account_id, **values)
            .on_conflict_do_update(index_elements=["account_id"], set_=values)
        )

    def stale(self, limit: int, older_than_s: float) -> Sequence[AccountId]:
        """See the port."""
        query = (
            select(bitcoin_wallets.c.account_id)
            .outerjoin(prepared_sweeps, prepared_sweeps.c.account_id == bitcoin_wallets.c.account_id)
            .where(
                bitcoin_wallets.c.use == WalletUse.CURRENT.value,
                or_(
                    prepared_sweeps.c.made_at.is_(None),
                    prepared_sweeps.c.made_at < self._now - timedelta(seconds=older_than_s),
                ),
            )
            .order_by(prepared_sweeps.c.made_at.asc().nulls_first(), bitcoin_wallets.c.account_id)
            .limit(limit)
        )
        return [AccountId(row.account_id) for row in self._connection.execute(query)]


def _wallet_of(row: Row[Any]) -> BitcoinWallet:
    return BitcoinWallet(
        AccountId(row.account_id),
        row.number,
        Descriptor.parse(row.descriptor, network_of(row.chain)),
        {str(fingerprint): str(wallet) for fingerprint, wallet in row.signers.items()},
        WalletUse(row.use),
        row.step_key,
        (row.receive, row.change),
    )


def _prepared_of(row: Row[Any]) -> PreparedSweep:
    return PreparedSweep(
        account_id=AccountId(row.account_id),
        wallet=row.wallet,
        to=row.destination,
        rate=row.rate,
        tip=row.tip,
        coins=msgspec.convert(row.coins, tuple[CoinKept, ...]),
        made_by={name: bytes.fromhex(raw) for name, raw in row.made_by.items()},
        psbts=tuple(base64.b64decode(one) for one in row.psbts),
        made_at=row.made_at,
    )
