"""What an API process does before it listens leaves nothing behind: no row, and the turn is free."""

import asyncio

import psycopg
import pytest

from service.domain.secrets import Secret
from service.store.grants import API
from service.store.intake import connect
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers

SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'portcullis intake' AND datname = current_database()"
)


def pids(url: str) -> set[tuple[int]]:
    with psycopg.connect(url) as connection:
        return set(connection.execute(SESSIONS).fetchall())


def test_the_connections_of_the_first_batch_are_there_and_nothing_else(fresh_postgres_url: str) -> None:
    url = fresh_postgres_url

    async def play() -> None:
        secret = Secret(url_of_role(url, API))
        store, other = await connect(secret, size=1), await connect(secret, size=1)
        await store.warm()
        before = await asyncio.to_thread(pids, url)
        await store.warm()
        assert await asyncio.to_thread(pids, url) == before
        await asyncio.wait_for(other.warm(), timeout=60)  # the turn is free
        await other.close()
        with psycopg.connect(url) as connection:
            for table in ("activities", "learning", "audit_entries", "outbox", "transactions"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608  one of the names above
        await store.close()

    asyncio.run(play())
