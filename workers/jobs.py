"""Binds job names to functions: when and how often, never what.

Each job gets its ids and calls one flow function. Trace, incident and step ids are bound to the logs for its duration.
A job that an event started is noted as handled once it worked and nothing urgent is left to do, or once it is clear that
repeating cannot help; what is not noted, the sweeper sends again. Whoever holds the broker can invent messages, so a
message that names an event is believed only if the event's row starts this job with these very words: else one invented
message could have another event's job noted as handled. A job whose words are more than ids runs for such a row alone. A
job that is noted as handled is not done again. After a job the child goes on with the urgent one that it made due
(`hurry.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, Final, Protocol

import structlog
from celery import Celery

from service.domain.errors import PortcullisError
from service.ports.store.unit import Database
from workers.hurry import Hurry
from workers.publish import Message, Waiting, done_key
from workers.retry import is_final, log_failure, pause_before_retry, try_again

Job = Callable[[Mapping[str, str]], object]
Jobs = Mapping[str, Job]
BY_EVENT_ALONE: Final = frozenset({"respond.request"})
"""Its message says what is asked for and by whom."""
MOST_IN_A_ROW: Final = 3
"""How many urgent jobs a child begins after one that was sent to it: their time limits are one job's together."""
log = structlog.get_logger(__name__)
_BOUND: Final = (
    "incident_id",
    "step_id",
    "alert_id",
    "approval_id",
    "message_id",
    "timer_id",
    "account_id",
    "connection_id",
)


class Root(Protocol):
    """One child process's wiring."""

    @property
    def db(self) -> Database: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def hurry(self) -> Hurry: ...

    def close(self) -> None: ...


def register(app: Celery, names: Iterable[str], root: Callable[[], Root]) -> None:
    """Make the application know these jobs; each looks its function up in the child's own root."""
    for name in names:
        app.task(_runner(name, root), name=name, bind=True)


class _Standing(Enum):
    """What the rows say of a message."""

    TO_DO = "to do"
    HANDLED = "handled"
    INVENTED = "invented"


def _standing(db: Database, message: Message) -> _Standing:
    number, job = message.outbox_id, message.job
    if number is None:
        return _Standing.INVENTED if job in BY_EVENT_ALONE else _Standing.TO_DO
    with db.begin() as uow:
        found = uow.handed_over(number, done_key(number, job))
    if found is None:
        return _Standing.INVENTED
    event, payload, handled = found
    if payload != message.payload or job not in Waiting(number, event, payload, None).jobs:
        return _Standing.INVENTED
    return _Standing.HANDLED if handled else _Standing.TO_DO


def _runner(name: str, root: Callable[[], Root]) -> Callable[..., None]:
    def run(task: Any, payload: dict[str, str], trace_id: str | None = None, outbox_id: int | None = None) -> None:
        message = Message(name, payload, trace_id, outbox_id)
        with bound(message):
            try:
                done = _work(root(), message)
            except Exception as error:  # noqa: BLE001  every failure is judged in one place
                pause = pause_before_retry(error, task.request.retries)
                log_failure(name, error, pause)
                if pause is not None:
                    try_again(task, error, pause)
                if is_final(error):
                    note(root(), [message])
                return
        note(root(), [*done, *_go_on(root())])

    return run


def begin(root: Root, message: Message) -> None:
    """Do a job that its event's own row told of, and what is urgent after it; a failure is the sweeper's, as ever."""
    with bound(message):
        try:
            root.jobs[message.job](message.payload)
        except Exception as error:  # noqa: BLE001  whatever it was, the next alert must not wait for it
            log_failure(message.job, error, None)
            if is_final(error):
                note(root, [message])
            return
    note(root, [message, *_go_on(root)])


def _work(root: Root, message: Message) -> list[Message]:
    """Do one job unless it is handled already; return it when it worked, to be noted."""
    standing = _standing(root.db, message)
    if standing is _Standing.INVENTED:
        log.error("job.not_genuine", outbox_id=message.outbox_id)
    if standing is not _Standing.TO_DO:
        return []
    root.jobs[message.job](message.payload)
    return [message]


def _go_on(root: Root) -> Iterator[Message]:
    """Begin the urgent job that this one made due, and so on; whatever goes wrong, its published copy is still to come.

    Nothing is looked up first: its event is from a commit of this very child.
    """
    for _ in range(MOST_IN_A_ROW):
        message = root.hurry.take(root.jobs.keys())
        if message is None:
            return
        with bound(message):
            try:
                root.jobs[message.job](message.payload)
            except Exception as error:  # noqa: BLE001  judged by whoever gets the published copy
                log_failure(message.job, error, None)
                return
        yield message


def note(root: Root, messages: Sequence[Message]) -> None:
    """Note what worked, after all that was urgent; what could not be noted is sent again, which every job endures."""
    keys = [done_key(one.outbox_id, one.job) for one in messages if one.outbox_id is not None]
    if not keys:
        return
    try:
        with root.db.begin(on_disk=False) as uow:
            for key in keys:
                uow.ask(uow.once, key)
            for key in keys:
                uow.once(key)
    except PortcullisError as error:
        log_failure(messages[0].job, error, None)


def bound(message: Message) -> AbstractContextManager[None]:
    """Bind a job's name, trace and ids to the logs for a block."""
    ids = {key: value for key, value in message.payload.items() if key in _BOUND}
    return structlog.contextvars.bound_contextvars(job=message.job, trace_id=message.trace_id, **ids)
