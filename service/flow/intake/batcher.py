"""Intake: what arrives while one transaction commits is the next batch; everybody is answered after the commit (D3).

Rules:

- No linger: an item that finds intake idle is committed alone, at once.
- One order: a batch has the sequence's turn from its first read to its commit, over all processes.
- Of all that is here, what is being written included, a batch takes half: so that the processor scores while the database
  writes, also for senders that send on as soon as they are answered (ADR 0047).
- If the transaction fails nothing was stored, an engine that is ahead of the store is built again from it, and everybody in
  the batch gets UnavailableError: the sender repeats, and the event id makes the repeat harmless.
- One item that breaks scoring must not sink the others: the batch is taken apart and each item gets a transaction of its
  own; only the broken one is refused, as our own fault.
- Somebody waits with a deadline for a question before signing: questions go into the next batch before all else, and have
  a quota of their own, so that nothing that can wait keeps them out.
- Waiting is bounded, by items and by bytes, and one connection has a share: beyond any of these callers must come back.
- What takes long is done without the turn: an engine that is far behind is brought near before the turn is taken again.
- While one batch is written, the facts of the next are read, as soon as anything has come: on another connection. What
  the batch that was written did is laid over them, and nobody else adds to the sequence in between; if somebody may have,
  they are read again. If it is still being written then, the next is scored too, and goes to the database right behind
  it: its answers wait for its own commit, and if the one before was not stored, neither is what was scored on top of it.
- Until the one before it is written a scored batch grows, group by group, by what arrives (ADR 0051). What cannot be
  scored on top of it stays in its queue.
- An idle process follows what others add, so that it is never far behind when it has the turn again.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from service.domain.errors import ConfigurationError, PortcullisError, UnavailableError
from service.domain.intake import Item, Outcome
from service.flow.intake.ahead import Following, Scored, asked_of, doubted, lay_over, score
from service.flow.intake.answering import answer_all, refuse, settle_future, stopping, tell_standing
from service.flow.intake.keeper import EngineKeeper
from service.flow.intake.waiting import BUSY_RETRY_S, Halves, Queue, Settle, Waiting
from service.ports.clock import Clock
from service.ports.store.intake import Ahead, Asked, Facts, IntakeStore, IntakeTurn, Writes

MAX_BATCH: Final = 256
TRIES: Final = 5
"""How often the turn is taken for one batch before it is said that the engine cannot keep up."""
ALERT_WINDOW: Final = timedelta(minutes=10)
"""An alert of the same key within this time is the same alert."""
FOLLOW_S: Final = 1.0
"""How often an idle process looks what others added."""
_ARRIVALS: Final = 2
"""Rounds of the event loop that what has arrived needs to be taken."""

_log = structlog.get_logger(__name__)


class Intake:
    """The one batcher of a process. `run` is its task; `submit` may be called by any number of tasks."""

    def __init__(self, store: IntakeStore, keeper: EngineKeeper, clock: Clock) -> None:
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._questions = Queue()
        self._waiting = Queue()
        self._halves = Halves()
        self._next: Following | None = None
        self._looking: asyncio.Task[None] | None = None
        """Sees to the next batch while one is written."""
        self._asking = False
        """It looks up, or scores, what it has of the next batch."""
        self._being_written = 0
        """Items of the batch that is being written."""
        self._most = 0
        """Items that the next batch may have."""
        self._apart = False
        """A batch is taken apart: what is read meanwhile is not what all of it leaves."""
        self._ended = False
        self._work = asyncio.Event()

    def submit(self, item: Item) -> "asyncio.Future[Outcome]":
        """Take one item to be stored; the future is its outcome after the commit.

        Raises UnavailableError at once when too much is waiting, or `run` has ended. The future raises UnavailableError
        (nothing was stored), ConflictError (the same event id with another body; it was kept), ForbiddenError (history of a
        live account), InputError.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.take(item, partial(settle_future, future))
        return future

    def take(self, item: Item, settle: Settle) -> None:
        """Take one item as `submit` does; `settle` is told its outcome or error, later and once.

        For the hot path: a future of its own costs an item several passages through the event loop.
        """
        if self._ended:
            raise stopping()
        (self._waiting if item.question is None else self._questions).put(item, settle)
        self._work.set()

    async def run(self) -> None:
        """Commit batch after batch until cancelled; then refuse what still waits and store a last snapshot.

        Raises whatever broke that no batch can be blamed for: the process must end then, and be started again.
        """
        try:
            while True:
                if self._idle():
                    await self._wait()
                following, self._next = self._next, None
                await self._commit_all(await self._gathered() if following is None else following.batch, following)
                await self._rest()
        finally:
            self._ended = True
            await self._look_no_further()
            if self._next is not None:
                refuse(self._next.batch, stopping())
            while batch := self._next_batch():
                refuse(batch, stopping())
            await self._keeper.stop()

    def _idle(self) -> bool:
        return not (self._waiting or self._questions or self._next)

    def _next_batch(self) -> list[Waiting]:
        here = len(self._questions) + len(self._waiting) + self._being_written
        most = self._most = min(MAX_BATCH, self._halves.half(here))
        batch = self._questions.take(most)
        return batch + self._waiting.take(most - len(batch))

    async def _wait(self) -> None:
        """Return when there is something to commit; follow other processes until then."""
        self._work.clear()
        while True:
            try:
                async with asyncio.timeout(FOLLOW_S):
                    await self._work.wait()
            except TimeoutError:
                await self._follow()
            if self._waiting or self._questions:
                return

    async def _follow(self) -> None:
        try:
            await self._keeper.follow()
        except PortcullisError as error:
            self._keeper.forget()
            _log.warning("intake.not_followed", error=str(error))
        except Exception as error:  # noqa: BLE001  an engine that could not follow is built again; intake goes on
            self._keeper.forget()
            _log.error("intake.not_followed", exc_info=error)

    async def _rest(self) -> None:
        if self._next is not None and self._next.scored is not None:
            return  # what is scored holds for this turn alone
        try:
            await self._store.rest(idle=self._idle())
        except UnavailableError as error:
            _log.warning("intake.unavailable", items=0, error=str(error))

    async def _commit_all(self, batch: Sequence[Waiting], following: Following | None = None) -> None:
        if not batch:
            return
        try:
            answers = await self._commit([item for item, _ in batch], following)
        except asyncio.CancelledError:
            self._keeper.forget()
            refuse(batch, stopping())
            raise
        except UnavailableError as error:
            self._keeper.undo()
            _log.warning("intake.unavailable", items=len(batch), error=str(error))
            refuse(batch, error)
        except ConfigurationError as error:
            self._keeper.forget()
            _log.error("intake.engine_not_built", items=len(batch), error=str(error))
            refuse(batch, UnavailableError("the engine cannot be brought up to date: see the log", retry_after_s=60))
        except Exception as error:  # noqa: BLE001  whatever broke, nothing was stored and nobody may be left waiting
            self._keeper.forget()
            await self._take_apart(batch, error)
        else:
            asyncio.get_running_loop().call_soon(answer_all, batch, answers)  # the next batch is sent off first
        if self._looking is not None:
            if self._asking or self._looking.done():
                await self._looking
            else:
                self._looking.cancel()  # it waits for what may come: the next batch goes off at once
            self._looking = None

    async def _take_apart(self, batch: Sequence[Waiting], error: Exception) -> None:
        if self._keeper.blame_requests(alone=len(batch) == 1):
            _log.error("intake.requests_left_out", error=type(error).__name__, exc_info=error)
            await self._commit_all(batch)
            return
        if len(batch) == 1:
            item = batch[0][0]
            _log.error("intake.item_failed", activity_id=item.received.activity_id, exc_info=error)
            refuse(batch, UnavailableError("this event could not be scored; it was not stored", retry_after_s=60))
            return
        _log.error("intake.batch_failed", items=len(batch), error=type(error).__name__)
        self._apart = True
        try:
            await self._one_by_one(batch)
        finally:
            self._apart = False

    async def _one_by_one(self, batch: Sequence[Waiting]) -> None:
        for at, waiting in enumerate(batch, start=1):
            try:
                await self._commit_all([waiting])
            except BaseException:
                refuse(batch[at:], stopping())
                raise

    async def _commit(self, items: Sequence[Item], following: Following | None) -> Sequence[Outcome | PortcullisError]:
        for _ in range(TRIES):
            answers = await self._try(items, following)
            if answers is not None:
                return answers
            following = None
            await self._store.rest(idle=True)  # others go on while this process catches up
        raise UnavailableError("the engine is catching up: send it again in a moment", retry_after_s=BUSY_RETRY_S)

    async def _try(
        self, items: Sequence[Item], following: Following | None
    ) -> Sequence[Outcome | PortcullisError] | None:
        """Commit a batch; None, and nothing happened, when the engine is not where the sequence is."""
        await self._keeper.prepare()
        async with self._store.turn() as turn:
            scored = await self._scored(turn, items, following)
            if scored is None:
                return None
            writes, keys = scored.writes, scored.batch.alert_keys
            standing = await turn.standing_alerts(keys, writes.now - ALERT_WINDOW) if keys else {}
            scored.batch.finish(dict(standing))
            await self._write(turn, scored)
            self._keeper.committed(scored.upto, scored.facts.saved, scored.head)
            await tell_standing(turn, items, scored.answers)
        _tell(scored)
        return scored.answers

    async def _scored(self, turn: IntakeTurn, items: Sequence[Item], following: Following | None) -> Scored | None:
        if following is not None and following.scored is not None and following.ahead is not None:
            if not self._keeper.has(following.scored.engine):
                return None  # another was built since
            if await turn.looked_up(following.ahead) is not None:
                return following.scored
            self._keeper.forget()  # others may have added to the sequence since
            return None
        facts = await _facts(turn, items, following)
        if not self._keeper.near(facts):
            return None
        writes = Writes(self._clock.now())
        engine = await self._keeper.up_to_date(turn, facts, writes)
        refused = self._keeper.take_requests(engine, facts.requests, writes)
        sure = doubted(items) if self._keeper.leaves_requests else items
        scored = score(engine, facts, writes, sure, await self._keeper.listings())
        scored.refused = refused
        return scored

    async def _write(self, turn: IntakeTurn, scored: Scored) -> None:
        """Write a batch, and look ahead meanwhile."""
        self._being_written = len(scored.answers)
        idle = self._looking is None or self._looking.done()  # two at once could each take a next batch
        if idle and not self._apart:
            self._looking = asyncio.create_task(self._look_ahead(turn, scored))
        try:
            await turn.write(scored.writes)
        except BaseException:
            await self._look_no_further()
            if self._next is not None:
                self._next.drop()
            raise
        finally:
            self._being_written = 0
            self._work.set()

    async def _look_no_further(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _gathered(self) -> list[Waiting]:
        """Take the next batch, once no more comes at once."""
        await self._arrived()
        return self._next_batch()

    async def _arrived(self) -> None:
        before = -1
        while before < (before := len(self._waiting) + len(self._questions)) < MAX_BATCH:
            for _ in range(_ARRIVALS):
                await asyncio.sleep(0)

    async def _look_ahead(self, turn: IntakeTurn, before: Scored) -> None:
        """Have the next batch grow by what arrives until the one before it is written.

        Whatever breaks, nobody's item is lost: the next batch is read and scored in its turn, by an engine built anew.
        """
        if self._next is not None:
            return  # a batch that is tried again writes more than once
        try:
            self._keeper.copy()
            await self._next_grows(turn, before)
        except Exception as error:  # noqa: BLE001  it is told, and the batch is still whole
            self._give_up_next(error)

    def _give_up_next(self, error: Exception) -> None:
        self._keeper.forget()
        if self._next is not None:
            self._next.drop()
        items = 0 if self._next is None else len(self._next.batch)
        _log.warning("intake.not_scored_ahead", items=items, error=type(error).__name__)

    async def _next_grows(self, turn: IntakeTurn, before: Scored) -> None:
        more, take = True, self._begin
        while more and await self._comes():
            await self._arrived()
            self._asking = True
            try:
                more = await take(turn, before)
            finally:
                self._asking = False
            take = self._grow

    async def _comes(self) -> bool:
        """Wait for items while a batch is written; afterwards whatever comes is read in its turn."""
        while self._being_written and not (self._waiting or self._questions):
            self._work.clear()
            await self._work.wait()
        return self._being_written > 0

    async def _begin(self, turn: IntakeTurn, before: Scored) -> bool:
        """Take a next batch, and score it if that can be; say whether it may grow."""
        following = self._next = Following(self._next_batch())
        asked = asked_of([item for item, _ in following.batch])
        if asked.history:
            return False  # whether an account is live is looked up in its own turn
        following.ahead = await _looked_ahead(turn, asked)
        if following.ahead is not None:
            lay_over(following.ahead.facts, asked, before)
            self._score_ahead(following, before)
        return following.scored is not None

    async def _grow(self, turn: IntakeTurn, before: Scored) -> bool:
        """Score what arrived on top of the next batch; say whether it may grow on. What cannot be so waits."""
        following = self._next
        if following is None or following.scored is None:
            return False
        most = self._most - len(following.batch)
        questions = self._questions.first(most)
        others = self._waiting.first(most - len(questions))
        items = [item for item, _ in (*questions, *others)]
        asked = asked_of(items)
        if not (items and self._being_written) or asked.history:
            return False
        ahead = await _looked_ahead(turn, asked)
        if ahead is None or ahead.requested or not self._keeper.has(following.scored.engine):
            return False  # a request has its place before what came after it
        lay_over(ahead.facts, asked, before)
        following.batch += self._questions.take(len(questions))
        following.batch += self._waiting.take(len(others))
        following.scored.grow(items, ahead.facts, self._clock.now())
        return True

    def _score_ahead(self, following: Following, before: Scored) -> None:
        """Score the next batch while the one before it is being written; afterwards would only keep its answers waiting."""
        ahead = following.ahead
        if ahead is None or ahead.requested or not (self._being_written and before.may_be_built_on):
            return
        engine = self._keeper.for_going_on(ahead.facts)
        if engine is None:
            return
        items = [item for item, _ in following.batch]
        listings = self._keeper.listings_at_hand()
        following.scored = score(engine, ahead.facts, Writes(self._clock.now()), items, listings)


async def _looked_ahead(turn: IntakeTurn, asked: Asked) -> Ahead | None:
    try:
        return await turn.look_ahead(asked)
    except Exception as error:  # noqa: BLE001  what could not be read ahead is read in its turn
        _log.warning("intake.not_looked_ahead", items=len(asked.events), error=str(error))
        return None


def _tell(scored: Scored) -> None:
    if scored.refused:
        _log.error("intake.requests_refused", requests=scored.refused)
    if scored.batch.no_room:
        most = scored.engine.settings.max_accounts
        _log.error("intake.engine_full", refused=scored.batch.no_room, max_accounts=most)


async def _facts(turn: IntakeTurn, items: Sequence[Item], following: Following | None) -> Facts:
    ahead = None if following is None else following.ahead
    found = None if ahead is None else await turn.looked_up(ahead)
    return await turn.facts(asked_of(items)) if found is None else found
