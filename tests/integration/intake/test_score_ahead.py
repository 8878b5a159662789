"""What is scored while the batch before it is written is as if it had been scored in its turn, or is thrown away."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from service.domain.errors import UnavailableError
from service.domain.intake import Item, Outcome
from service.flow.intake import batcher
from service.flow.intake.ahead import Following, Scored, score
from service.flow.intake.batcher import Intake
from service.ports.store.intake import Writes
from service.store.intake import PostgresTurn
from tests.support.intake import (
    World,
    running,
    verified,
    withdrawal,
)

pytestmark = pytest.mark.servers

KINDS = ("withdrawal.requested", "withdrawal.confirmed")
WAIT_S = 120.0
"""For a look ahead that never comes: then nothing else would end the test."""


class Watched:
    """Every write waits until the next batch was scored, or there was none to score."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scored = 0
        self.to_come = 0
        """Events that are sent and have not reached intake."""
        self.writing = False
        self.breaks_at = 0
        """The write that fails after the next batch was scored on top of it; 0 for none."""
        self._writes = 0
        self._looked = asyncio.Event()
        self._intake: Intake | None = None
        look, write, score_ahead, submit = Intake._look_ahead, PostgresTurn.write, Intake._score_ahead, Intake.submit

        def submitting(intake: Intake, item: Item) -> "asyncio.Future[Outcome]":
            self._intake = intake
            self.to_come -= 1
            return submit(intake, item)

        async def looking(intake: Intake, *arguments: Any) -> None:
            await look(intake, *arguments)
            self._looked.set()

        async def writing(turn: PostgresTurn, writes: Writes) -> None:
            self._looked.clear()
            self.writing = True
            if self._more():
                await asyncio.wait_for(self._looked.wait(), WAIT_S)
            self.writing = False
            self._writes += 1
            if self._writes == self.breaks_at:
                raise UnavailableError("the database did not take it: nothing was stored, send it again")
            await write(turn, writes)

        def scoring_ahead(intake: Intake, following: Following, before: Scored) -> None:
            score_ahead(intake, following, before)
            if following.scored is not None:
                self.scored += 1
                self._looked.set()  # it grows until the write ends

        monkeypatch.setattr(Intake, "_look_ahead", looking)
        monkeypatch.setattr(PostgresTurn, "write", writing)
        monkeypatch.setattr(Intake, "_score_ahead", scoring_ahead)
        monkeypatch.setattr(Intake, "submit", submitting)

    def _more(self) -> bool:
        """Say whether there is a next batch, or will be one."""
        return self.to_come > 0 or (self._intake is not None and not self._intake._idle())


async def tell(world: World, number: int, kind: str) -> int:
    answer = await world.tell(f"{kind[11:]}-{number}", withdrawal(number, timestamp="2026-01-01T00:00:00Z", type=kind))
    return answer.status_code


async def tell_all(world: World, watched: Watched) -> Counter[int]:
    """Nine transactions, each told by two events, forty times: more than one batch takes."""
    watched.to_come = 360 * len(KINDS)
    told = (tell(world, at % 9, kind) for at in range(360) for kind in KINDS)
    return Counter(await asyncio.gather(*told))


@pytest.mark.parametrize("breaks_at", [0, 2, 3])
def test_a_batch_that_was_scored_ahead_knows_what_the_one_before_it_left(
    url: str, monkeypatch: pytest.MonkeyPatch, breaks_at: int
) -> None:
    async def play() -> None:
        watched = Watched(monkeypatch)
        async with running(url) as world:
            assert await tell(world, 0, KINDS[0]) == 200  # takes the account live
            watched.breaks_at = breaks_at
            answers = await tell_all(world, watched)
            assert watched.scored > 0
            assert set(answers) == ({200, 503} if breaks_at else {200})
            assert answers[503] <= batcher.MAX_BATCH
            assert set(await tell_all(world, watched)) == {200}
            assert (world.count("activities"), world.count("transactions")) == (18, 9)
            assert world.count("learning", "kind = 'activity'") == 9
            assert world.count("transactions", "state = 'confirmed'") == 9

    asyncio.run(play())
    assert verified(url).differences == ()


def test_what_breaks_while_it_is_scored_ahead_is_scored_in_its_turn(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[None] = []

    async def play() -> None:
        watched = Watched(monkeypatch)

        def breaking(*arguments: Any) -> Scored:
            found = score(*arguments)  # the engine has moved on when it breaks
            if watched.writing and not broken:
                broken.append(None)
                raise RuntimeError("broken")
            return found

        monkeypatch.setattr(batcher, "score", breaking)
        async with running(url) as world:
            assert await tell(world, 0, KINDS[0]) == 200
            assert set(await tell_all(world, watched)) == {200}
            assert (world.count("activities"), world.count("transactions")) == (18, 9)

    asyncio.run(play())
    assert broken
    assert verified(url).differences == ()
