"""Intake's group commit on asyncpg; implements `ports.store.intake`.

Rules: the advisory lock is the first statement of a batch, and its own statement, so that everything read afterwards sees
what the previous holder committed (READ COMMITTED takes a snapshot per statement). A database that is gone, full, read-only
or too slow is UnavailableError: nothing was stored, and the sender will send again.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg

from rules.learning import LearningRecord, StateChange
from service.domain.activity import Activity
from service.domain.errors import UnavailableError
from service.domain.events import Event
from service.domain.ids import ActivityId
from service.domain.intake import (
    AccountKey,
    EventKey,
    GateDecision,
    Judged,
    KnownAccount,
    LearningRequest,
    Standing,
    Status,
    StoredDecision,
    StoredEvent,
    TransactionKey,
    TransactionState,
)
from service.domain.secrets import Secret
from service.domain.timeline import Entry
from service.ports.store.intake import Writes
from service.store.intake_writes import write_all
from service.store.recording import announce

LOCK: Final = "portcullis/intake"
MAX_REQUESTS: Final = 500
_RETRY_S: Final = 2.0
_FETCH: Final = 500

_OURS: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn the driver's errors that are our own fault into UnavailableError."""
    try:
        yield
    except _OURS as error:
        raise UnavailableError(
            f"the database did not take it ({type(error).__name__}): nothing was stored, send it again",
            retry_after_s=_RETRY_S,
        ) from error


async def connect(url: Secret, *, size: int = 4) -> "PostgresIntakeStore":
    """Open the pool. Raises UnavailableError when the database is not there."""
    with unavailable():
        pool = await asyncpg.create_pool(
            url.reveal(),
            min_size=1,
            max_size=size,
            timeout=5,
            command_timeout=20,
            server_settings={"timezone": "UTC", "lock_timeout": "10000", "application_name": "portcullis intake"},
        )
    return PostgresIntakeStore(pool)


