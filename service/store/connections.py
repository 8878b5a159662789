"""Connections with their sealed inbound secrets, for the intake's hot path on asyncpg."""

import json
from dataclasses import dataclass
from typing import Any

from service.store.driver import unavailable


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """One connection as stored; `sealed` holds the secrets that the API process may open, by name."""

    id: str
    platform: str
    settings: dict[str, str]
    state: str
    version: int
    sealed: dict[str, bytes]


async def load_connection(pool: Any, connection_id: str) -> StoredConnection | None:
    """Return a connection, or None when there is none. Raises UnavailableError."""
    with unavailable():
        row = await pool.fetchrow(
            "SELECT id, platform, config, state, version FROM connections WHERE id = $1", connection_id
        )
        if row is None:
            return None
        sealed = await pool.fetch(
            "SELECT name, sealed FROM connection_secrets WHERE connection_id = $1 AND opened_by = 'api' ORDER BY name",
            connection_id,
        )
    settings = {name: str(value) for name, value in json.loads(row["config"]).items()}
    secrets = {found["name"]: found["sealed"] for found in sealed}
    return StoredConnection(row["id"], row["platform"], settings, row["state"], row["version"], secrets)
