"""Alert → hold without the broker: a child of the worker takes alerts where their events were left (ADR 0048).

Rules: it sleeps until a commit wakes it (LISTEN) and takes the oldest alert that nobody was told of by marking its event
as handed over, in one statement, so that two takers never get one; then it goes on towards the hold as every child does
(ADR 0029). Whatever it leaves, because it is busy, hangs or dies, the relay publishes `relay.HEAD_START_S` later; what it
took and did not note as done the sweeper sends again. Its rows tell it what to do, so no message can be invented to it.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Final, LiteralString, Protocol

import psycopg
import structlog

from hsm.errors import HsmError
from service.config import Settings
from service.domain.errors import PortcullisError
from workers.jobs import Root, begin
from workers.publish import Message

EVENT: Final = "alert_raised"
POLL_S: Final = 1.0
"""How long it sleeps at most: a wake-up may be lost, and nobody tells it that its worker died."""
_PAUSE_AFTER_ERROR_S: Final = 1.0
_TAKE: Final[LiteralString] = """
    UPDATE outbox SET published_at = now() WHERE id = (
        SELECT id FROM outbox WHERE published_at IS NULL AND event = %s ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id, payload, trace_id
"""

log = structlog.get_logger(__name__)


def take(connection: psycopg.Connection) -> Message | None:
    """Take the oldest alert that waits; None when there is none. Raises what the driver raises."""
    row = connection.execute(_TAKE, (EVENT,), prepare=True).fetchone()
    return None if row is None else Message("triage.alert", row[1], row[2], row[0])


class AlarmRoot(Root, Protocol):
    """The child's wiring."""

    @property
    def rehearse(self) -> Callable[[], object]: ...


class Alarm:
    """The child: works until it is told to stop or its worker is gone. `ready_to` is where it says that it is at work."""

    def __init__(self, settings: Settings, build: Callable[[Settings], AlarmRoot], ready_to: int) -> None:
        self._settings = settings
        self._build = build
        self._worker = os.getppid()
        self._ready_to = ready_to
        self._stop = threading.Event()

    def run(self) -> int:
        """Run; return the exit code, 1 when it cannot start."""
        signal.signal(signal.SIGTERM, self._told)
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # whoever interrupts the group means the worker, which says so here
        try:
            root = self._build(self._settings)
        except (PortcullisError, HsmError) as error:
            log.critical("alarm.cannot_start", error_code=error.code, message=str(error))
            return 1
        root.rehearse()
        os.write(self._ready_to, b"r")
        os.close(self._ready_to)
        try:
            while self._wanted():
                self._listen(root)
        finally:
            root.close()
        return 0

    def _told(self, _number: int, _frame: Any) -> None:
        self._stop.set()

    def _wanted(self) -> bool:
        return not self._stop.is_set() and os.getppid() == self._worker

    def _listen(self, root: Root) -> None:
        try:
            with psycopg.connect(
                self._settings.database_url.reveal(), autocommit=True, connect_timeout=5
            ) as connection:
                connection.execute("LISTEN outbox")
                connection.execute("SET synchronous_commit TO off")
                while self._wanted():
                    found = take(connection)
                    if found is not None:
                        begin(root, found)
                    else:
                        next(connection.notifies(timeout=POLL_S, stop_after=1), None)
        except psycopg.Error as error:
            log.warning("alarm.database_lost", error=type(error).__name__)
            self._stop.wait(_PAUSE_AFTER_ERROR_S)
