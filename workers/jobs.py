"""Binds job names to functions: when and how often, never what.

Each job gets its ids and calls one flow function. Trace, incident and step ids are bound to the logs for its duration.
A job that an event started is noted as handled once it worked, or once it is clear that repeating cannot help; what is
not noted, the sweeper sends again. Whoever holds the broker can invent messages, so a message that names an event is
believed only if the event's row starts this job with these very words: else one invented message could have another
event's job noted as handled. A job whose words are more than ids runs for such a row alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import structlog
from celery import Celery

from service.ports.store.unit import Database
from workers.publish import Waiting, done_key
from workers.retry import is_final, log_failure, pause_before_retry, try_again

Job = Callable[[Mapping[str, str]], object]
Jobs = Mapping[str, Job]
BY_EVENT_ALONE: Final = frozenset({"respond.request"})
"""Its message says what is asked for and by whom."""
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

    def close(self) -> None: ...


def register(app: Celery, names: Iterable[str], root: Callable[[], Root]) -> None:
    """Make the application know these jobs; each looks its function up in the child's own root."""
    for name in names:
        app.task(_runner(name, root), name=name, bind=True)


def is_genuine(db: Database, name: str, payload: Mapping[str, str], outbox_id: int | None) -> bool:
    """Say whether a message may run: it names no event, or its event starts this job with this payload.

    Raises UnavailableError when the database is not there.
    """
    if outbox_id is None:
        return name not in BY_EVENT_ALONE
    with db.begin() as uow:
        told = uow.handed_over(outbox_id)
    return told is not None and told[1] == payload and name in Waiting(outbox_id, *told, None).jobs


def _runner(name: str, root: Callable[[], Root]) -> Callable[..., None]:
    def run(task: Any, payload: dict[str, str], trace_id: str | None = None, outbox_id: int | None = None) -> None:
        ids = {key: value for key, value in payload.items() if key in _BOUND}
        with structlog.contextvars.bound_contextvars(job=name, trace_id=trace_id, **ids):
            try:
                if not is_genuine(root().db, name, payload, outbox_id):
                    log.error("job.not_genuine", outbox_id=outbox_id)
                    return
                root().jobs[name](payload)
            except Exception as error:  # noqa: BLE001  every failure is judged in one place
                pause = pause_before_retry(error, task.request.retries)
                log_failure(name, error, pause)
                if pause is not None:
                    try_again(task, error, pause)
                if not is_final(error):
                    return
            if outbox_id is not None:
                with root().db.begin() as uow:
                    uow.once(done_key(outbox_id, name))

    return run
