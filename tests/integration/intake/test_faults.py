import asyncio
from collections.abc import Sequence
from itertools import compress
from typing import Any

import psycopg
import pytest
from psycopg import sql

from rules.engine import Engine, Processed
from rules.errors import CapacityError
from rules.observation import Observation
from service.api import senders
from service.store.intake import PostgresTurn
from tests.support.intake import (
    TOKEN,
    World,
    add_account,
    encoded,
    running,
    signed,
    stand_still,
    verified,
    withdrawal,
)

pytestmark = pytest.mark.servers


async def send(world: World, number: int, **changes: object) -> int:
    body = encoded(withdrawal(number, **changes))
    answer = await world.client.post("/webhooks/std", content=body, headers=signed(f"m-{number}", body))
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
    return answer.status_code


def test_one_event_that_breaks_scoring_does_not_sink_the_others(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Engine.process_all

    def process_all(self: Engine, told: Sequence[Observation], history: Sequence[bool]) -> list[Processed]:
        if any(one.transaction == "std/tx-7" for one in told):
            raise RuntimeError("broken")
        return genuine(self, told, history)

    monkeypatch.setattr(Engine, "process_all", process_all)

    async def play() -> None:
        async with running(url) as world:
            statuses = await asyncio.gather(*(send(world, i) for i in range(20)))
            assert [i for i, status in enumerate(statuses) if status != 200] == [7]
            assert statuses[7] == 503
            assert world.count("activities") == 19

    asyncio.run(play())
    monkeypatch.undo()
    assert verified(url).differences == ()


def test_an_account_without_room_is_refused_alone_and_the_engine_stays(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_account(url, "std", "one-too-many")
    genuine, build = Engine.process_all, Engine.__init__
    built: list[int] = []

    def process_all(self: Engine, told: Sequence[Observation], history: Sequence[bool]) -> list[Processed]:
        full = CapacityError("already 1 accounts: raise max_accounts or remove accounts")
        held = [one.account != "std/one-too-many" for one in told]
        found = iter(genuine(self, list(compress(told, held)), list(compress(history, held))))
        return [next(found) if room else full for room in held]

    def counted(self: Engine, *arguments: Any, **named: Any) -> None:
        built.append(1)
        build(self, *arguments, **named)

    monkeypatch.setattr(Engine, "process_all", process_all)
    monkeypatch.setattr(Engine, "__init__", counted)

    async def play() -> None:
        async with running(url) as world:
            changes = [{"account": "one-too-many"} if i == 7 else {} for i in range(20)]
            statuses = await asyncio.gather(*(send(world, i, **told) for i, told in enumerate(changes)))
            assert [i for i, status in enumerate(statuses) if status != 200] == [7]
            assert statuses[7] == 503
            assert world.count("activities") == 19
            assert world.rows("SELECT ref FROM accounts WHERE live_since IS NOT NULL") == [{"ref": "hot-1"}]

    asyncio.run(play())
    assert len(built) == 1
    monkeypatch.undo()
    assert verified(url).differences == ()


def test_a_database_that_is_gone_is_a_503_and_nothing_is_lost_when_it_is_back(url: str) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    server = psycopg.conninfo.make_conninfo(url, dbname="postgres")

    def allow(*, connections: bool) -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                    sql.Identifier(name), sql.SQL("true" if connections else "false")
                )
            )
            if not connections:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    async def play() -> None:
        async with running(url) as world:
            assert await send(world, 1) == 200
            allow(connections=False)
            try:
                assert await asyncio.gather(*(send(world, i) for i in range(2, 6))) == [503] * 4
            finally:
                allow(connections=True)
            assert await asyncio.gather(*(send(world, i) for i in range(2, 6))) == [200] * 4
            assert world.count("activities") == 5

    asyncio.run(play())
    assert verified(url).differences == ()


def test_a_full_disk_is_a_503_and_the_engine_is_not_ahead(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            assert await send(world, 1) == 200
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
                    " $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$"
                )
                connection.execute(
                    "CREATE TRIGGER full_disk BEFORE INSERT ON learning FOR EACH ROW EXECUTE FUNCTION full_disk()"
                )
                assert await send(world, 2) == 503
                connection.execute("DROP TRIGGER full_disk ON learning")
            assert await send(world, 2) == 200
            assert world.count("activities") == 2

    asyncio.run(play())
    assert verified(url).differences == ()


def test_a_connection_that_sends_too_fast_is_slowed_and_a_paused_one_waits(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_still(monkeypatch)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('UPDATE connections SET config = \'{"rate_per_s": "0.5"}\'')

    async def play() -> None:
        async with running(url) as world:
            assert [await send(world, i) for i in range(2)] == [200, 429]

    asyncio.run(play())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE connections SET state = 'paused'")

    async def paused() -> None:
        async with running(url) as world:
            assert await send(world, 5) == 503

    asyncio.run(paused())


def test_forged_deliveries_use_up_nobody_s_rate_and_are_braked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "UNVERIFIED_LIMIT", 3)
    stand_still(monkeypatch)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('UPDATE connections SET config = \'{"rate_per_s": "0.5"}\'')

    async def forge(world: World, times: int) -> list[int]:
        return [(await world.client.post("/webhooks/std", content=b"{}")).status_code for _ in range(times)]

    async def genuine_after_some() -> None:
        async with running(url) as world:
            assert await forge(world, 2) == [401, 401]
            assert await send(world, 1) == 200
            assert await forge(world, 4) == [401] * 4

    async def forged_alone() -> None:
        async with running(url) as world:
            assert await forge(world, 5) == [401, 401, 401, 429, 429]
            assert await send(world, 2) == 429

    asyncio.run(genuine_after_some())
    asyncio.run(forged_alone())


def test_a_secret_of_the_wrong_form_is_our_fault_and_named(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE connection_secrets SET sealed = 'whsec_short'")

    async def play() -> None:
        async with running(url) as world:
            answer = await world.client.post("/webhooks/std", content=b"{}")
            assert answer.status_code == 500
            assert answer.json()["field"] == "webhook_secret"

    asyncio.run(play())


def test_a_question_whose_holds_cannot_be_looked_up_is_held_and_stored(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: PostgresTurn, asked: object) -> Any:
        raise OSError("gone")

    async def play() -> None:
        async with running(url) as world:
            for number in range(40):
                assert await send(world, number) == 200
            question = encoded(withdrawal(50) | {"id": "q-1", "deadline_ms": 25_000})
            ask: Any = {"content": question, "headers": {"authorization": f"Bearer {TOKEN}"}}
            with monkeypatch.context() as broken:
                broken.setattr(PostgresTurn, "standing", away)
                held = await world.client.post("/v1/decisions", **ask)
                assert await send(world, 51) == 200
            again = await world.client.post("/v1/decisions", **ask)
            assert (held.json()["decision"], again.json()["decision"]) == ("hold", "approve")
            assert world.count("decisions") == 1

    asyncio.run(play())
    assert verified(url).differences == ()
