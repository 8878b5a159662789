"""Taking polled events goes on whatever one of them, or the store, does."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from service.domain.ids import ConnectionId
from service.domain.intake import Item, Outcome
from service.flow.intake.polled import AT_ONCE, PolledIntake
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

    async def waiting(self, limit: int, after: int) -> Sequence[WaitingEvent]:
        self.defects -= 1
        if self.defects >= 0:
            raise ZeroDivisionError
        return [self.events[n] for n in sorted(self.events) if n not in self.done and n > after][:limit]

    async def taken(self, ids: Sequence[int]) -> None:
        self.done.update(ids)
        self.changed.set()


def submit(item: Item) -> "asyncio.Future[Outcome]":
    """Break on the event 1 and those of a thousand on, as a defect of ours would."""
    if item.received.activity.event_id in {"audit:1", *(f"audit:{1000 + n}" for n in range(3 * AT_ONCE))}:
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


def test_however_many_break_what_came_after_them_is_taken_and_they_are_tried_again() -> None:
    async def play() -> None:
        broken = range(1000, 1000 + 3 * AT_ONCE)
        store = Store([event(n) for n in (*broken, 5000)])
        taking = PolledIntake(submit, store)
        for _ in range(4):
            await taking.look()
        assert store.done == {5000}
        first = await store.waiting(1, 0)
        assert first[0].id == broken.start, "they stay"
        store.events[2] = event(2)
        await taking.look()
        assert store.done == {2, 5000}, "a look begins anew when it found the end"

    asyncio.run(play())
