"""Alert → hold without the broker: a child of the worker takes alerts where their events were left (ADR 0048).

Rules: it sleeps until a commit wakes it (LISTEN) and takes the oldest alert that nobody was told of by marking its event
as handed over, in one statement, so that two takers never get one; then it goes on towards the hold (`straight.py`). While
alerts wait, what no hold waits for is left, and done afterwards.
Whatever it leaves, because it is busy, hangs or dies, the relay publishes `relay.HEAD_START_S` later; what it took and did
not note as done the sweeper sends again. Its rows tell it what to do, so no message can be invented to it; a
row that is no event is set aside. A round that takes longer than any child's job may ends the process, by the system's
timer: platforms that answer without end, or a token that hangs, keep it from nothing else (`tending.py` starts another).
"""

import gc
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, LiteralString, Protocol

import psycopg
import structlog

from hsm.errors import HsmError
from service.config import Settings
from service.domain.errors import PortcullisError
from service.flow.routes import JOBS_OF
from workers.app import HARD_LIMIT_S
from workers.jobs import Root
from workers.publish import PAYLOAD, Message

EVENT: Final = "alert_raised"
(JOB,) = JOBS_OF[EVENT]
"""All that the event starts: whoever takes it does the whole of it."""
POLL_S: Final = 1.0
"""How long it sleeps at most: a wake-up may be lost, and nobody tells it that its worker died."""
LIMIT_S: Final = float(HARD_LIMIT_S)
"""How long the start may take, and one alert with what is urgent after it: as long as a job in any other child."""
_PAUSE_AFTER_ERROR_S: Final = 1.0
_TAKE: Final[LiteralString] = f"""
    UPDATE outbox SET published_at = now(), settled_at = CASE WHEN {PAYLOAD} IS NULL THEN now() END WHERE id = (
        SELECT id FROM outbox WHERE published_at IS NULL AND event = %s ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id, {PAYLOAD}, left(trace_id, 128)
"""  # noqa: S608  both parts are text of our own
_WAITS: Final[LiteralString] = "SELECT 1 FROM outbox WHERE published_at IS NULL AND event = %s LIMIT 1"

log = structlog.get_logger(__name__)


def take(connection: psycopg.Connection) -> Message | None:
    """Take the oldest alert that waits, setting aside what is none; None when none waits. Raises what the driver raises."""
    while (row := connection.execute(_TAKE, (EVENT,), prepare=True).fetchone()) is not None:
        number, payload, trace_id = row
        if payload is not None:
            return Message(JOB, payload, trace_id, number)
        log.error("alarm.malformed_event", outbox_id=number)
    return None


def waits(connection: psycopg.Connection) -> bool:
    """Say whether an alert waits to be taken; none does for who cannot tell, because the question comes amid a step."""
    try:
        return connection.execute(_WAITS, (EVENT,), prepare=True).fetchone() is not None
    except psycopg.Error:
        return False


class AlarmRoot(Root, Protocol):
    """The child's wiring."""

    @property
    def rehearse(self) -> Callable[[], object]: ...

    def alert(self, message: Message, more: Callable[[], bool]) -> None: ...

    def finish(self) -> bool: ...


class Alarm:
    """The child: works until it is told to stop or its worker is gone.

    `ready_to` is where it says that it is at work, `worker` the process that started it: whoever is its parent by now may
    be another, because that one died.
    """

    def __init__(self, settings: Settings, build: Callable[[Settings], AlarmRoot], ready_to: int, worker: int) -> None:
        self._settings = settings
        self._build = build
        self._ready_to = ready_to
        self._worker = worker
        self._stop = threading.Event()

    def run(self) -> int:
        """Run; return the exit code, 1 when it cannot start."""
        signal.signal(signal.SIGTERM, self._told)
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # whoever interrupts the group means the worker, which says so here
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        _limit()
        try:
            root = self._build(self._settings)
        except (PortcullisError, HsmError) as error:
            log.critical("alarm.cannot_start", error_code=error.code, message=str(error))
            return 1
        try:
            root.rehearse()
            gc.collect()
            gc.freeze()  # so that no hold waits while the collector walks what stays for ever
            self._say_ready()
            while self._wanted():
                self._listen(root)
        finally:
            root.close()
        return 0

    def _say_ready(self) -> None:
        with suppress(BrokenPipeError):  # nobody listens any more: the worker is gone, which ends this process, too
            os.write(self._ready_to, b"r")
        os.close(self._ready_to)

    def _told(self, _number: int, _frame: Any) -> None:
        self._stop.set()

    def _wanted(self) -> bool:
        return not self._stop.is_set() and os.getppid() == self._worker

    def _listen(self, root: AlarmRoot) -> None:
        try:
            with psycopg.connect(
                self._settings.database_url.reveal(), autocommit=True, connect_timeout=5
            ) as connection:
                connection.execute("LISTEN outbox")
                connection.execute("SET synchronous_commit TO off")
                while self._wanted():
                    _limit()
                    found = take(connection)
                    if found is not None:
                        root.alert(found, partial(waits, connection))
                    elif not root.finish():
                        next(connection.notifies(timeout=POLL_S, stop_after=1), None)
        except psycopg.Error as error:
            log.warning("alarm.database_lost", error=type(error).__name__)
            self._stop.wait(_PAUSE_AFTER_ERROR_S)


def _limit() -> None:
    """Give the process `LIMIT_S` from now; its end is the system's doing, so nothing that hangs in here can miss it."""
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
