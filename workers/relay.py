"""Outbox → broker: publishes the jobs of every event once it is committed.

One relay works at a time, whichever worker holds the advisory lock; the others wait to take over, unless whoever holds it
is no worker (`leading.py`). It sleeps until a commit wakes it (LISTEN), and looks by itself once a second in case the
wake-up was lost. A broker that is down delays everything and loses nothing: rows stay unpublished until it takes them. A
crash between publishing and marking sends a job twice, which every job endures; so the marks need not wait for the disk.
What a hold does not wait for is published `HEAD_START_S` later, because the child that opened an incident goes on towards
its hold by itself (ADR 0029), and pages, mail and second copies of its own jobs would compete with it for the processor
(ADR 0043). Alerts are left alone for as long, because whoever waits for them takes them by itself (`alarm.py`). Where
several wait and it takes one after another, they are left for it, and whatever else is for the same workers waits behind
them, each for `PATIENCE_S` at most, however many wait: otherwise a burst goes to children that take longer for each alert,
amid pages, mail and further steps of the first ones, which fill the line to the platform (ADR 0061). That second is counted
by this process's own clock, from when there was an event of that number; one that is committed late waits less. What people
released, and what the key worker does, waits for no alert.
A row that is no event is set aside, settled and said in the log, because one that stayed would stop all behind it.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, LiteralString

import psycopg
import structlog

from service.domain.errors import UnavailableError
from service.domain.secrets import Secret
from service.flow.routes import HURRIED, JOBS_OF, QUEUES
from workers.alarm import EVENT
from workers.leading import ForeignHands
from workers.publish import PAYLOAD, CeleryQueue, Waiting

LOCK: Final = (int.from_bytes(b"port"), 1)
"""The advisory lock's two numbers."""
BATCH: Final = 100
POLL_S: Final = 1.0
HEAD_START_S: Final = 0.05
"""Seconds."""
PATIENCE_S: Final = 1.0
"""How long an alert is left for whoever takes them one after another, and other work behind alerts."""
BUSY_S: Final = 0.25
"""How long one of several may take before the others are published."""
MOST_LEFT: Final = 50
"""Alerts that are left for one child: what it gets through in `PATIENCE_S`."""
FIRST: Final = tuple(
    name for name, jobs in JOBS_OF.items() if any(QUEUES[j.partition(".")[0]] in HURRIED for j in jobs)
)
"""Events that start a job in a queue which a hold waits for."""
AT_ONCE: Final = tuple(name for name in FIRST if not {"triage.alert", "contain.step"} & {*JOBS_OF[name]})
"""Those of them that wait for no alert; `step_ready` of the key worker's lane does neither."""
_STANDBY_S: Final = 2.0
_Row = tuple[int, str, dict[str, str], str | None, int, int]
"""Number, event, payload, trace, how soon (2 at once, 1 for a queue that a hold waits for, 0), highest number that waits."""
_ANY: Final = 2**63 - 1
"""No number is higher."""
_WAITING: Final[LiteralString] = f"""
    SELECT id, left(event, 64), {PAYLOAD}, left(trace_id, 128), soon,
        (SELECT max(id) FROM outbox WHERE published_at IS NULL)
    FROM (
        SELECT *, CASE
            WHEN event = ANY(%s) OR event = 'step_ready' AND payload ->> 'lane' = 'keys' THEN 2
            WHEN event = ANY(%s) THEN 1 ELSE 0
        END AS soon FROM outbox WHERE published_at IS NULL AND id <= %s
        ORDER BY soon DESC, event = %s DESC, id LIMIT %s
    ) AS batch ORDER BY soon DESC, id
"""  # noqa: S608  both parts are text of our own; the inner query keeps a backlog's payloads from being looked at, and has all alerts
_PAUSE_AFTER_ERROR_S: Final = 1.0

log = structlog.get_logger(__name__)


