"""The sweeper: finds what is late and sends its job again; on every worker, one at a time.

It looks at rows only: steps that are due or whose lease ran out, timers, messages, overdue requests, accounts without
keys, retired keys whose time is over, Bitcoin sweeps that are not fresh, audit entries without a place in the tree,
connections whose platform is to be asked for events, alerts without an incident, and events whose jobs nobody noted as
handled. So a flushed broker, a killed worker or a schedule that stands still delays work and loses none. What was just
sent is left alone for a while, and longer each time: a worker that is away would find its queue full of the same, and the
others a broker that takes nothing more. Each lane and each queue has a share of its own in every look, so that what one
worker leaves lying keeps nothing from another. A worker's lock keeps the others from looking; anybody else's does not
(`leading.py`).
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Float,
    Text,
    and_,
    column,
    exists,
    func,
    or_,
    select,
    text,
    update,
    values,
)
from sqlalchemy.sql.selectable import Values

from service.domain.errors import PortcullisError
from service.domain.events import StepReady
from service.domain.plan import Lane
from service.flow.routes import HURRIED, JOBS_OF, QUEUES, URGENT, jobs_of
from service.store.database import SqlDatabase
from service.store.tables.proof import handled, outbox
from workers.leading import ForeignHands
from workers.publish import PAYLOAD, CeleryQueue, Waiting

LOCK: Final = (int.from_bytes(b"port"), 2)
"""The advisory lock's two numbers."""
SWEEP_EVERY_S: Final = 1.0
QUIET_S: Final = 15.0
"""How long a job that was just sent is not sent again."""
DESTRUCTION: Final = "keys.destroy_due"
"""A job that no event starts and no reminder repeats: it is due days after it was decided."""
FINALITY: Final = "keys.look"
"""Another: it is due when a chain may be sure of what was done."""
TIMER: Final = "escalate.timer"
"""The third: it is due when nobody answered in time."""
HURRIED_QUIET_S: Final = 5.0
"""The same for jobs that a hold waits for."""
LONGEST_QUIET_S: Final = 1_800.0
"""What that grows to, doubled each time that the job is late still."""
HURRIED_LONGEST_QUIET_S: Final = 300.0
"""The same for jobs that a hold waits for."""
UNHANDLED_AFTER: Final = timedelta(seconds=30)
HURRIED_AFTER: Final = timedelta(seconds=3)
"""The same for jobs that a hold waits for: one that was sent twice costs a look, one that is late costs money."""
UNHANDLED_FOR: Final = timedelta(days=1)
"""How long a job is sent again that fails in ways nobody foresaw; one that a hold waits for is sent again for ever."""
UNPLACED_AFTER: Final = timedelta(seconds=1)
"""How long an audit entry has to get its place in the tree."""
UNTRIAGED_AFTER: Final = timedelta(seconds=30)
"""How long an alert's own job has to find its incident, whatever became of the event."""
KEYLESS_AFTER: Final = timedelta(seconds=10)
"""How long an account's own job has to provision it."""
BATCH: Final = 200
_MOST_SETTLED: Final = 1_000
_ALERT: Final = "triage.alert"
_MOST_REMEMBERED: Final = 10_000

log = structlog.get_logger(__name__)


