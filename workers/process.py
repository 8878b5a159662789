"""One worker process: its Celery pool, and the relay and sweeper threads beside it.

Rules: the token and the pool of each child are opened after the fork (`worker_process_init`), because PKCS#11 does not
survive one; a child whose root does not open ends the whole process with a message, instead of a pool that looks ready and
can do nothing; forks happen only while relay and sweeper are idle. On ready the process writes its pid to
home/run/ready/<process>, as every process does.
"""

import gc
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from celery import Celery, signals

from hsm.errors import HsmError
from service.clock import SystemClock
from service.config import Settings
from service.domain.errors import PortcullisError, UnavailableError
from service.store.database import SqlDatabase, create
from workers import ready
from workers.app import make_app, make_worker
from workers.jobs import Root, register
from workers.publish import CeleryQueue
from workers.reconcile import Sweeper
from workers.relay import Relay
from workers.tending import END_S, Tending

START_S: Final = 60.0
"""How long a child may take to open its token and pool."""
BEHIND: Final = 5
"""How much nicer (nice(2)) a child of a pool that has an alarm child is than that one, API and database: pages, mail and an
incident's other steps take the processor when no alert on its way to a hold wants it. What the key worker does is a race."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """What one kind of worker consumes and how it is wired."""

    queues: tuple[str, ...]
    jobs: tuple[str, ...]
    children: int
    root: Callable[[Settings], Root]
    check: Callable[[Settings], None]
    """Raises ConfigurationError for what would stop every child, before any is started."""
    alarm: tuple[str, ...] = ()
    """What comes after `python` to start the child that takes alerts where they are left (`alarm.py`); empty: none."""


class Child:
    """The root of this pool child; empty in the parent."""

    def __init__(self, settings: Settings, kind: WorkerKind) -> None:
        self._settings = settings
        self._kind = kind
        self._root: Root | None = None

    def open(self) -> None:
        """Build the root. Raises what the composition root raises."""
        if self._kind.alarm:
            os.nice(BEHIND)
        self._root = self._kind.root(self._settings)

    def root(self) -> Root:
        """Return the root. Raises UnavailableError before it is open."""
        if self._root is None:
            raise UnavailableError("this worker is still starting", retry_after_s=1)
        return self._root

    def close(self) -> None:
        """Close what was opened."""
        if self._root is not None:
            self._root.close()


def run(settings: Settings, kind: WorkerKind) -> int:
    """Run until told to stop; return the exit code. Raises ConfigurationError when it cannot even start."""
    kind.check(settings)
    app = make_app(settings.broker_url, kind.queues)
    app.conf.worker_proc_alive_timeout = START_S
    child = Child(settings, kind)
    register(app, kind.jobs, child.root)
    failed, failing = os.pipe()
    os.set_blocking(failed, False)
    threads = _Threads(settings, app, kind)
    _connect(child, threads, failing)
    worker = make_worker(app, settings.process, kind.queues, kind.children)
    # What a child never collects it never writes to, and so shares with its parent.
    gc.collect()
    gc.freeze()
    try:
        worker.start()
    finally:
        threads.stop()
        ready.withdraw(settings)
    return 1 if _has_failed(failed) else int(worker.exitcode or 0)


class _Threads:
    """Relay and sweeper, which every worker has and of which one each is at work, and who tends the alarm child."""

    def __init__(self, settings: Settings, app: Celery, kind: WorkerKind) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._guard = threading.Lock()
        queue = CeleryQueue(app)
        self._db = SqlDatabase(create(settings.database_url, pool_size=1), SystemClock())
        work = {
            "relay": Relay(settings.database_url, queue, self._stop, self._guard).run,
            "sweeper": Sweeper(self._db, queue, self._stop, self._guard).run,
        }
        if kind.alarm:
            work["tending"] = Tending(kind.alarm, self._stop, self._ready).run
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in work.items()]
        self._tends = bool(kind.alarm)

    def start(self) -> None:
        """Start both; from now on the pool forks only while neither works."""
        # A fork copies only its own thread: another one in mid-work would leave its locks taken in the child for ever.
        os.register_at_fork(
            before=self._guard.acquire, after_in_parent=self._guard.release, after_in_child=self._guard.release
        )
        for thread in self._threads:
            thread.start()
        if not self._tends:
            self._ready()

    def _ready(self) -> None:
        ready.announce(self._settings)
        log.info("worker.ready", pid=os.getpid())

    def stop(self) -> None:
        """Stop both and wait for them."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=2 * END_S)
        self._db.engine.dispose()


def _connect(child: Child, threads: _Threads, failing: int) -> None:
    """Tie our parts to Celery's signals; strong references, because signals keep weak ones."""

    def opened(**_: Any) -> None:
        try:
            child.open()
        except (PortcullisError, HsmError) as error:
            log.critical("worker.cannot_start", error_code=error.code, message=str(error))
            os.write(failing, b"x")
            os.kill(os.getppid(), signal.SIGTERM)

    def closed(**_: Any) -> None:
        child.close()

    def started(**_: Any) -> None:
        threads.start()

    def keep_our_logging(**_: Any) -> None:
        """Its presence keeps Celery from configuring logging."""

    for moment, action in (
        (signals.worker_process_init, opened),
        (signals.worker_process_shutdown, closed),
        (signals.worker_ready, started),
        (signals.setup_logging, keep_our_logging),
    ):
        moment.connect(action, weak=False)


def _has_failed(pipe: int) -> bool:
    try:
        return bool(os.read(pipe, 1))
    except BlockingIOError:
        return False
