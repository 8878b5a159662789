"""The holds of our gate before signing; implements `ports.custody.GateHolds`.

Suspending an account where the gate is ours means a row here: the gate answers "not now" as long as it stands.
"""

from collections.abc import Sequence

from sqlalchemy import select

from service.domain.account import AccountRef
from service.domain.errors import UnavailableError
from service.domain.ids import ConnectionId
from service.domain.plan import Receipt, Verdict
from service.ports.custody import PendingTransfer
from service.store.database import SqlDatabase
from service.store.tables.activity import transactions

_BEFORE_CHAIN = ("requested", "approved")
_MOST = 1_000


class SqlGateHolds:
    """See the port."""

    def __init__(self, db: SqlDatabase) -> None:
        self._db = db

    def place(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        """See the port."""
        with self._db.begin() as uow:
            return Receipt(uow.plans.place_hold(connection, scope, value, key=key), {"scope": scope})

    def release(self, connection: ConnectionId, scope: str, value: str, *, key: str) -> Receipt:
        """See the port."""
        with self._db.begin() as uow:
            return Receipt(key, {"released": uow.plans.release_holds(connection, scope, value, key=key)})

    def held(self, connection: ConnectionId, scope: str, value: str) -> Verdict:
        """See the port."""
        try:
            with self._db.begin() as uow:
                return Verdict.HOLDS if uow.plans.held(connection, scope, value) else Verdict.DOES_NOT_HOLD
        except UnavailableError:
            return Verdict.CANNOT_TELL

    def known_pending(self, account: AccountRef) -> Sequence[PendingTransfer]:
        """See the port."""
        query = (
            select(transactions)
            .where(
                transactions.c.connection_id == account.connection,
                transactions.c.account == account.ref,
                transactions.c.state.in_(_BEFORE_CHAIN),
            )
            .order_by(transactions.c.updated_at.desc())
            .limit(_MOST)
        )
        with self._db.begin() as uow:
            rows = uow.connection.execute(query).all()
        return [PendingTransfer(row.ref, account.ref, row.destination, row.amount_usd, row.state) for row in rows]
