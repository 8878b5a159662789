"""A batch that one item breaks is taken apart: what comes meanwhile finds what all of it left, not its first item alone."""

import asyncio
from typing import Any

import pytest

from service.domain.observing import observe as genuine_observe
from service.flow.intake import scoring
from service.store.intake import PostgresTurn
from tests.support.intake import (
    World,
    running,
    verified,
    withdrawal,
)

pytestmark = pytest.mark.servers


async def tell(world: World, key: str, **told: object) -> int:
    answer = await world.tell(key, withdrawal(1, timestamp="2026-01-01T00:00:00Z", **told))
    return answer.status_code


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
            assert await tell(world, "open", transaction="T") == 200
            monkeypatch.setattr(scoring, "observe", observe)
            sent: list[asyncio.Task[int]] = []

            def send(key: str, **told: object) -> None:
                sent.append(asyncio.create_task(tell(world, key, **told)))

            async def write(turn: PostgresTurn, batch: Any) -> None:
                writes.append(len(batch.activities))
                if len(writes) == 1:  # all of these wait until it is written, and are one batch then
                    send("poison", transaction="P")
                    send("first", transaction="F")
                    send("change", transaction="T", destination="eip155:1:0x" + "b" * 40)
                    await asyncio.sleep(0.3)
                if len(writes) == 2:  # the first item of the batch that was taken apart
                    send("late", transaction="T", type="withdrawal.broadcast")
                    await asyncio.sleep(0.3)
                await genuine_write(turn, batch)

            monkeypatch.setattr(PostgresTurn, "write", write)
            assert await tell(world, "before", transaction="B") == 200
            await asyncio.sleep(0.1)
            assert await asyncio.gather(*sent) == [503, 200, 200, 200]
            monkeypatch.setattr(PostgresTurn, "write", genuine_write)
            found = world.rows("SELECT decision, state FROM transactions WHERE ref = 'T'")
            assert found == [{"decision": "hold", "state": "broadcast"}]

    asyncio.run(play())
    assert writes[:3] == [1, 1, 1], "they were one batch, and then one by one"
    assert verified(url).differences == ()
