"""Outbox → broker: publishes the jobs of every event once it is committed.

One relay works at a time, whichever worker holds the advisory lock; the others wait to take over, unless whoever holds it
is no worker (`leading.py`). It sleeps until a
commit wakes it (LISTEN), and looks by itself once a second in case the wake-up was lost. A broker that is down delays
everything and loses nothing: rows stay unpublished until it takes them. A crash between publishing and marking sends a
job twice, which every job endures.
"""

import threading
from collections.abc import Mapping
from functools import partial
from typing import Final, LiteralString

import psycopg
import structlog

from service.domain.errors import UnavailableError
from service.domain.secrets import Secret
from workers.leading import ForeignHands
from workers.publish import CeleryQueue, Waiting

LOCK: Final = 0x706F7274_00000001
"""The advisory lock's number: `port` and 1."""
BATCH: Final = 100
POLL_S: Final = 1.0
_STANDBY_S: Final = 2.0
_PAUSE_AFTER_ERROR_S: Final = 1.0

log = structlog.get_logger(__name__)


class Relay:
    """Runs in a thread until `stop` is set."""

    def __init__(self, url: Secret, queue: CeleryQueue, stop: threading.Event, fork_guard: threading.Lock) -> None:
        self._url = url
        self._queue = queue
        self._stop = stop
        self._fork_guard = fork_guard

    def run(self) -> None:
        """Relay until stopped; a lost database or broker is tried again for ever."""
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._url.reveal(), autocommit=True, connect_timeout=5) as connection:
                    self._lead(connection)
            except psycopg.Error as error:
                log.warning("relay.database_lost", error=type(error).__name__)
                self._stop.wait(_PAUSE_AFTER_ERROR_S)

    def _lead(self, connection: psycopg.Connection) -> None:
        foreign = ForeignHands(LOCK)
        connection.execute("LISTEN outbox")
        while not self._stop.is_set():
            if _locked(connection):
                while not self._stop.is_set():
                    self._relay(connection)
            elif foreign.outwaited(partial(_first, connection)):
                self._relay(connection)
            else:
                self._stop.wait(_STANDBY_S)

    def _relay(self, connection: psycopg.Connection) -> None:
        """Publish what waits, then sleep until there is more."""
        try:
            with self._fork_guard:
                more = self.publish_waiting(connection)
        except UnavailableError as error:
            log.warning("relay.broker_lost", message=str(error))
            self._stop.wait(_PAUSE_AFTER_ERROR_S)
            return
        if not more:
            next(connection.notifies(timeout=POLL_S, stop_after=1), None)

    def publish_waiting(self, connection: psycopg.Connection) -> bool:
        """Publish the oldest waiting events; return whether there may be more. Raises UnavailableError."""
        rows = connection.execute(
            "SELECT id, event, payload, trace_id FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT %s", (BATCH,)
        ).fetchall()
        sent: list[int] = []
        try:
            for number, event, payload, trace_id in rows:
                self._publish(number, event, payload, trace_id)
                sent.append(number)
        finally:
            # What went out is marked even when the broker failed in between.
            connection.execute("UPDATE outbox SET published_at = now() WHERE id = ANY(%s)", (sent,))
        return len(rows) == BATCH

    def _publish(self, number: int, event: str, payload: dict[str, str], trace_id: str | None) -> None:
        try:
            self._queue.publish_event(Waiting(number, event, payload, trace_id))
        except KeyError:
            log.error("relay.unknown_event", outbox_id=number, event_name=event)  # noqa: TRY400  nothing to trace


def _locked(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    return row is not None and bool(row[0])


def _first(connection: psycopg.Connection, query: LiteralString, values: Mapping[str, object]) -> str | None:
    row = connection.execute(query, values).fetchone()
    return None if row is None else str(row[0])
