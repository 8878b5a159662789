"""Taking polled events goes on whatever one of them, or the store, does."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from service.domain.ids import ConnectionId
from service.domain.intake import Item, Outcome
from service.flow.intake.polled import PolledIntake
from service.ports.store.polling import WaitingEvent


def event(number: int, activity: bytes | None = None) -> WaitingEvent:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return WaitingEvent(number, ConnectionId("fb"), f"audit:{number}", "word", activity, b"{}", at)


class Store:
    """Gives events until they are taken; its first `defects` looks break."""

    def __init__(self, events: Sequence[WaitingEvent], defects: int = 0) -> None:
        self.events = {one.id: one for one in events}
        self.defects = defects
        self.done: set[int] = set()
        self.changed = asyncio.Event()

    async def waiting(self, limit: int) -> Sequence[WaitingEvent]:
        self.defects -= 1
        if self.defects >= 0:
            raise ZeroDivisionError
        return [one for one in self.events.values() if one.id not in self.done][:limit]

    async def taken(self, ids: Sequence[int]) -> None:
        self.done.update(ids)
        self.changed.set()


def submit(item: Item) -> "asyncio.Future[Outcome]":
    """Break on the event 1, as a defect of ours would."""
    if item.received.activity.event_id == "audit:1":
        raise ZeroDivisionError
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    future.set_result(cast("Outcome", None))
    return future


@pytest.mark.parametrize("defects", [0, 3])
def test_intake_of_polled_events_outlives_any_error(defects: int) -> None:
    async def play() -> None:
        store = Store([event(1), event(2), event(3, b"not JSON")], defects)
        task = asyncio.create_task(PolledIntake(submit, store).run(every_s=0.001))
        waiting = asyncio.create_task(store.changed.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done(), "it goes on"
        assert store.done == {2, 3}, "what broke stays and is tried again; what nobody can read is refused for good"
        task.cancel()
        waiting.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)

    asyncio.run(play())
