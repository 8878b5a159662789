"""What waits for intake is bounded by its bytes, and what was taken out of the queue waits no longer."""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from typing import cast

import pytest

from rules.loader import load_directory
from service.clock import SystemClock
from service.domain.activity import Activity, Received
from service.domain.errors import UnavailableError
from service.domain.ids import ActivityId, ConnectionId, new_id
from service.domain.intake import Item, Outcome
from service.flow.intake import batcher
from service.flow.intake.batcher import Intake
from service.flow.intake.keeper import EngineKeeper
from service.ports.store.baselines import BaselineStore, BaselineView
from service.ports.store.intake import IntakeStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 1000


class AwayStore:
    """A database that is not there."""

    def view(self) -> AbstractAsyncContextManager[BaselineView]:
        raise UnavailableError("the database is away")

    async def rest(self, *, idle: bool) -> None:
        """Nothing was taken."""


def item(size: int) -> Item:
    activity = Activity(connection=ConnectionId("std"), event_id="e", kind="other.x", occurred_at=NOW)
    return Item(
        Received(
            activity_id=ActivityId(new_id("act")),
            received_at=NOW,
            body_digest=b"",
            raw=b"x" * size,
            activity=activity,
        )
    )


def test_waiting_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "MAX_WAITING_BYTES", LIMIT)

    async def play() -> None:
        store = AwayStore()
        keeper = EngineKeeper(cast("BaselineStore", store), load_directory())
        intake = Intake(cast("IntakeStore", store), keeper, SystemClock())
        waiting: list[asyncio.Future[Outcome]] = [intake.submit(item(LIMIT // 2)) for _ in range(2)]
        with pytest.raises(UnavailableError, match="intake is behind") as refused:
            await intake.submit(item(1))
        assert refused.value.retry_after_s == 1
        running = asyncio.create_task(intake.run())
        for told in await asyncio.gather(*waiting, return_exceptions=True):
            assert str(told) == "the database is away"
        with pytest.raises(UnavailableError, match="the database is away"):
            await intake.submit(item(LIMIT))
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(play(), timeout=30))
