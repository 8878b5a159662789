"""Keeps a step's lease alive while a worker is busy with it.

A short lease lets a dead worker be noticed within seconds; renewing it lets a slow one finish. One thread a process looks
after whatever is held: it dies with its process, which is the point: after kill -9 nobody renews, the lease ends, and the
sweeper hands the step on. It is there before the first step, because starting one takes as long as two statements.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import structlog

from service.domain.errors import PortcullisError, StaleFenceError
from service.domain.ids import StepId
from service.flow.contain import LEASE
from service.ports.store.unit import Database

RENEW_EVERY_S: Final = LEASE.total_seconds() / 3

log = structlog.get_logger(__name__)


def keeper(db: Database) -> Callable[[StepId, int], AbstractContextManager[None]]:
    """Return what renews a lease for the duration of a block; made after the fork, because a thread outlives none."""
    return _Keeper(db).keep


class _Keeper:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._held: dict[tuple[StepId, int], float] = {}
        """Each lease that is held, and when it was last renewed."""
        self._turn = threading.Lock()
        threading.Thread(target=self._run, name="leases", daemon=True).start()

    @contextmanager
    def keep(self, step_id: StepId, fence: int) -> Iterator[None]:
        """Renew one lease until the block ends, and not a moment longer: its end waits for a renewal under way."""
        with self._turn:
            self._held[step_id, fence] = time.monotonic()
        try:
            yield
        finally:
            self._held.pop((step_id, fence), None)  # first: waiting may be cut short, and nobody renews it any more
            with self._turn:
                pass

    def _run(self) -> None:
        while True:
            time.sleep(RENEW_EVERY_S / 2)
            with self._turn:
                late = time.monotonic() - RENEW_EVERY_S / 2
                for (step_id, fence), renewed_at in list(self._held.items()):
                    if renewed_at <= late and (step_id, fence) in self._held:
                        self._renew(step_id, fence)

    def _renew(self, step_id: StepId, fence: int) -> None:
        try:
            with self._db.begin() as uow:
                uow.plans.extend(step_id, fence, LEASE)
        except StaleFenceError:
            self._held.pop((step_id, fence), None)
            return
        except PortcullisError as error:
            log.warning("lease.not_renewed", step_id=step_id, error_code=error.code)
        except Exception as error:
            log.exception("lease.not_renewed", step_id=step_id, error=type(error).__name__)
        if (step_id, fence) in self._held:
            self._held[step_id, fence] = time.monotonic()
