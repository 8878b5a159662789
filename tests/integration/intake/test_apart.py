"""A batch that one item breaks is taken apart: what comes meanwhile finds what all of it left, not its first item alone."""

import asyncio
from typing import Any

import pytest

from service.domain.observing import observe as genuine_observe
from service.flow.intake import scoring
from service.flow.intake.batcher import Intake
from service.store.intake import PostgresTurn
from tests.support.intake import World, running, verified, withdrawal

pytestmark = pytest.mark.servers

Told = tuple[str, dict[str, object]]
ONE_BATCH: tuple[Told, ...] = (
    ("poison", {"transaction": "P"}),
    ("first", {"transaction": "F"}),
    ("change", {"transaction": "T", "destination": "eip155:1:0x" + "b" * 40}),
)
LATE: Told = ("late", {"transaction": "T", "type": "withdrawal.broadcast"})


async def tell(world: World, key: str, **told: object) -> int:
    answer = await world.tell(key, withdrawal(1, timestamp="2026-01-01T00:00:00Z", **told))
    return answer.status_code


class Together:
    """Hands items on to the intake once so many of them have come."""

    def __init__(self, intake: Intake) -> None:
        self.at_once = 1
        self._hand_on = intake.take
        self._held: list[tuple[Any, Any]] = []
        self._all_here = asyncio.Event()

    def take(self, item: Any, settle: Any) -> None:
        self._held.append((item, settle))
        if len(self._held) == self.at_once:
            for held in self._held:
                self._hand_on(*held)
            self._held.clear()
            self._all_here.set()

    async def sent(self, world: World, *told: Told) -> "list[asyncio.Task[int]]":
        """Send these; return once all of them wait at the intake."""
        self.at_once = len(told)
        self._all_here.clear()
        tasks = [asyncio.create_task(tell(world, key, **changes)) for key, changes in told]
        await self._all_here.wait()
        return tasks


def test_what_comes_while_a_batch_is_taken_apart_undoes_nothing_of_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine_write = PostgresTurn.write
    writes: list[int] = []

    def observe(received: Any, *given: Any, **named: Any) -> Any:
        if received.activity.event_id == "poison":
            raise RuntimeError("poison")
        return genuine_observe(received, *given, **named)

    async def play() -> None:
        async with running(url) as world:
            together = Together(world.intake)
            monkeypatch.setattr(world.intake, "take", together.take)
            assert await tell(world, "open", transaction="T") == 200
            monkeypatch.setattr(scoring, "observe", observe)
            sent: list[asyncio.Task[int]] = []
            late_sent = asyncio.Event()

            async def write(turn: PostgresTurn, batch: Any) -> None:
                writes.append(len(batch.activities))
                if len(writes) == 1:  # all of these wait until it is written, and are one batch then
                    sent.extend(await together.sent(world, *ONE_BATCH))
                if len(writes) == 2:  # the first item of the batch that was taken apart
                    sent.extend(await together.sent(world, LATE))
                    await asyncio.sleep(0.3)  # for a look ahead, of which there must be none
                    late_sent.set()
                await genuine_write(turn, batch)

            monkeypatch.setattr(PostgresTurn, "write", write)
            assert await tell(world, "before", transaction="B") == 200
            await late_sent.wait()
            assert await asyncio.gather(*sent) == [503, 200, 200, 200]
            monkeypatch.setattr(PostgresTurn, "write", genuine_write)
            found = world.rows("SELECT decision, state FROM transactions WHERE ref = 'T'")
            assert found == [{"decision": "hold", "state": "broadcast"}]

    asyncio.run(play())
    assert writes[:3] == [1, 1, 1], "they were one batch, and then one by one"
    assert verified(url).differences == ()
