"""Nothing is kept of names that strangers make up."""

import asyncio

import pytest

from service.api.connections import Connections
from service.domain.errors import NotFoundError, UnavailableError
from service.store.connections import StoredConnection


def test_what_cannot_be_looked_up_leaves_nothing_behind() -> None:
    away = True

    async def load(_name: str) -> StoredConnection | None:
        await asyncio.sleep(0)
        if away:
            raise UnavailableError("the database is away", retry_after_s=1)
        return None

    connections = Connections(load, lambda sealed, _aad: sealed, {})

    async def play() -> None:
        nonlocal away
        for error in (UnavailableError, NotFoundError):
            asked = [connections.get(f"made-up-{number % 7}") for number in range(50)]
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(one) for one in found} == {error}
            assert not connections._looking
            away = False
        with pytest.raises(NotFoundError):
            await connections.get("made-up-1")

    asyncio.run(play())
