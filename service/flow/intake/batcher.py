"""Intake: what arrives while one transaction commits is the next batch; everybody is answered after the commit (D3).

Rules:

- No linger: an item that finds intake idle is committed alone, at once.
- One order: a batch holds the sequence's lock from its first read to its commit, over all processes.
- If the transaction fails nothing was stored, the engine is built again from the store, and everybody in the batch gets
  UnavailableError: the sender repeats, and the event id makes the repeat harmless.
- One item that breaks scoring must not sink the others: the batch is taken apart and each item gets a transaction of its
  own; only the broken one is refused, as our own fault.
- Waiting is bounded, by items and by their bytes: beyond either limit the caller is told to come back.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog

from service.domain.errors import PortcullisError, UnavailableError
from service.domain.events import Event
from service.domain.intake import AccountKey, EventKey, Item, Mode, Outcome, TransactionKey
from service.flow.intake.keeper import EngineKeeper
from service.flow.intake.scoring import Batch, Facts
from service.ports.clock import Clock
from service.ports.store.intake import IntakeStore, IntakeTransaction, Writes

MAX_BATCH: Final = 256
MAX_WAITING: Final = 4096
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Raw bytes of all items that wait together; a batch that is being committed no longer waits."""
ALERT_WINDOW: Final = timedelta(minutes=10)
"""An alert of the same key within this time is the same alert."""
_BUSY_RETRY_S: Final = 1.0

Publish = Callable[[str, Mapping[str, str]], None]
"""Publishes one event's jobs; may block and may fail: the relay catches what it misses."""

_log = structlog.get_logger(__name__)
_Waiting = tuple[Item, "asyncio.Future[Outcome]"]


class Intake:
    """The one batcher of a process. `run` is its task; `submit` may be called by any number of tasks."""

    def __init__(self, store: IntakeStore, keeper: EngineKeeper, clock: Clock, publish: Publish | None = None) -> None:
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._publish = publish
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._work = asyncio.Event()
        self._publishing: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Outcome:
        """Store one item and return its outcome after the commit.

        Raises UnavailableError (nothing was stored), ConflictError (the same event id with another body; it was kept),
        ForbiddenError (history of a live account), InputError.
        """
        size = len(item.received.raw)
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            raise UnavailableError("intake is behind: send it again in a moment", retry_after_s=_BUSY_RETRY_S)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._waiting_bytes += size
        self._work.set()
        return await future

    async def run(self) -> None:
        """Commit batch after batch until cancelled; then refuse what still waits."""
        try:
            while True:
                await self._work.wait()
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
                self._waiting_bytes -= sum(len(item.received.raw) for item, _ in batch)
                if not self._waiting:
                    self._work.clear()
                await self._commit_all(batch)
        finally:
            _answer(list(self._waiting), UnavailableError("the service is stopping: send it again", retry_after_s=5))
            self._waiting.clear()
            self._waiting_bytes = 0
            await asyncio.gather(*self._publishing, return_exceptions=True)

    async def _commit_all(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        try:
            answers = await self._commit([item for item, _ in batch])
        except asyncio.CancelledError:
            self._keeper.forget()
            _answer(batch, UnavailableError("the service is stopping: send it again", retry_after_s=5))
            raise
        except UnavailableError as error:
            self._keeper.forget()
            _log.warning("intake.unavailable", items=len(batch), error=str(error))
            _answer(batch, error)
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
        for waiting in batch:
            await self._commit_all([waiting])

    async def _commit(self, items: Sequence[Item]) -> Sequence[Outcome | PortcullisError]:
        writes = Writes(self._clock.now())
        async with self._store.begin() as transaction:
            last = await transaction.lock()
            engine = await self._keeper.up_to_date(transaction, last, writes)
            refused = self._keeper.take_requests(engine, list(await transaction.requests()), writes)
            batch = Batch(engine, await _facts(transaction, items), writes)
            answers = [batch.take(item) for item in items]
            keys = batch.alert_keys
            standing = await transaction.standing_alerts(keys, writes.now - ALERT_WINDOW) if keys else {}
            batch.finish(dict(standing))
            await transaction.write(writes)
        if refused:
            _log.error("intake.requests_refused", requests=refused)
        self._hand_over([event for _, events, _ in writes.entries for event in events])
        return answers

    def _hand_over(self, events: Sequence[Event]) -> None:
        if not events or self._publish is None:
            return
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(_publish_all, self._publish, list(events)))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)


def _publish_all(publish: Publish, events: Sequence[Event]) -> None:
    for event in events:
        try:
            publish(event.name, event.payload())
        except PortcullisError as error:
            _log.warning("intake.publish_missed", event_name=event.name, error=str(error))


async def _facts(transaction: IntakeTransaction, items: Sequence[Item]) -> Facts:
    activities = [item.received.activity for item in items]
    accounts = {AccountKey(a.connection, a.account) for a in activities if a.account is not None}
    transactions = {TransactionKey(a.connection, a.transaction) for a in activities if a.transaction is not None}
    questions = [EventKey(i.received.activity.connection, i.question) for i in items if i.question is not None]
    history = {i.received.activity.connection for i in items if i.mode is Mode.HISTORY}
    return Facts(
        events=dict(await transaction.events([EventKey(a.connection, a.event_id) for a in activities])),
        accounts=dict(await transaction.accounts(sorted(accounts))),
        transactions=dict(await transaction.transactions(sorted(transactions))),
        decisions=dict(await transaction.decisions(questions)),
        live=await transaction.live_connections(sorted(history)) if history else frozenset(),
    )


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
