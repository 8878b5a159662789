"""What platforms were asked for and brought, as the API takes it in: on its asyncpg pool, which no worker loads."""

from collections.abc import Sequence
from typing import Any, Final

from service.ports.store.polling import WaitingEvent
from service.store.driver import unavailable

_WAITING: Final = """SELECT id, connection_id, event_id, event_type, activity, raw, received_at FROM polled_events
WHERE taken_at IS NULL AND id > $2 ORDER BY id LIMIT $1"""


class PostgresPolledStore:
    """See the port; on the API's asyncpg pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def waiting(self, limit: int, after: int) -> Sequence[WaitingEvent]:
        """See the port."""
        with unavailable():
            return [WaitingEvent(*row) for row in await self._pool.fetch(_WAITING, limit, after)]

    async def taken(self, ids: Sequence[int]) -> None:
        """See the port."""
        with unavailable():
            await self._pool.execute("UPDATE polled_events SET taken_at = now() WHERE id = ANY($1::int8[])", list(ids))
