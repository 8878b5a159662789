"""Binds job names to functions: when and how often, never what.

Each job gets its ids and calls one flow function. Trace, incident and step ids are bound to the logs for its duration.
A job that an event started is noted as handled once it worked, or once it is clear that repeating cannot help; what is
not noted, the sweeper sends again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import structlog
from celery import Celery

from service.ports.store.unit import Database
from workers.publish import done_key
from workers.retry import is_final, log_failure, pause_before_retry, try_again

Job = Callable[[Mapping[str, str]], object]
Jobs = Mapping[str, Job]
_BOUND: Final = ("incident_id", "step_id", "alert_id", "approval_id", "message_id", "timer_id", "account_id")


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


def _runner(name: str, root: Callable[[], Root]) -> Callable[..., None]:
    def run(task: Any, payload: dict[str, str], trace_id: str | None = None, outbox_id: int | None = None) -> None:
        ids = {key: value for key, value in payload.items() if key in _BOUND}
        with structlog.contextvars.bound_contextvars(job=name, trace_id=trace_id, **ids):
            try:
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
