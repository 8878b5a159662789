"""Intake: what arrives while one transaction commits is the next batch; everybody is answered after the commit (D3).

Rules:

- No linger: an item that finds intake idle is committed alone, at once.
- One order: a batch has the sequence's turn from its first read to its commit, over all processes.
- If the transaction fails nothing was stored, an engine that is ahead of the store is built again from it, and everybody in
  the batch gets UnavailableError: the sender repeats, and the event id makes the repeat harmless.
- One item that breaks scoring must not sink the others: the batch is taken apart and each item gets a transaction of its
  own; only the broken one is refused, as our own fault.
- Somebody waits with a deadline for a question before signing: questions go into the next batch before all else, and have
  a quota of their own, so that nothing that can wait keeps them out.
- Waiting is bounded, by items and by their bytes, and of that one connection has a share: beyond either limit the caller is
  told to come back.
- What takes long is done without the turn: an engine that is far behind is brought near before the turn is taken again.
- While one batch is written, the facts of the next are read: of what came until then, on another connection. What the
  batch that was written did is laid over them, and nobody else adds to the sequence in between; if somebody may have, they
  are read again.
- An idle process follows what others add, so that it is never far behind when it has the turn again.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from service.domain.errors import ConfigurationError, PortcullisError, UnavailableError
from service.domain.intake import AccountKey, EventKey, Item, Mode, Outcome, TransactionKey
from service.flow.intake.keeper import EngineKeeper
from service.flow.intake.scoring import Batch
from service.ports.clock import Clock
from service.ports.store.intake import Ahead, Asked, Facts, IntakeStore, IntakeTurn, Writes

MAX_BATCH: Final = 256
MAX_WAITING: Final = 4096
"""Items of each kind, questions and all others, that wait together."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Raw bytes of the items of each kind that wait together; a batch that is being committed no longer waits."""
SHARE: Final = 4
"""One connection may have this part of each limit."""
TRIES: Final = 5
"""How often the turn is taken for one batch before it is said that the engine cannot keep up."""
ALERT_WINDOW: Final = timedelta(minutes=10)
"""An alert of the same key within this time is the same alert."""
FOLLOW_S: Final = 1.0
"""How often an idle process looks what others added."""
_BUSY_RETRY_S: Final = 1.0
_ARRIVALS: Final = 2
"""Rounds of the event loop that what has arrived needs to be taken."""

_log = structlog.get_logger(__name__)
_Waiting = tuple[Item, "asyncio.Future[Outcome]"]


@dataclass(slots=True)
class _Next:
    """The batch that was taken out of the queues while the one before it was written, and what was read for it."""

    batch: list[_Waiting]
    asked: Asked
    ahead: Ahead | None = None

    def follows(self, facts: Facts, last: int) -> None:
        """Lay over what was read what the batch before left: its facts, and the last sequence number."""
        if self.ahead is None:
            return
        found, asked = self.ahead.facts, self.asked
        found.last = last
        found.events.update({key: facts.events[key] for key in asked.events if key in facts.events})
        found.transactions.update(
            {key: facts.transactions[key] for key in asked.transactions if key in facts.transactions}
        )
        for key in asked.questions:
            if key in facts.decisions:  # people may have decided since: what is stored counts
                found.decisions.setdefault(key, facts.decisions[key])


class _Queue:
    """Items of one kind that wait, bounded over all and by connection."""

    def __init__(self) -> None:
        self._items: deque[_Waiting] = deque()
        self._bytes = 0
        self._count_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    def put(self, item: Item, future: "asyncio.Future[Outcome]") -> None:
        """Let an item wait. Raises UnavailableError when too much waits, over all or of its connection."""
        name, size = item.received.activity.connection, len(item.received.raw)
        if len(self._items) >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            raise UnavailableError("intake is behind: send it again in a moment", retry_after_s=_BUSY_RETRY_S)
        if (self._count_of[name] + 1) * SHARE > MAX_WAITING or (
            self._bytes_of[name] + size
        ) * SHARE > MAX_WAITING_BYTES:
            raise UnavailableError(
                "too much of this connection is waiting: send it again in a moment", retry_after_s=_BUSY_RETRY_S
            )
        self._items.append((item, future))
        self._bytes += size
        self._count_of[name] += 1
        self._bytes_of[name] += size

    def take(self, most: int) -> list[_Waiting]:
        """Take the oldest, at most so many."""
        taken = [self._items.popleft() for _ in range(min(len(self._items), most))]
        for item, _ in taken:
            name, size = item.received.activity.connection, len(item.received.raw)
            self._bytes -= size
            self._count_of[name] -= 1
            self._bytes_of[name] -= size
            if not self._count_of[name]:
                del self._count_of[name], self._bytes_of[name]
        return taken


