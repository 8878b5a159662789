"""Intake's turns and its group commit on asyncpg; implements `ports.store.intake`.

Rules: the turn is a session's advisory lock on a connection of its own. A process keeps it from batch to batch while work
waits, so that a batch costs two round trips, and gives it up when it has nothing to do or another process asks: whoever
waits holds a second lock shared, which every write tries. Locks are queued, so nobody is overtaken twice. Reading begins
after the lock is held and sees all that the previous holder committed (READ COMMITTED takes a snapshot per statement).
Whatever goes wrong during a turn, its connection is dropped, and with it the lock and all that was not committed.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from rules.learning import LearningRecord
from service.domain.activity import Activity
from service.domain.ids import ActivityId
from service.domain.intake import AccountKey, Standing
from service.domain.observing import places_of
from service.domain.places import address_of
from service.domain.secrets import Secret
from service.ports.store.intake import Ahead, Asked, Facts, Writes
from service.store.driver import TIMEOUT_S, open_connection, open_pool, unavailable
from service.store.intake_baselines import PostgresBaselineStore, records
from service.store.intake_facts import FactReader
from service.store.intake_writes import write_all
from service.store.recording import announce

LOCK: Final = int.from_bytes(b"intake\0\1")
"""Who holds it may add to the sequence."""
_ROUNDS: Final = count(1)
"""Numbers every time that a turn begins, over all connections of this process."""
WANTED_LOCK: Final = int.from_bytes(b"intake\0\2")
"""Who waits for the turn holds it shared meanwhile."""


async def connect(url: Secret, *, size: int = 4) -> "PostgresIntakeStore":
    """Open the pool. Raises UnavailableError when the database is not there."""
    return PostgresIntakeStore(await open_pool(url, size=size), url)


_STANDING: Final = """
WITH p AS MATERIALIZED (SELECT * FROM unnest($6::int8[], $7::text[]) AS p(number, place))
SELECT EXISTS (SELECT FROM gate_holds h WHERE h.connection_id = q.connection AND h.released_at IS NULL AND (
         h.scope = 'connection' OR (h.scope = 'account' AND h.value = q.account)
         OR (h.scope = 'destination' AND EXISTS (SELECT FROM p WHERE p.number = q.number AND p.place = h.place)))) AS held,
       coalesce(c.id = q.id, false) AS cleared,
       coalesce(EXISTS (SELECT FROM activities a WHERE a.id = q.id AND a.status = 'repeated' AND
         (a.account, a.asset, a.destination, a.amount_base_units) IS NOT DISTINCT FROM
         (c.account, c.asset, c.destination, c.amount_base_units)) AND c.id IS NOT NULL, false) AS alike
FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::text[]) AS q(number, connection, account, ref, id)
LEFT JOIN LATERAL (SELECT a.* FROM transactions t JOIN approvals p ON p.id = t.cleared_by
  JOIN activities a ON a.id = p.document::jsonb #>> '{what,0,target,value}'
  WHERE t.connection_id = q.connection AND t.ref = q.ref AND t.state NOT IN ('failed', 'cancelled') LIMIT 1) c ON true
ORDER BY q.number
"""


_STANDING_ALERTS: Final = """
SELECT DISTINCT ON (a.dedup_key) a.dedup_key, a.id FROM alerts a LEFT JOIN incidents i ON i.id = a.incident_id
WHERE a.dedup_key = ANY($1::text[]) AND a.last_at >= $2 AND i.state IS DISTINCT FROM 'closed'
  AND NOT EXISTS (SELECT FROM steps s JOIN plans p ON p.id = s.plan_id WHERE s.incident_id = a.incident_id
    AND s.effect = 'loosens' AND s.state NOT IN ('refused', 'expired') AND p.alerts >= a.place)