class Sweeper:
    """Runs in a thread until `stop` is set."""

    def __init__(self, db: SqlDatabase, queue: CeleryQueue, stop: threading.Event, fork_guard: threading.Lock) -> None:
        self._db = db
        self._queue = queue
        self._stop = stop
        self._fork_guard = fork_guard
        self._sent: dict[str, _Sent] = {}
        self._late: set[str] = set()
        """What this look found to be late."""
        self._foreign = ForeignHands(LOCK)

    def run(self) -> None:
        """Sweep until stopped; errors are logged and the next round tries again."""
        while not self._stop.wait(SWEEP_EVERY_S):
            try:
                with self._fork_guard:
                    self.sweep()
            except PortcullisError as error:
                self._sent.clear()  # a broker that is gone may have forgotten what it took before
                log.warning("sweep.failed", error_code=error.code, message=str(error))
            except Exception as error:
                log.exception("sweep.failed", error=type(error).__name__)

    def sweep(self) -> int:
        """Look once; return how many jobs were sent. Does nothing while another worker looks."""
        with self._db.begin() as uow:
            if not self._leads(uow.connection):
                return 0
            due = [step for lane in Lane for step in uow.plans.due(limit=BATCH, lanes=(lane,))]
            late: list[tuple[str, str, dict[str, str]]] = [
                *((f"timer:{t}", TIMER, {"timer_id": t}) for t in uow.attention.due_timers(BATCH)),
                *((f"timer:{t}", FINALITY, {"timer_id": t}) for t in uow.attention.due_looks(BATCH)),
                *(
                    (f"message:{m}", "notify.deliver", {"message_id": str(m)})
                    for m in uow.attention.due_messages(BATCH)
                ),
                *((f"poll:{c}", "poll.connection", {"connection_id": str(c)}) for c in uow.polling.due(BATCH)),
                *_rest(uow.connection, overdue=bool(uow.approvals.overdue(1))),
            ]
            _settle(uow.connection)
            lost = [one for queue in sorted({*QUEUES.values()}) for one in _unhandled(uow.connection, queue)]
        self._late.clear()
        sent = [
            self._again(f"{s.id}@{s.due_at}", _step_job(s.lane), {"step_id": str(s.id)}, trace_id=s.trace_id)
            for s in due
        ]
        sent += [self._again(key, job, payload) for key, job, payload in late]
        sent += [self._again_event(waiting, job) for waiting, job in lost]
        self._forget()
        return sum(sent)

    def _leads(self, connection: Connection) -> bool:
        if connection.execute(select(func.pg_try_advisory_xact_lock(*LOCK))).scalar_one():
            self._foreign.got_it()
            return True
        return self._foreign.outwaited(
            lambda query, values: connection.exec_driver_sql(query, dict(values)).scalars().first()
        )

    def _again(self, key: str, job: str, payload: dict[str, str], *, trace_id: str | None = None) -> bool:
        if not self._is_quiet(key, hurried=_is_hurried(job)):
            return False
        self._queue.publish(job, payload, trace_id)
        return True

    def _again_event(self, waiting: Waiting, job: str) -> bool:
        if not self._is_quiet(f"event:{waiting.number}:{job}", hurried=_is_hurried(job)):
            return False
        self._queue.publish_event(waiting, leave_out=frozenset(waiting.jobs) - {job})
        return True

    def _is_quiet(self, key: str, *, hurried: bool) -> bool:
        now, before = time.monotonic(), self._sent.get(key)
        self._late.add(key)
        if before is not None and now < before.until:
            return False
        first, longest = (HURRIED_QUIET_S, HURRIED_LONGEST_QUIET_S) if hurried else (QUIET_S, LONGEST_QUIET_S)
        quiet_s = first if before is None else min(before.quiet_s * 2, longest)
        self._sent[key] = _Sent(now + quiet_s, quiet_s)
        return True

    def _forget(self) -> None:
        """Forget what is late no more, once it was quiet: when it is late again, that is another time."""
        now = time.monotonic()
        self._sent = {key: sent for key, sent in self._sent.items() if key in self._late or now < sent.until}
        if len(self._sent) > _MOST_REMEMBERED:
            self._sent.clear()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A job that was sent again: until when it is left alone, and how long that is."""

    until: float
    quiet_s: float


def _step_job(lane: Lane) -> str:
    return "keys.step" if lane is Lane.KEYS else "contain.step"


def _rest(connection: Connection, *, overdue: bool) -> Iterator[tuple[str, str, dict[str, str]]]:
    if overdue:
        yield "approvals", "approve.expire", {}
    untriaged = (
        "SELECT id FROM alerts WHERE incident_id IS NULL AND raised_at < now() - CAST(:after AS interval) "
        "ORDER BY id LIMIT :most"
    )
    for row in connection.execute(text(untriaged), {"after": UNTRIAGED_AFTER, "most": BATCH}):
        yield f"alert:{row.id}", _ALERT, {"alert_id": row.id}
    waiting = "SELECT 1 FROM audit_entries WHERE leaf_index IS NULL AND at < now() - CAST(:after AS interval) LIMIT 1"
    if connection.execute(text(waiting), {"after": UNPLACED_AFTER}).first() is not None:
        yield "audit", "audit.sequence", {}
    pending = (
        "SELECT id FROM accounts WHERE provisioning = 'pending' AND created_at < now() - CAST(:after AS interval) "
        "ORDER BY id LIMIT 50"
    )
    for row in connection.execute(text(pending), {"after": KEYLESS_AFTER}):
        yield f"account:{row.id}", "keys.provision", {"account_id": row.id}
    doomed = (
        "SELECT DISTINCT account_id FROM vault_keys WHERE state = 'retired' AND destroy_from <= now() "
        "ORDER BY account_id LIMIT 50"
    )
    for row in connection.execute(text(doomed)):
        yield f"doomed:{row.account_id}", DESTRUCTION, {"account_id": row.account_id}
    stale = (
        "SELECT 1 FROM bitcoin_wallets w LEFT JOIN prepared_sweeps p USING (account_id) WHERE w.use = 'current' "
        "AND (p.made_at IS NULL OR p.made_at < now() - interval '3 minutes') LIMIT 1"
    )
    if connection.execute(text(stale)).first() is not None:
        yield "refresh", "keys.refresh", {}


def _settle(connection: Connection) -> None:
    """Mark the events all of whose jobs are noted as handled, so that a look costs what is unfinished, not what was."""
    jobs = _jobs(_routes())
    unnoted = select(jobs.c.job).where(_starts(jobs), ~_noted(jobs)).correlate(outbox)
    oldest = select(outbox.c.id).where(_open(), ~unnoted.exists()).order_by(outbox.c.published_at).limit(_MOST_SETTLED)
    connection.execute(update(outbox).where(outbox.c.id.in_(oldest)).values(settled_at=func.now()))


def _unhandled(connection: Connection, queue: str) -> list[tuple[Waiting, str]]:
    """Events that went out a while ago, with each of their jobs in a queue that is not noted as handled; the oldest."""
    routes = [row for row in _routes() if QUEUES[row[2].partition(".")[0]] == queue]
    if not routes:
        return []
    jobs = _jobs(routes)
    after = func.make_interval(0, 0, 0, 0, 0, 0, jobs.c.after_s)
    query = (
        select(outbox.c.id, outbox.c.event, outbox.c.payload, outbox.c.trace_id, jobs.c.job)
        .join(jobs, _starts(jobs))
        .where(_open(), outbox.c.published_at < func.now() - after)
        .where(or_(jobs.c.hurried, outbox.c.published_at > func.now() - UNHANDLED_FOR))
        .where(~_noted(jobs), text(f"{PAYLOAD} IS NOT NULL"))
        .order_by(outbox.c.id, jobs.c.job)
        .limit(BATCH)
    )
    return [(Waiting(r.id, r.event, r.payload, r.trace_id), r.job) for r in connection.execute(query)]


def _jobs(routes: Sequence[tuple[str, str, str]]) -> Values:
    """A table of routes, with how long each job has before it is sent again."""
    columns = (
        column("event", Text),
        column("lane", Text),
        column("job", Text),
        column("after_s", Float),
        column("hurried", Boolean),
    )
    told = [(*row, _after(row[2]).total_seconds(), _is_hurried(row[2])) for row in routes]
    return values(*columns, name="jobs").data(told)


def _open() -> ColumnElement[bool]:
    return and_(outbox.c.published_at.is_not(None), outbox.c.settled_at.is_(None))


def _starts(jobs: Values) -> ColumnElement[bool]:
    return and_(jobs.c.event == outbox.c.event, jobs.c.lane.in_(["", outbox.c.payload["lane"].astext]))


def _noted(jobs: Values) -> ColumnElement[bool]:
    noted = exists().where(handled.c.key == func.concat("job:", outbox.c.id, ":", jobs.c.job))
    # Left to itself, SQLAlchemy looks one query outwards only: two below, any other event's note would do.
    return noted.correlate(outbox, jobs)


def _after(job: str) -> timedelta:
    return HURRIED_AFTER if _is_hurried(job) else UNHANDLED_AFTER


def _is_hurried(job: str) -> bool:
    return QUEUES[job.partition(".")[0]] in HURRIED or job in URGENT


def _routes() -> list[tuple[str, str, str]]:
    """The table of routes as rows of (event, lane or nothing, job)."""
    rows = [(event, "", job) for event, jobs in JOBS_OF.items() for job in jobs if event != StepReady.name]
    lanes = [(StepReady.name, lane.value, jobs_of(StepReady.name, {"lane": lane.value})[0]) for lane in Lane]
    return [*rows, *lanes]
