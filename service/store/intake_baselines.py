"""The stored baselines on asyncpg; implements `ports.store.baselines`.

Rules: whoever writes a snapshot holds the row of `baseline_snapshot` for as long as that takes, and moves it on in the
same transaction that writes the records. So a snapshot that was broken off leaves the one before, whole; a reader in one
REPEATABLE READ transaction sees records and number of one moment; and an older process finds that it is too late.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from rules.engine import ENGINE_VERSION
from rules.learning import LearningRecord, StateChange
from service.domain.forensics.labels import LabelKind
from service.domain.listed import WATCHED, Labelled
from service.store.driver import borrowed, unavailable

AT_ONCE: Final = 200
"""Records in one statement: about 400 kB, encoded within a millisecond or two."""
PAUSE_S: Final = 0.02
"""Between statements of a gentle save."""
_PREFETCH: Final = 500
_LABELLED: Final = """
SELECT a.address, a.kind, l.listed_on, l.source, a.name FROM unnest($1::text[]) WITH ORDINALITY AS w(id, place)
JOIN address_lists l ON l.id = w.id JOIN address_labels a ON a.list_id = l.id AND a.kind = ANY($2::text[]) ORDER BY w.place
"""
_UPSERT: Final = """
INSERT INTO baselines (entity, kind, seq, state)
SELECT entity, kind, $4::int8, state FROM unnest($1::text[], $2::int2[], $3::bytea[]) AS t(entity, kind, state)
ON CONFLICT (entity, kind) DO UPDATE SET seq = excluded.seq, state = excluded.state
"""


def records(rows: Sequence[Any]) -> Sequence[LearningRecord]:
    """Rows of `learning` as the engine takes them."""
    return [
        LearningRecord(r["seq"], r["kind"], r["operation"], r["payload"], r["engine_version"], r["settings_digest"])
        for r in rows
    ]


class PostgresBaselineStore:
    """See the port."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @asynccontextmanager
    async def view(self) -> AsyncIterator["PostgresBaselineView"]:
        """See the port."""
        with unavailable():
            async with (
                borrowed(self._pool) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                row = await connection.fetchrow(
                    "SELECT seq, engine_version, (SELECT coalesce(max(seq), 0) FROM learning) AS last,"
                    " (SELECT payload FROM learning l WHERE l.seq = s.seq) AS head FROM baseline_snapshot s"
                )
                yield PostgresBaselineView(connection, row)

    async def rows_after(self, seq: int, limit: int) -> Sequence[LearningRecord]:
        """See the port."""
        with unavailable():
            found = await self._pool.fetch("SELECT * FROM learning WHERE seq > $1 ORDER BY seq LIMIT $2", seq, limit)
        return records(found)

    async def labelled(self, lists: Sequence[str]) -> AsyncIterator[Sequence[Labelled]]:
        """See the port."""
        kinds = sorted(kind.value for kind in WATCHED)
        with unavailable():
            async with borrowed(self._pool) as connection, connection.transaction(readonly=True):
                cursor = await connection.cursor(_LABELLED, list(lists), kinds)
                while rows := await cursor.fetch(_PREFETCH):
                    yield [
                        Labelled(r["address"], LabelKind(r["kind"]), r["listed_on"].isoformat(), r["source"], r["name"])
                        for r in rows
                    ]

    async def save(self, changes: Iterable[StateChange], stored: int, seq: int, *, gently: bool) -> int | None:
        """See the port."""
        with unavailable():
            async with borrowed(self._pool) as connection, connection.transaction():
                found = await connection.fetchval("SELECT seq FROM baseline_snapshot FOR UPDATE SKIP LOCKED")
                if found is None or found != stored or seq <= found:
                    return None if found is None else int(found)
                if not await connection.fetchval("SELECT EXISTS (SELECT FROM learning WHERE seq = $1)", seq):
                    return int(found)  # the database was set back: rows of this engine are lost
                waiting = iter(changes)
                while part := list(islice(waiting, AT_ONCE)):
                    await connection.execute(
                        _UPSERT, [c.entity for c in part], [int(c.kind) for c in part], [c.state for c in part], seq
                    )
                    await asyncio.sleep(PAUSE_S if gently else 0)
                await connection.execute(
                    "UPDATE baseline_snapshot SET seq = $1, engine_version = $2, at = $3",
                    seq,
                    ENGINE_VERSION,
                    datetime.now(UTC),
                )
        return seq


class PostgresBaselineView:
    """See the port."""

    def __init__(self, connection: Any, row: Any) -> None:
        self._connection = connection
        self.seq: int = row["seq"]
        self.engine_version: str = row["engine_version"]
        self.last: int = row["last"]
        self.head: bytes | None = row["head"]

    async def control_rows(self, up_to: int | None = None) -> Mapping[str, bytes]:
        """See the port."""
        rows = await self._connection.fetch(
            "SELECT DISTINCT ON (kind) kind, payload FROM learning WHERE kind IN ('settings', 'rules', 'lists')"
            " ORDER BY kind, CASE WHEN seq <= coalesce($1, seq) THEN -seq END NULLS LAST, seq",
            up_to,
        )
        return {row["kind"]: row["payload"] for row in rows}

    async def changes(self) -> AsyncIterator[StateChange]:
        """See the port."""
        query = "SELECT entity, kind, state FROM baselines"
        async for row in self._connection.cursor(query, prefetch=_PREFETCH):
            yield StateChange(row["kind"], row["entity"], row["state"])

    async def rows(self) -> AsyncIterator[LearningRecord]:
        """See the port."""
        query = "SELECT * FROM learning WHERE seq > $1 ORDER BY seq"
        async for row in self._connection.cursor(query, self.seq, prefetch=_PREFETCH):
            yield records((row,))[0]