ORDER BY a.dedup_key, a.last_at DESC
"""


class PostgresIntakeStore:
    """See the port; `pool` is for other readers on the hot path. For one event loop, and one batch at a time."""

    def __init__(self, pool: Any, url: Secret) -> None:
        self.pool = pool
        self.baselines = PostgresBaselineStore(pool)
        self._url = url
        self._turn: PostgresTurn | None = None

    async def close(self) -> None:
        """Give up the turn and close every connection."""
        self._drop()
        await self.pool.close()

    async def warm(self) -> None:
        """Do what the first batch would wait for: open its connections, have its statements planned; stores nothing.

        Waits for the turn. Raises UnavailableError.
        """
        async with self.turn() as turn:
            await turn.facts(Asked())
            await turn.write(Writes(datetime.now(UTC)))
            await turn.look_ahead(Asked())
            await turn.look_ahead(Asked(questions=[("", "")]))  # of which everything is asked at once
        await self.rest(idle=True)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["PostgresTurn"]:
        """See the port."""
        with unavailable():
            try:
                if self._turn is not None and self._turn.connection.is_closed():
                    self._drop()
                if self._turn is None:
                    # With a reader that remembers nothing: another connection may lead to a database that was set back.
                    self._turn = PostgresTurn(await open_connection(self._url), FactReader(), self._url)
                await self._turn.take()
                yield self._turn
            except BaseException:
                self._drop()
                raise

    async def rest(self, *, idle: bool) -> None:
        """See the port."""
        turn = self._turn
        if turn is None or not turn.held or not (idle or turn.wanted):
            return
        with unavailable():
            try:
                await turn.give_up()
            except BaseException:
                self._drop()
                raise

    def _drop(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.terminate()

    async def let_pass(self, connection: str, request_id: str) -> None:
        """See the port."""
        with unavailable():
            await self.pool.execute(
                "UPDATE decisions SET decision = 'approve'"
                " WHERE connection_id = $1 AND request_id = $2 AND decision = 'hold'",
                connection,
                request_id,
            )


class PostgresTurn:
    """See the port. `held`: this session has the lock. `wanted`: another process waited for it at the last write."""

    def __init__(self, connection: Any, reader: FactReader, url: Secret) -> None:
        self.connection = connection
        self.held = False
        self.wanted = False
        self._reader = reader
        self._url = url
        self._beside: Any = None
        """A connection for looking ahead, once that was asked for."""
        self._round = 0
        self._went_live: set[AccountKey] = set()

    def terminate(self) -> None:
        """Drop both connections, and with them the turn."""
        for connection in (self.connection, self._beside):
            if connection is not None:
                connection.terminate()

    async def take(self) -> None:
        """Wait for the lock, unless it is held."""
        if self.held:
            return
        if not await self.connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            await self.connection.execute(
                "SELECT pg_advisory_lock_shared($2), pg_advisory_lock($1), pg_advisory_unlock_shared($2)",
                LOCK,
                WANTED_LOCK,
                timeout=TIMEOUT_S * 3,
            )
        self.held, self.wanted = True, False
        self._round = next(_ROUNDS)

    async def give_up(self) -> None:
        """Let others take the lock."""
        await self.connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
        self.held = False

    async def facts(self, asked: Asked) -> Facts:
        """See the port."""
        return await self._reader.read(self.connection, asked)

    async def look_ahead(self, asked: Asked) -> Ahead | None:
        """See the port."""
        if self.wanted:
            return None
        if self._beside is None or self._beside.is_closed():
            self._beside = await open_connection(self._url)
        try:
            facts, requested = await self._reader.look_up(self._beside, asked)
        except BaseException:
            self._beside.terminate()
            raise
        return Ahead(facts, requested, self._round)

    async def looked_up(self, ahead: Ahead) -> Facts | None:
        """See the port."""
        if ahead.round != self._round:
            return None
        # What was remembered while the last batch was written may not have known which accounts it took live.
        self._reader.went_live(self._went_live)
        ahead.facts.requests = await self._reader.requests(self.connection) if ahead.requested else ()
        return ahead.facts

    async def rows_after(self, seq: int, limit: int) -> Sequence[LearningRecord]:
        """See the port."""
        query = "SELECT * FROM learning WHERE seq > $1 ORDER BY seq LIMIT $2"
        return records(await self.connection.fetch(query, seq, limit))

    async def standing_alerts(self, dedup_keys: Sequence[str], since: datetime) -> Mapping[str, str]:
        """See the port."""
        rows = await self.connection.fetch(_STANDING_ALERTS, list(dedup_keys), since)
        return {row["dedup_key"]: row["id"] for row in rows}

    async def write(self, writes: Writes) -> None:
        """See the port."""
        self.wanted = await write_all(self.connection, writes, WANTED_LOCK)
        self._went_live = writes.went_live
        self._reader.went_live(self._went_live)
        for entry, _, trace_id in writes.entries:
            announce([entry], trace_id=trace_id)

    async def standing(self, asked: Sequence[tuple[Activity, ActivityId]]) -> Sequence[Standing]:
        """See the port."""
        told = [(number, a.connection, a.account, a.transaction, id_) for number, (a, id_) in enumerate(asked)]
        places = [(number, address_of(one)) for number, (a, _) in enumerate(asked) for one in places_of(a)]
        columns = (*zip(*told, strict=True), *(zip(*places, strict=True) if places else ((), ())))
        rows = await self.connection.fetch(_STANDING, *(list(column) for column in columns))
        return [Standing(row["held"], row["cleared"], row["alike"]) for row in rows]
