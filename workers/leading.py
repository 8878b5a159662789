"""Who leads among the workers, and what happens when somebody who is no worker takes the leader's lock.

Rules: the database lets the authority take the same locks as the workers, and every role where nobody could forbid it
(`store/grants.py`). Who holds one for ever would have nothing relayed or swept. So a lock is respected only in the hands of
a worker's role: anybody else's is logged as an error, and after a few seconds the worker leads without it. If several do so,
jobs are sent twice, which every job endures.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final, LiteralString

import structlog

from service.store.grants import CONTAINMENT, KEYS

PATIENCE_S: Final = 5.0
"""How long a lock in foreign hands is waited for: whoever looks at the database by hand lets go of it."""
_HOLDER: Final[LiteralString] = """
    SELECT a.usename::text FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid = %(high)s::oid AND l.objid = %(low)s::oid
      AND a.usename <> session_user AND a.usename::text <> ALL(%(workers)s)
"""
"""Where a lock of two numbers stands (PostgreSQL manual, pg_locks)."""
Query = Callable[[LiteralString, Mapping[str, object]], str | None]
"""Runs SQL with named parameters and returns the first row's first column, None without a row."""

log = structlog.get_logger(__name__)


class ForeignHands:
    """Watches one lock that this worker did not get."""

    def __init__(self, lock: tuple[int, int]) -> None:
        self._where = {"high": lock[0], "low": lock[1], "workers": [CONTAINMENT, KEYS]}
        self._lock = lock
        self._since: float | None = None

    def outwaited(self, query: Query) -> bool:
        """Say whether to lead without the lock: no worker has held it each time this was asked, for long enough."""
        holder = query(_HOLDER, self._where)
        if holder is None:
            self._since = None
            return False
        if self._since is None:
            self._since = time.monotonic()
            log.error("lead.lock_in_foreign_hands", lock=self._lock, holder=holder, leading_in_s=PATIENCE_S)
        return time.monotonic() - self._since >= PATIENCE_S

    def got_it(self) -> None:
        """Forget what was seen: the lock is ours."""
        self._since = None