class Relay:
    """Runs in a thread until `stop` is set."""

    def __init__(self, url: Secret, queue: CeleryQueue, stop: threading.Event, fork_guard: threading.Lock) -> None:
        self._url = url
        self._queue = queue
        self._stop = stop
        self._fork_guard = fork_guard
        self._seen: dict[int, float] = {}
        """When an event of the batch was first seen, by this process's own clock."""
        self._marks: deque[tuple[float, int]] = deque()
        """When there were events up to which number: the last of `PATIENCE_S` ago or before, and all since then."""
        self._front: list[int] = []
        """The alert that waits longest."""
        self._moved = 0.0
        """When another one came to be there."""

    def run(self) -> None:
        """Relay until stopped; whatever goes wrong is logged and tried again for ever."""
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._url.reveal(), autocommit=True, connect_timeout=5) as connection:
                    self._lead(connection)
            except psycopg.Error as error:
                log.warning("relay.database_lost", error=type(error).__name__)
                self._stop.wait(_PAUSE_AFTER_ERROR_S)
            except Exception as error:
                log.exception("relay.failed", error=type(error).__name__)
                self._stop.wait(_PAUSE_AFTER_ERROR_S)

    def _lead(self, connection: psycopg.Connection) -> None:
        foreign = ForeignHands(LOCK)
        connection.execute("LISTEN outbox")
        connection.execute("SET synchronous_commit TO off")
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
                soon_s = self.publish_waiting(connection)
        except UnavailableError as error:
            log.warning("relay.broker_lost", message=str(error))
            self._stop.wait(_PAUSE_AFTER_ERROR_S)
            return
        if soon_s > 0:
            next(connection.notifies(timeout=soon_s, stop_after=1), None)

    def publish_waiting(self, connection: psycopg.Connection) -> float:
        """Publish what is due of what waits; return after how many seconds to look again. Raises UnavailableError."""
        batch, rows = _waiting(connection)
        now = time.monotonic()
        self._note(rows, now)
        busy = self._is_busy(rows, now)
        due = {row[0]: row for row in self._due(rows, now, busy=busy)}
        overdue = 0
        if busy and batch == BATCH:  # what waits behind the batch may have waited long enough
            overdue, more = _waiting(connection, self._up_to(now))
            due |= {row[0]: row for row in more}
        self._publish_all(connection, due.values())
        if overdue == BATCH:
            return 0.0
        if len(due) < len(rows):
            return HEAD_START_S
        return 0.0 if batch == BATCH else POLL_S

    def _note(self, rows: Sequence[_Row], now: float) -> None:
        """Note what waits, and since when."""
        self._seen = {row[0]: self._seen.get(row[0], now) for row in rows}
        last = rows[0][5] if rows else 0
        if last > (self._marks[-1][1] if self._marks else 0):
            self._marks.append((now, last))
        while len(self._marks) > 1 and now - self._marks[1][0] >= PATIENCE_S:
            self._marks.popleft()

    def _up_to(self, now: float) -> int:
        """Return the number up to which events have waited for `PATIENCE_S`."""
        at, number = self._marks[0]
        return number if now - at >= PATIENCE_S else 0

    def _is_busy(self, rows: Sequence[_Row], now: float) -> bool:
        """Say whether several alerts wait and are taken one after another."""
        alerts = [number for number, event, *_ in rows if event == EVENT]
        if alerts[:1] != self._front:
            self._front, self._moved = alerts[:1], now
        return 1 < len(alerts) <= MOST_LEFT and now - self._moved < BUSY_S

    def _due(self, rows: Sequence[_Row], now: float, *, busy: bool) -> list[_Row]:
        """Return what is published now, of a batch."""

        def is_due(row: _Row) -> bool:
            number, event, _, _, soon, _ = row
            if soon > int(busy) and event != EVENT:
                return True
            return number <= self._up_to(now) if busy else now - self._seen[number] >= HEAD_START_S

        return [row for row in rows if is_due(row)]

    def _publish_all(self, connection: psycopg.Connection, due: Iterable[_Row]) -> None:
        sent: list[int] = []
        try:
            for number, event, payload, trace_id, *_ in due:
                self._publish(number, event, payload, trace_id)
                sent.append(number)
        finally:
            # What went out is marked even when the broker failed in between.
            if sent:
                connection.execute("UPDATE outbox SET published_at = now() WHERE id = ANY(%s)", (sent,))

    def _publish(self, number: int, event: str, payload: dict[str, str], trace_id: str | None) -> None:
        try:
            self._queue.publish_event(Waiting(number, event, payload, trace_id))
        except KeyError:
            log.error("relay.unknown_event", outbox_id=number, event_name=event)  # noqa: TRY400  nothing to trace


def _waiting(connection: psycopg.Connection, up_to: int = _ANY) -> tuple[int, list[_Row]]:
    """Return how many rows a batch of what waits has, at most `BATCH`, and those of them that are events."""
    found = connection.execute(_WAITING, (list(AT_ONCE), list(FIRST), up_to, EVENT, BATCH)).fetchall()
    _set_aside(connection, [row[0] for row in found if row[2] is None])
    return len(found), [row for row in found if row[2] is not None]


def _set_aside(connection: psycopg.Connection, malformed: list[int]) -> None:
    if malformed:
        log.error("relay.malformed_events", outbox_ids=malformed)
        connection.execute(
            "UPDATE outbox SET published_at = now(), settled_at = now() WHERE id = ANY(%s)", (malformed,)
        )


def _locked(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s::int, %s::int)", LOCK).fetchone()
    return row is not None and bool(row[0])


def _first(connection: psycopg.Connection, query: LiteralString, values: Mapping[str, object]) -> str | None:
    row = connection.execute(query, values).fetchone()
    return None if row is None else str(row[0])
