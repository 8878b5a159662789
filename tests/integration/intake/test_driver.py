"""What the server is told about intake's sessions: of TCP only where there is any, and nothing that it does not know."""

import asyncio

import asyncpg
import pytest

from service.store.driver import settings_for


@pytest.mark.parametrize("url", ["postgresql://api:x@db.example:5432/p", "postgresql:///p?host=db.example"])
def test_a_session_over_tcp_ends_soon_after_our_machine_is_gone(url: str) -> None:
    told = settings_for(url)
    silent_s = int(told["tcp_keepalives_idle"]) + int(told["tcp_keepalives_interval"]) * int(
        told["tcp_keepalives_count"]
    )
    assert silent_s <= 30
    assert int(told["tcp_user_timeout"]) <= 30_000


@pytest.mark.parametrize("url", ["postgresql:///p?host=/run/pg", "postgresql://api@%2Frun%2Fpg/p", "postgresql:///p"])
def test_a_unix_socket_needs_none(url: str) -> None:
    assert not [name for name in settings_for(url) if name.startswith("tcp")]


@pytest.mark.servers
def test_the_server_knows_every_setting(fresh_postgres_url: str) -> None:
    async def play() -> None:
        connection = await asyncpg.connect(fresh_postgres_url, server_settings=settings_for("postgresql://db/p"))
        assert await connection.fetchval("SHOW lock_timeout") == "10s"
        await connection.close()

    asyncio.run(play())
