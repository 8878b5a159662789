"""What people asked for never stops intake, and a database that lost rows is followed from where it is."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import psycopg
import pytest

from rules.settings import EngineSettings
from service.domain.approval import ActionDocument
from service.domain.blinding import changed, warranted
from service.flow.intake import snapshots
from tests.support.intake import (
    TOKEN,
    World,
    encoded,
    running,
    verified,
    withdrawal,
)

pytestmark = pytest.mark.servers
AUTH = {"authorization": f"Bearer {TOKEN}"}
ASKED = "INSERT INTO learning_requests (kind, subject, payload, created_at) VALUES (%s, %s, %s, now())"
LOSES_ROWS = (
    "SET session_replication_role = replica",
    "DELETE FROM activities WHERE seq > (SELECT max(seq) - 3 FROM learning)",
    "DELETE FROM learning WHERE seq > (SELECT max(seq) - 3 FROM learning)",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
)


async def tell(world: World, number: int) -> int:
    answer = await world.tell(f"e-{number}", withdrawal(number, timestamp="2026-01-01T00:00:00Z"))
    return answer.status_code


def settings_of(world: World) -> EngineSettings:
    newest = world.rows("SELECT payload FROM learning WHERE kind = 'settings' ORDER BY seq DESC LIMIT 1")
    return msgspec.json.decode(bytes(newest[0]["payload"]), type=EngineSettings)


def ask(world: World, kind: str, payload: bytes) -> None:
    with psycopg.connect(world.url, autocommit=True) as connection:
        connection.execute(ASKED, (kind, kind, payload))


def test_settings_that_a_quorum_loosened_and_somebody_tightened_meanwhile_come_together(url: str) -> None:
    documents: dict[str, Any] = {}

    async def play() -> None:
        async with running(url, authorised=lambda approval: cast("ActionDocument", documents[approval])) as world:
            assert await tell(world, 1) == 200
            old = settings_of(world)
            looser = changed(old, {"hold_p": old.hold_p / 2})
            tighter = changed(looser, {"hold_floor": old.hold_floor * 0.9})
            changes = {"changes": {"hold_p": {"to": json.dumps(looser.hold_p)}}}
            told = changes | {"from_digest": old.digest(), "to_digest": looser.digest()}
            documents["apr_x"] = SimpleNamespace(what=(SimpleNamespace(params=told),))
            ask(world, "settings", warranted(looser.encode(), "apr_x"))
            ask(world, "settings", warranted(tighter.encode()))
            assert [await tell(world, number) for number in (2, 3)] == [200, 200]
            assert settings_of(world) == tighter
            assert all(row["seq"] for row in world.rows("SELECT seq FROM learning_requests"))

    asyncio.run(play())


def test_settings_that_only_whoever_scores_called_placed_are_held_against_nothing(url: str) -> None:
    """Else the role of the API could loosen in two steps: ask, call it placed, and ask for the same again."""

    async def play() -> None:
        async with running(url) as world:
            assert await tell(world, 1) == 200
            old = settings_of(world)
            looser = changed(old, {"hold_p": old.hold_p / 2})
            ask(world, "settings", warranted(looser.encode()))
            last = world.rows("SELECT max(seq) AS last FROM learning")[0]["last"]
            with psycopg.connect(world.url, autocommit=True) as connection:
                connection.execute("UPDATE learning_requests SET seq = %s", (last,))
                ask(world, "settings", warranted(looser.encode()))
                connection.execute("UPDATE learning_requests SET seq = %s WHERE seq IS NULL", (last + 1,))
                allowed = connection.execute(
                    "SELECT learning_may_add(%s, 'settings', %s)", (last + 1, looser.encode())
                ).fetchone()
            assert allowed == (False,)

    asyncio.run(play())


def test_a_request_that_the_database_refuses_is_refused_and_intake_goes_on(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            assert await tell(world, 1) == 200
            with psycopg.connect(world.url, autocommit=True) as connection:
                connection.execute("ALTER TABLE learning ADD CONSTRAINT no_bad CHECK (subject <> 'bad')")
                for subject in ("good", "bad", "fine"):
                    payload = json.dumps({"verdict": "false_positive", "detectors": [subject]}).encode()
                    connection.execute(ASKED, ("verdict", subject, payload))
            question = withdrawal(99, timestamp="2026-01-01T00:00:00Z") | {"id": "q-1", "deadline_ms": 5000}
            asked = await world.client.post("/v1/decisions", content=encoded(question), headers=AUTH)
            assert asked.json()["decision"] == "hold", "the refused one might have been the one that holds it"
            answers = await asyncio.gather(*(tell(world, number) for number in range(2, 10)))
            assert answers == [200] * 8
            assert [await tell(world, number) for number in range(10, 20)] == [200] * 10
            placed = {row["subject"]: row["seq"] for row in world.rows("SELECT subject, seq FROM learning_requests")}
            assert placed["bad"] == 0
            assert placed["good"] > 0
            assert placed["fine"] > 0

    asyncio.run(play())
    assert verified(url).differences == ()


def test_after_a_failover_that_lost_rows_an_idle_process_stores_nothing_of_them(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVERY_S", 0.0)

    async def play() -> None:
        async with running(url) as world:
            for number in range(5):
                assert await tell(world, number) == 200
            async with asyncio.timeout(60):
                while not world.rows("SELECT seq FROM baseline_snapshot")[0]["seq"]:  # noqa: ASYNC110  no event tells
                    await asyncio.sleep(0.05)
            monkeypatch.setattr(snapshots, "EVERY_S", 1e9)
            for number in range(5, 10):
                assert await tell(world, number) == 200
            with psycopg.connect(world.url, autocommit=True) as connection:
                for statement in LOSES_ROWS:
                    connection.execute(statement)
            monkeypatch.setattr(snapshots, "EVERY_S", 0.0)
            await asyncio.sleep(2.5)
            ends = world.rows("SELECT (SELECT max(seq) FROM learning) AS last, seq FROM baseline_snapshot")[0]
            assert ends["seq"] <= ends["last"]
            answers = [await tell(world, 100 + number) for number in range(4)]
            assert answers[1:] == [200, 200, 200], answers
        async with running(url) as world:
            assert [await tell(world, 200 + number) for number in range(2)] == [200, 200]

    asyncio.run(play())
    assert verified(url).differences == ()


def test_an_account_that_was_set_back_to_before_it_was_live_goes_live_again(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            assert [await tell(world, number) for number in (1, 2)] == [200, 200]
            with psycopg.connect(world.url, autocommit=True) as connection:
                for statement in (
                    LOSES_ROWS[0],
                    "UPDATE accounts SET live_since = NULL",
                    "DELETE FROM transactions",
                    "DELETE FROM activities",
                    "DELETE FROM learning WHERE seq > 2",
                    LOSES_ROWS[-1],
                ):
                    connection.execute(statement)
            answers = [await tell(world, number) for number in range(10, 14)]
            assert answers[1:] == [200, 200, 200], answers
            assert world.rows("SELECT live_since IS NOT NULL AS live FROM accounts") == [{"live": True}]

    asyncio.run(play())