class PostgresIntakeStore:
    """See the port; `pool` is for other readers on the hot path."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    async def close(self) -> None:
        """Close the pool."""
        await self.pool.close()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator["PostgresIntakeTransaction"]:
        """See the port."""
        with unavailable():
            async with self.pool.acquire(timeout=5) as connection, connection.transaction():
                transaction = PostgresIntakeTransaction(connection)
                yield transaction
        for entry, _, trace_id in transaction.written:
            announce([entry], trace_id=trace_id)

    async def standing(self, activity: Activity, activity_id: ActivityId) -> Standing:
        """See the port."""
        with unavailable():
            row = await self.pool.fetchrow(
                """
                WITH cleared AS (
                  SELECT c.* FROM transactions t JOIN approvals p ON p.id = t.cleared_by
                  JOIN activities c ON c.id = p.document::jsonb #>> '{what,0,target,value}'
                  WHERE t.connection_id = $1 AND t.ref = $4 AND t.state NOT IN ('failed', 'cancelled')
                )
                SELECT EXISTS (SELECT FROM gate_holds WHERE connection_id = $1 AND released_at IS NULL AND (
                         scope = 'connection' OR (scope = 'account' AND value = $2) OR (scope = 'destination' AND value = $3)
                       )) AS held,
                       EXISTS (SELECT FROM cleared c WHERE c.id = $5) AS cleared,
                       EXISTS (SELECT FROM cleared c JOIN activities q ON q.id = $5 AND q.status = 'repeated' AND
                         (q.account, q.asset, q.destination, q.amount_base_units) IS NOT DISTINCT FROM
                         (c.account, c.asset, c.destination, c.amount_base_units)) AS alike
                """,
                activity.connection, activity.account, activity.destination, activity.transaction, activity_id,
            )  # fmt: skip
        return Standing(row["held"], row["cleared"], row["alike"])

    async def let_pass(self, connection: str, request_id: str) -> None:
        """See the port."""
        with unavailable():
            await self.pool.execute(
                "UPDATE decisions SET decision = 'approve'"
                " WHERE connection_id = $1 AND request_id = $2 AND decision = 'hold'",
                connection,
                request_id,
            )


class PostgresIntakeTransaction:
    """See the port."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.written: list[tuple[Entry, Sequence[Event], str | None]] = []

    async def lock(self) -> int:
        """See the port."""
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", LOCK)
        return int(await self._connection.fetchval("SELECT coalesce(max(seq), 0) FROM learning"))

    async def control_rows(self) -> Mapping[str, bytes]:
        """See the port."""
        rows = await self._connection.fetch(
            "SELECT DISTINCT ON (kind) kind, payload FROM learning WHERE kind IN ('settings', 'rules')"
            " ORDER BY kind, seq DESC"
        )
        return {row["kind"]: row["payload"] for row in rows}

    async def baselines(self) -> AsyncIterator[StateChange]:
        """See the port."""
        query = "SELECT entity, kind, state FROM baselines ORDER BY kind, entity"
        async for row in self._connection.cursor(query, prefetch=_FETCH):
            yield StateChange(row["kind"], row["entity"], row["state"])

    async def rows_after(self, seq: int) -> Sequence[LearningRecord]:
        """See the port."""
        rows = await self._connection.fetch("SELECT * FROM learning WHERE seq > $1 ORDER BY seq", seq)
        return [
            LearningRecord(r["seq"], r["kind"], r["operation"], r["payload"], r["engine_version"], r["settings_digest"])
            for r in rows
        ]

    async def requests(self) -> Sequence[LearningRequest]:
        """See the port."""
        rows = await self._connection.fetch(
            "SELECT id, kind, subject, payload FROM learning_requests WHERE seq IS NULL ORDER BY id LIMIT $1",
            MAX_REQUESTS,
        )
        return [LearningRequest(*row) for row in rows]

    async def events(self, keys: Sequence[EventKey]) -> Mapping[EventKey, StoredEvent]:
        """See the port."""
        rows = await self._pairs(
            "SELECT a.* FROM activities a JOIN unnest($1::text[], $2::text[]) AS k(c, e)"
            " ON a.connection_id = k.c AND a.event_id = k.e",
            keys,
        )
        return {
            EventKey(r["connection_id"], r["event_id"]): StoredEvent(
                ActivityId(r["id"]), r["body_digest"], Status(r["status"]), _judged(r)
            )
            for r in rows
        }

    async def accounts(self, keys: Sequence[AccountKey]) -> Mapping[AccountKey, KnownAccount]:
        """See the port."""
        rows = await self._pairs(
            "SELECT connection_id, ref, peer_group, live_since FROM accounts JOIN unnest($1::text[], $2::text[]) AS k(c, r)"
            " ON connection_id = k.c AND ref = k.r",
            keys,
        )
        return {
            AccountKey(r["connection_id"], r["ref"]): KnownAccount(r["peer_group"], r["live_since"] is not None)
            for r in rows
        }

    async def live_connections(self, connections: Sequence[str]) -> frozenset[str]:
        """See the port."""
        rows = await self._connection.fetch(
            "SELECT DISTINCT connection_id FROM accounts WHERE connection_id = ANY($1::text[]) AND live_since IS NOT NULL",
            list(connections),
        )
        return frozenset(row["connection_id"] for row in rows)

    async def transactions(self, keys: Sequence[TransactionKey]) -> Mapping[TransactionKey, TransactionState]:
        """See the port."""
        rows = await self._pairs(
            "SELECT t.* FROM transactions t JOIN unnest($1::text[], $2::text[]) AS k(c, r)"
            " ON t.connection_id = k.c AND t.ref = k.r",
            keys,
        )
        return {TransactionKey(r["connection_id"], r["ref"]): _transaction(r) for r in rows}

    async def decisions(self, keys: Sequence[EventKey]) -> Mapping[EventKey, StoredDecision]:
        """See the port."""
        rows = await self._pairs(
            "SELECT connection_id, request_id, id, decision FROM decisions JOIN unnest($1::text[], $2::text[]) AS k(c, r)"
            " ON connection_id = k.c AND request_id = k.r",
            keys,
        )
        return {
            EventKey(r["connection_id"], r["request_id"]): StoredDecision(r["id"], GateDecision(r["decision"]))
            for r in rows
        }

    async def standing_alerts(self, dedup_keys: Sequence[str], since: datetime) -> Mapping[str, str]:
        """See the port."""
        rows = await self._connection.fetch(
            "SELECT DISTINCT ON (dedup_key) dedup_key, id FROM alerts WHERE dedup_key = ANY($1::text[]) AND last_at >= $2"
            " ORDER BY dedup_key, last_at DESC",
            list(dedup_keys),
            since,
        )
        return {row["dedup_key"]: row["id"] for row in rows}

    async def write(self, writes: Writes) -> None:
        """See the port."""
        await write_all(self._connection, writes)
        self.written.extend(writes.entries)

    async def _pairs(self, query: str, keys: Sequence[tuple[str, str]]) -> Sequence[Any]:
        if not keys:
            return []
        rows: Sequence[Any] = await self._connection.fetch(query, [k[0] for k in keys], [k[1] for k in keys])
        return rows


def _judged(row: Any) -> Judged | None:
    if row["decision"] is None:
        return None
    return Judged(row["decision"], row["score"], row["p_value"], row["history"], row["reasons"])


def _transaction(row: Any) -> TransactionState:
    amount = row["amount_base_units"]
    return TransactionState(
        activity_id=ActivityId(row["activity_id"]),
        account=row["account"],
        asset=row["asset"],
        destination=row["destination"],
        amount_base_units=None if amount is None else int(amount),
        amount_usd=row["amount_usd"],
        payload_digest=row["payload_digest"],
        state=row["state"],
        decision=row["decision"],
    )
