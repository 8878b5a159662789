"""Baselines are one snapshot at a sequence number: whatever breaks, what is stored follows from the sequence."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import psycopg
import pytest

from rules.engine import Engine
from rules.learning import StateChange
from service.domain.errors import ConfigurationError
from service.domain.secrets import Secret
from service.flow.intake import snapshots
from service.flow.intake.keeper import EngineKeeper
from service.flow.intake.snapshots import Snapshots
from service.store import intake_baselines
from service.store.grants import API
from service.store.intake import connect
from tests.support.intake import (
    DETECTORS,
    World,
    encoded,
    running,
    seed,
    signed,
    verified,
    withdrawal,
)
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers
FULL_FOR_THE_POPULATION = (
    """CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.entity = 'population' THEN
    RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END IF; RETURN new; END $$""",
    "CREATE TRIGGER broken BEFORE INSERT OR UPDATE ON baselines FOR EACH ROW EXECUTE FUNCTION broken()",
)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no snapshot be due."""
    monkeypatch.setattr(snapshots, "EVERY_S", 1e9)
    monkeypatch.setattr(snapshots, "RETRY_S", 1e9)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a snapshot be due with every commit."""
    monkeypatch.setattr(snapshots, "EVERY_S", 0.0)


async def send(world: World, *numbers: int) -> None:
    for number in numbers:
        answer = await world.tell(f"m-{number}", withdrawal(number))
        assert answer.status_code == 200, answer.text


async def settled(world: World, snapshot: int) -> None:
    """Wait until a snapshot is stored at least there."""
    async with asyncio.timeout(120):
        while world.rows("SELECT seq FROM baseline_snapshot")[0]["seq"] < snapshot:  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0.01)


async def without_goodbye(world: World) -> None:
    """What a killed process does not do any more."""
    world.intake._keeper.forget()


async def engine_of(url: str) -> Sequence[StateChange]:
    """Every record of an engine that was built from what is stored."""
    store = await connect(Secret(url_of_role(url, API)))
    keeper = EngineKeeper(store.baselines, DETECTORS)
    await keeper.prepare()
    engine = keeper._engine
    assert engine is not None
    await store.close()
    return list(engine.snapshot())


def test_what_a_killed_process_had_not_stored_is_applied_again(url: str, never: None) -> None:
    kept: list[StateChange] = []

    async def play() -> None:
        async with running(url) as world:
            await send(world, *range(30))
        assert verified(url).snapshot == 32
        async with running(url) as world:
            await send(world, *range(30, 50))
            engine = world.intake._keeper._engine
            assert engine is not None
            kept.extend(engine.snapshot())
            await without_goodbye(world)
        assert list(await engine_of(url)) == kept

    asyncio.run(play())
    report = verified(url)
    assert (report.differences, report.snapshot, report.newer) == ((), 32, 20)


def test_snapshots_are_stored_while_intake_goes_on(url: str, at_once: None) -> None:
    async def play() -> None:
        async with running(url) as world:
            await send(world, *range(10))
            await settled(world, 10)
            await without_goodbye(world)

    asyncio.run(play())
    report = verified(url)
    assert report.differences == ()
    assert report.snapshot >= 10


def test_a_snapshot_that_breaks_off_leaves_the_one_before_and_is_written_next_time(
    url: str, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()
    genuine = Snapshots._failed

    def noted(self: Snapshots, *arguments: Any) -> None:
        genuine(self, *arguments)
        failed.set()

    monkeypatch.setattr(intake_baselines, "AT_ONCE", 1)
    monkeypatch.setattr(Snapshots, "_failed", noted)

    async def play() -> None:
        async with running(url) as world:
            await send(world, 1)
            await settled(world, 3)
            await asyncio.to_thread(seed, url, [(statement, ()) for statement in FULL_FOR_THE_POPULATION])
            failed.clear()
            await send(world, 2, 3)
            await asyncio.wait_for(failed.wait(), 60)
            report = await asyncio.to_thread(verified, url)
            assert (report.snapshot, report.newer, report.differences) == (3, 2, ())
            await asyncio.to_thread(seed, url, [("DROP TRIGGER broken ON baselines", ())])
            await send(world, 4)
            await settled(world, 6)
            await without_goodbye(world)

    asyncio.run(play())
    assert verified(url).differences == ()


def test_a_process_that_is_behind_never_replaces_a_newer_snapshot(url: str, never: None) -> None:
    async def play() -> None:
        async with running(url) as old, running(url) as new:
            await send(old, *range(5))
            stale = old.intake._keeper._snapshots
            await send(new, *range(5, 10))
            engine = new.intake._keeper._engine
            assert engine is not None
            await new.intake._keeper.stop()
            stored = verified(url).snapshot
            assert stored == engine.sequence
            changes = [StateChange(1, "std/hot-1", b"old")]
            for seen in (0, stored - 1):
                assert await old.store.baselines.save(changes, seen, stored + 1, gently=False) == stored
            assert stale._unsaved is not None
            await without_goodbye(old)
            await without_goodbye(new)

    asyncio.run(play())
    assert verified(url).differences == ()


def test_only_one_process_writes_a_snapshot_at_a_time(url: str, never: None) -> None:
    async def play() -> None:
        async with running(url) as world:
            await send(world, 1)
            holder = await asyncpg.connect(url)
            async with holder.transaction():
                await holder.execute("SELECT FROM baseline_snapshot FOR UPDATE")
                assert await world.store.baselines.save([], 0, 3, gently=False) is None
            await holder.close()

    asyncio.run(play())


def test_recovery_applies_no_more_rows_than_a_snapshot_may_be_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY_S", 1e9)
    monkeypatch.setattr(snapshots, "EVERY_ROWS", 20)
    monkeypatch.setattr(snapshots, "RETRY_S", 0.0)

    async def play() -> None:
        async with running(url) as world:
            for number in range(100):
                await send(world, number)
                last = world.rows("SELECT max(seq) AS n FROM learning")[0]["n"]
                await settled(world, last - 20)
            await without_goodbye(world)

    asyncio.run(play())
    assert verified(url).newer <= 20


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE baseline_snapshot SET engine_version = '0.9'", "of engine 0.9"),
        ("UPDATE learning SET engine_version = '0.9' WHERE seq = (SELECT max(seq) FROM learning)", "by engine 0.9"),
        ("UPDATE baselines SET state = '\\x00' WHERE entity = 'population'", "cannot be used"),
    ],
)
def test_what_another_version_left_is_refused_with_its_name(url: str, never: None, statement: str, words: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            await send(world, 1)
        async with running(url) as world:
            await send(world, 2)
            await without_goodbye(world)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)
        with pytest.raises(ConfigurationError, match=words):
            await engine_of(url)

    asyncio.run(play())


def test_a_snapshot_that_is_not_newer_is_refused(url: str, never: None) -> None:
    async def play() -> None:
        async with running(url) as world:
            await send(world, *range(3))
        store = await connect(Secret(url_of_role(url, API)))
        stored = verified(url).snapshot
        changes = [StateChange(1, "0", b"older")]
        for older in (stored, stored - 1):
            assert await store.baselines.save(changes, stored, older, gently=False) == stored
        await store.close()
        assert verified(url).snapshot == stored

    asyncio.run(play())
    assert verified(url).differences == ()


def test_a_database_that_was_set_back_is_followed(url: str, never: None) -> None:
    """A restored backup: the sequence is shorter than this process remembers."""

    async def play() -> None:
        async with running(url) as world:
            await send(world, *range(5))
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DELETE FROM learning WHERE seq > 4")
                connection.execute("DELETE FROM activities WHERE seq > 4")
                connection.execute("DELETE FROM transactions")
            await send(world, *range(5, 8))

    asyncio.run(play())
    assert verified(url).differences == ()


def test_an_event_that_breaks_the_store_costs_no_engine(url: str, never: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that fails before anything was scored leaves the engine where it is."""
    built: list[int] = []
    genuine = Engine.__init__

    def counted(self: Engine, *arguments: Any, **named: Any) -> None:
        built.append(1)
        genuine(self, *arguments, **named)

    monkeypatch.setattr(Engine, "__init__", counted)

    async def play() -> None:
        async with running(url) as world:
            await send(world, 1)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            body = encoded(withdrawal(2))
            first = await world.client.post("/webhooks/std", content=body, headers=signed("m-2", body))
            again = await world.client.post("/webhooks/std", content=body, headers=signed("m-2", body))
            assert (first.status_code in {200, 503}, again.status_code) == (True, 200)

    asyncio.run(play())
    assert len(built) == 1