class Intake:
    """The one batcher of a process. `run` is its task; `submit` may be called by any number of tasks."""

    def __init__(self, store: IntakeStore, keeper: EngineKeeper, clock: Clock) -> None:
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._questions = _Queue()
        self._waiting = _Queue()
        self._next: _Next | None = None
        self._ended = False
        self._work = asyncio.Event()

    def submit(self, item: Item) -> "asyncio.Future[Outcome]":
        """Take one item to be stored; the future is its outcome after the commit.

        Raises UnavailableError at once when too much is waiting, or `run` has ended. The future raises UnavailableError
        (nothing was stored), ConflictError (the same event id with another body; it was kept), ForbiddenError (history of a
        live account), InputError.
        """
        if self._ended:
            raise _stopping()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        (self._waiting if item.question is None else self._questions).put(item, future)
        self._work.set()
        return future

    async def run(self) -> None:
        """Commit batch after batch until cancelled; then refuse what still waits and store a last snapshot.

        Raises whatever broke that no batch can be blamed for: the process must end then, and be started again.
        """
        try:
            while True:
                if self._idle():
                    await self._wait()
                following, self._next = self._next, None
                await self._commit_all(self._next_batch() if following is None else following.batch, following)
                await self._rest()
        finally:
            self._ended = True
            if self._next is not None:
                _answer(self._next.batch, _stopping())
            while batch := self._next_batch():
                _answer(batch, _stopping())
            await self._keeper.stop()

    def _idle(self) -> bool:
        return not (self._waiting or self._questions or self._next)

    def _next_batch(self) -> list[_Waiting]:
        batch = self._questions.take(MAX_BATCH)
        return batch + self._waiting.take(MAX_BATCH - len(batch))

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
        try:
            await self._store.rest(idle=self._idle())
        except UnavailableError as error:
            _log.warning("intake.unavailable", items=0, error=str(error))

    async def _commit_all(self, batch: Sequence[_Waiting], following: _Next | None = None) -> None:
        if not batch:
            return
        try:
            answers = await self._commit([item for item, _ in batch], following)
        except asyncio.CancelledError:
            self._keeper.forget()
            _answer(batch, _stopping())
            raise
        except UnavailableError as error:
            self._keeper.undo()
            _log.warning("intake.unavailable", items=len(batch), error=str(error))
            _answer(batch, error)
        except ConfigurationError as error:
            self._keeper.forget()
            _log.error("intake.engine_not_built", items=len(batch), error=str(error))
            _answer(batch, UnavailableError("the engine cannot be brought up to date: see the log", retry_after_s=60))
        except Exception as error:  # noqa: BLE001  whatever broke, nothing was stored and nobody may be left waiting
            self._keeper.forget()
            await self._take_apart(batch, error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                _settle(future, answer)

    async def _take_apart(self, batch: Sequence[_Waiting], error: Exception) -> None:
        if len(batch) == 1:
            item = batch[0][0]
            _log.error("intake.item_failed", activity_id=item.received.activity_id, exc_info=error)
            _answer(batch, UnavailableError("this event could not be scored; it was not stored", retry_after_s=60))
            return
        _log.error("intake.batch_failed", items=len(batch), error=type(error).__name__)
        try:
            for waiting in batch:
                await self._commit_all([waiting])
        finally:
            _answer(batch, _stopping())  # those that no transaction of their own answered: we were cancelled

    async def _commit(self, items: Sequence[Item], following: _Next | None) -> Sequence[Outcome | PortcullisError]:
        for _ in range(TRIES):
            answers = await self._try(items, following)
            if answers is not None:
                return answers
            following = None
            await self._store.rest(idle=True)  # others go on while this process catches up
        raise UnavailableError("the engine is catching up: send it again in a moment", retry_after_s=_BUSY_RETRY_S)

    async def _try(self, items: Sequence[Item], following: _Next | None) -> Sequence[Outcome | PortcullisError] | None:
        """Commit a batch; None, and nothing happened, when the engine is too far from the head of the sequence."""
        writes = Writes(self._clock.now())
        await self._keeper.prepare()
        async with self._store.turn() as turn:
            facts = await _facts(turn, items, following)
            if not self._keeper.near(facts):
                return None
            engine = await self._keeper.up_to_date(turn, facts, writes)
            refused = self._keeper.take_requests(engine, facts.requests, writes)
            batch = Batch(engine, facts, writes)
            answers = batch.take(items)
            keys = batch.alert_keys
            standing = await turn.standing_alerts(keys, writes.now - ALERT_WINDOW) if keys else {}
            batch.finish(dict(standing))
            await self._write(turn, writes)
            self._keeper.committed(facts.saved)
            if self._next is not None:
                self._next.follows(facts, engine.sequence)
            await _stand(turn, items, answers)
        if refused:
            _log.error("intake.requests_refused", requests=refused)
        if batch.no_room:
            _log.error("intake.engine_full", refused=batch.no_room, max_accounts=engine.settings.max_accounts)
        return answers

    async def _write(self, turn: IntakeTurn, writes: Writes) -> None:
        """Write a batch, and look ahead meanwhile."""
        looking = asyncio.create_task(self._look_ahead(turn))
        try:
            await turn.write(writes)
            await looking
        except BaseException:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            if self._next is not None:
                self._next.ahead = None
            raise

    async def _look_ahead(self, turn: IntakeTurn) -> None:
        if self._next is not None:
            return  # a batch that is taken apart writes more than once
        for _ in range(_ARRIVALS):
            await asyncio.sleep(0)
        batch = self._next_batch()
        if not batch:
            return
        following = self._next = _Next(batch, _asked([item for item, _ in batch]))
        if following.asked.history:
            return  # whether an account is live is looked up in its own turn
        try:
            following.ahead = await turn.look_ahead(following.asked)
        except Exception as error:  # noqa: BLE001  what could not be read ahead is read in its turn
            _log.warning("intake.not_looked_ahead", items=len(batch), error=str(error))


async def _facts(turn: IntakeTurn, items: Sequence[Item], following: _Next | None) -> Facts:
    if following is None:
        return await turn.facts(_asked(items))
    found = None if following.ahead is None else await turn.looked_up(following.ahead)
    return await turn.facts(following.asked) if found is None else found


async def _stand(turn: IntakeTurn, items: Sequence[Item], answers: list[Outcome | PortcullisError]) -> None:
    """Tell of each question what holds and clearances say after it was stored; it is stored whatever comes of this."""
    questions = [
        (at, item.received.activity, outcome)
        for at, (item, outcome) in enumerate(zip(items, answers, strict=True))
        if item.question is not None and isinstance(outcome, Outcome)
    ]
    if not questions:
        return
    try:
        found = await turn.standing([(activity, outcome.activity_id) for _, activity, outcome in questions])
    except Exception as error:  # noqa: BLE001  the batch is committed; the gate holds what it cannot look up
        _log.error("intake.standing_unknown", questions=len(questions), exc_info=error)
        return
    for (at, _, outcome), standing in zip(questions, found, strict=True):
        answers[at] = msgspec.structs.replace(outcome, standing=standing)


def _asked(items: Sequence[Item]) -> Asked:
    asked = Asked()
    for item in items:
        activity = item.received.activity
        connection = activity.connection
        asked.events.append(EventKey(connection, activity.event_id))
        if activity.account is not None:
            asked.accounts.add(AccountKey(connection, activity.account))
        if activity.transaction is not None:
            asked.transactions.append(TransactionKey(connection, activity.transaction))
        if item.question is not None:
            asked.questions.append(EventKey(connection, item.question))
        if item.mode is Mode.HISTORY:
            asked.history.add(connection)
    return asked


def _stopping() -> UnavailableError:
    return UnavailableError("the service is stopping: send it again", retry_after_s=5)


def _answer(batch: Sequence[_Waiting], error: PortcullisError) -> None:
    for _, future in batch:
        _settle(future, error)


def _settle(future: "asyncio.Future[Outcome]", answer: Outcome | PortcullisError) -> None:
    if future.done():
        return
    if isinstance(answer, PortcullisError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
