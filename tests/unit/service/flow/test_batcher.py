"""What waits for intake is bounded by its bytes, and what was taken out of the queue waits no longer."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import cast

import msgspec
import pytest
import uvicorn

from service.clock import SystemClock
from service.domain.activity import Activity, Received
from service.domain.errors import PortcullisError, UnavailableError
from service.domain.ids import ActivityId, ConnectionId, new_id
from service.domain.intake import Item, Outcome
from service.flow.intake import waiting
from service.flow.intake.ahead import Scored
from service.flow.intake.batcher import Intake
from service.flow.intake.keeper import EngineKeeper
from service.ports.store.baselines import BaselineStore, BaselineView
from service.ports.store.intake import Asked, IntakeStore, IntakeTurn
from service.serve import stop_with
from tests.support.detectors import shipped

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 1000


class AwayStore:
    """A database that is not there."""

    def view(self) -> AbstractAsyncContextManager[BaselineView]:
        raise UnavailableError("the database is away")

    async def rest(self, *, idle: bool) -> None:
        """Nothing was taken."""


def item(size: int, connection: str = "std") -> Item:
    activity = Activity(connection=ConnectionId(connection), event_id="e", kind="other.x", occurred_at=NOW)
    return Item(
        Received(
            activity_id=ActivityId(new_id("act")),
            received_at=NOW,
            body_digest=b"",
            raw=b"x" * size,
            activity=activity,
        )
    )


def test_questions_go_first() -> None:
    async def play() -> None:
        store = AwayStore()
        intake = Intake(
            cast("IntakeStore", store), EngineKeeper(cast("BaselineStore", store), shipped()), SystemClock()
        )
        items = [item(1) for _ in range(300)]
        asked = msgspec.structs.replace(item(1), question="q")
        futures = [intake.submit(one) for one in (*items, asked)]
        first, second = intake._next_batch(), intake._next_batch()
        assert [one for one, _ in first] == [asked, *items[:150]]
        assert [one for one, _ in second] == items[150 : 150 + len(second)]
        assert len(intake._questions) == 0
        assert not any(future.done() for future in futures)

    asyncio.run(play())


def test_of_what_is_here_a_batch_takes_half_so_that_one_half_is_written_meanwhile() -> None:
    async def play() -> None:
        intake = quiet()
        for _ in range(64):
            intake.submit(item(1))
        assert len(intake._next_batch()) == 32
        intake._being_written = 32
        assert len(intake._next_batch()) == 32
        for _ in range(waiting.LEAST):
            intake.submit(item(1))
        intake._being_written = 0
        assert len(intake._next_batch()) == waiting.LEAST, "those just answered still count"

    asyncio.run(play())


def test_a_crowd_that_went_away_is_forgotten_and_few_are_never_split() -> None:
    halves = waiting.Halves()
    assert halves.half(500) == 250
    assert halves.half(0) > 240
    for _ in range(500):
        halves.half(1)
    assert halves.half(1) == waiting.LEAST


def quiet(store: object | None = None) -> Intake:
    """An intake that nobody runs yet."""
    store = store or AwayStore()
    keeper = EngineKeeper(cast("BaselineStore", store), shipped())
    return Intake(cast("IntakeStore", store), keeper, SystemClock())


def test_what_can_wait_never_keeps_questions_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 8)

    async def play() -> None:
        intake = quiet()
        for name in "aabbccdd":
            intake.submit(item(1, name))
        with pytest.raises(UnavailableError, match="intake is behind"):
            intake.submit(item(1, "e"))
        asked = msgspec.structs.replace(item(1, "a"), question="q")
        intake.submit(asked)
        assert intake._next_batch()[0][0] is asked

    asyncio.run(play())


def test_one_connection_has_a_share_of_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 8)

    async def play() -> None:
        intake = quiet()
        for _ in range(2):
            intake.submit(item(1, "a"))
        with pytest.raises(UnavailableError, match="too much of this connection"):
            intake.submit(item(1, "a"))
        intake.submit(item(1, "b"))
        assert len(intake._next_batch()) == 3
        intake.submit(item(1, "a"))

    asyncio.run(play())


def test_whoever_waits_is_answered_when_intake_is_stopped_while_it_takes_a_batch_apart() -> None:
    alone = asyncio.Event()

    class Broken(Intake):
        async def _commit(self, items: Sequence[Item], _following: object) -> Sequence[Outcome | PortcullisError]:
            if len(items) > 1:
                raise RuntimeError("broken")
            alone.set()
            await asyncio.Event().wait()
            return []

    async def play() -> None:
        store = AwayStore()
        intake = Broken(
            cast("IntakeStore", store), EngineKeeper(cast("BaselineStore", store), shipped()), SystemClock()
        )
        futures = [intake.submit(item(1)) for _ in range(5)]
        running = asyncio.create_task(intake.run())
        await alone.wait()
        running.cancel()
        told = await asyncio.gather(*futures, return_exceptions=True)
        assert [str(one) for one in told] == ["the service is stopping: send it again"] * 5
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(play(), timeout=30))


def test_whoever_was_taken_for_the_next_batch_is_answered_when_intake_is_stopped() -> None:
    class Ahead(Intake):
        async def _commit(self, items: Sequence[Item], _following: object) -> Sequence[Outcome | PortcullisError]:
            self._being_written = 1
            await self._look_ahead(cast("IntakeTurn", self), cast("Scored", None))
            await asyncio.Event().wait()
            return []

        async def look_ahead(self, _asked: Asked) -> None:
            taken.set()

    async def play() -> None:
        store = AwayStore()
        intake = Ahead(cast("IntakeStore", store), EngineKeeper(cast("BaselineStore", store), shipped()), SystemClock())
        futures = [intake.submit(item(1)) for _ in range(300)]
        running = asyncio.create_task(intake.run())
        await taken.wait()
        assert intake._next is not None
        running.cancel()
        told = await asyncio.gather(*futures, return_exceptions=True)
        assert [str(one) for one in told] == ["the service is stopping: send it again"] * 300
        assert len({id(one) for one in told}) == 300, "each has its own, whose traceback is its own"
        with suppress(asyncio.CancelledError):
            await running

    taken = asyncio.Event()
    asyncio.run(asyncio.wait_for(play(), timeout=30))


def test_an_intake_that_broke_takes_nothing_more_and_ends_the_server() -> None:
    class Odd(AwayStore):
        async def rest(self, *, idle: bool) -> None:
            raise RuntimeError("odd")

    class Server:
        should_exit = False

    async def play() -> None:
        intake, server = quiet(Odd()), Server()
        future = intake.submit(item(1))
        running = asyncio.create_task(intake.run())
        running.add_done_callback(partial(stop_with, cast("uvicorn.Server", server)))
        with pytest.raises(RuntimeError, match="odd"):
            await running
        with pytest.raises(UnavailableError, match="away"):
            await future
        with pytest.raises(UnavailableError, match="stopping"):
            intake.submit(item(1))
        assert server.should_exit

    asyncio.run(asyncio.wait_for(play(), timeout=30))


def test_waiting_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING_BYTES", LIMIT)

    async def play() -> None:
        store = AwayStore()
        keeper = EngineKeeper(cast("BaselineStore", store), shipped())
        intake = Intake(cast("IntakeStore", store), keeper, SystemClock())
        waiting = [intake.submit(item(LIMIT // 4, name)) for name in "abcd"]
        with pytest.raises(UnavailableError, match="intake is behind") as refused:
            await intake.submit(item(1))
        assert refused.value.retry_after_s == 1
        running = asyncio.create_task(intake.run())
        for told in await asyncio.gather(*waiting, return_exceptions=True):
            assert str(told) == "the database is away"
        with pytest.raises(UnavailableError, match="the database is away"):
            await intake.submit(item(LIMIT // 4))
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(play(), timeout=30))
