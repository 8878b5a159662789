"""Keeps a step's lease alive while a worker is busy with it.

A short lease lets a dead worker be noticed within seconds; renewing it lets a slow one finish. The renewing thread dies
with its process, which is the point: after kill -9 nobody renews, the lease ends, and the sweeper hands the step on.
"""

import threading
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
    """Return what renews a lease for the duration of a block."""

    @contextmanager
    def keep(step_id: StepId, fence: int) -> Iterator[None]:
        done = threading.Event()
        thread = threading.Thread(target=_renew, args=(db, step_id, fence, done), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    return keep


def _renew(db: Database, step_id: StepId, fence: int, done: threading.Event) -> None:
    while not done.wait(RENEW_EVERY_S):
        try:
            with db.begin() as uow:
                uow.plans.extend(step_id, fence, LEASE)
        except StaleFenceError:
            return
        except PortcullisError as error:
            log.warning("lease.not_renewed", step_id=step_id, error_code=error.code)
