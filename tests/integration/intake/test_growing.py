"""The next batch grows by what arrives while one is written; a request keeps its place before what came after it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest

from service.domain.intake import Item
from service.flow.intake import batcher
from service.flow.intake.ahead import Following, Scored
from service.flow.intake.batcher import Intake
from service.flow.intake.keeper import EngineKeeper
from service.flow.intake.waiting import Queue
from service.ports.store.intake import Ahead, Asked, Facts, Writes
from service.store.intake import PostgresTurn
from tests.support.intake import World, add_account, encoded, running, seed, signed, verified, withdrawal

pytestmark = pytest.mark.servers

WAIT_S = 120.0
"""For what never comes: then nothing else would end the test."""
GROUP = 5
REQUEST = (
    "INSERT INTO learning_requests (kind, subject, payload, created_at)"
    """ VALUES ('incident_opened', 'inc_1', '{"entities": ["account:std/other"]}', now())"""
)


class Held:
    """The second write waits until it is let go; says how much of the next batch is scored meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.scored = 0
        self.requested = False
        self.go = asyncio.Event()
        self._changed = asyncio.Event()
        write, score_ahead, look_ahead, grow = (
            PostgresTurn.write,
            Intake._score_ahead,
            PostgresTurn.look_ahead,
            Scored.grow,
        )

        async def writing(turn: PostgresTurn, writes: Writes) -> None:
            self.sizes.append(len(writes.activities))
            self._changed.set()
            if len(self.sizes) == 2:
                await asyncio.wait_for(self.go.wait(), WAIT_S)
            await write(turn, writes)

        async def looking(turn: PostgresTurn, asked: Asked) -> Ahead | None:
            ahead = await look_ahead(turn, asked)
            self.requested = ahead is not None and ahead.requested
            self._changed.set()
            return ahead

        def scoring_ahead(intake: Intake, following: Following, before: Scored) -> None:
            score_ahead(intake, following, before)
            self.scored += 0 if following.scored is None else len(following.batch)
            self._changed.set()

        def growing(scored: Scored, items: Sequence[Item], facts: Facts, now: datetime) -> None:
            grow(scored, items, facts, now)
            self.scored += len(items)
            self._changed.set()

        monkeypatch.setattr(PostgresTurn, "write", writing)
        monkeypatch.setattr(PostgresTurn, "look_ahead", looking)
        monkeypatch.setattr(Intake, "_score_ahead", scoring_ahead)
        monkeypatch.setattr(Scored, "grow", growing)

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(WAIT_S):
            while not what():
                self._changed.clear()
                await self._changed.wait()


async def tell(world: World, number: int, account: str = "hot-1") -> int:
    body = encoded(withdrawal(number, timestamp="2026-01-01T00:00:00Z", account=account))
    answer = await world.client.post("/webhooks/std", content=body, headers=signed(f"e-{number}", body))
    return answer.status_code


@pytest.mark.parametrize("requested", [False, True])
def test_the_next_batch_grows_until_the_one_before_is_written(
    url: str, monkeypatch: pytest.MonkeyPatch, *, requested: bool
) -> None:
    async def play() -> None:
        held = Held(monkeypatch)
        async with running(url) as world:
            assert await tell(world, 0) == 200  # takes the account live
            sent = [asyncio.create_task(tell(world, 1))]
            await held.until(lambda: len(held.sizes) == 2)
            sent += [asyncio.create_task(tell(world, 2 + at)) for at in range(GROUP)]
            await held.until(lambda: held.scored == GROUP)
            if requested:
                seed(url, [(REQUEST, ())])
            sent += [asyncio.create_task(tell(world, 2 + GROUP + at)) for at in range(GROUP)]
            await held.until(lambda: held.requested if requested else held.scored == 2 * GROUP)
            held.go.set()
            assert set(await asyncio.gather(*sent)) == {200}
            assert held.sizes[:3] == [1, 1, GROUP if requested else 2 * GROUP]
            assert sum(held.sizes) == 2 + 2 * GROUP

            if requested:
                opened = "SELECT seq FROM learning WHERE kind = 'incident_opened'"
                assert world.count("learning", f"kind = 'activity' AND seq < ({opened})") == 2 + GROUP

    asyncio.run(play())
    assert verified(url).differences == ()


@pytest.mark.parametrize(
    ("where", "what"),
    [(batcher, "asked_of"), (batcher, "lay_over"), (Queue, "first"), (Scored, "grow"), (EngineKeeper, "has")],
)
def test_what_breaks_while_the_next_batch_grows_loses_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch, where: object, what: str
) -> None:
    async def play() -> None:
        held, broken = Held(monkeypatch), asyncio.Event()
        working = getattr(where, what)

        def breaking(*arguments: Any) -> Any:
            found = working(*arguments)  # whatever it changes is changed when it breaks
            if held.scored >= GROUP and not broken.is_set():
                broken.set()
                raise RuntimeError("broken")
            return found

        async with running(url) as world:
            add_account(url, "std", "hot-2")
            assert await tell(world, 0) == 200
            sent = [asyncio.create_task(tell(world, 1))]
            await held.until(lambda: len(held.sizes) == 2)
            sent += [asyncio.create_task(tell(world, 2 + at)) for at in range(GROUP)]
            await held.until(lambda: held.scored == GROUP)
            monkeypatch.setattr(where, what, breaking)
            sent += [asyncio.create_task(tell(world, 0)), asyncio.create_task(tell(world, 2 + GROUP, "hot-2"))]
            await asyncio.wait_for(broken.wait(), WAIT_S)
            held.go.set()
            assert set(await asyncio.gather(*sent)) == {200}
            assert (world.count("activities"), world.count("activities", "status = 'scored'")) == (3 + GROUP,) * 2

    asyncio.run(play())
    assert verified(url).differences == ()
