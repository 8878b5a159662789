"""When the baselines are stored: as one snapshot at a sequence number, in the background (design D3, ADR 0025).

Rules:

- The log is the truth: a batch commits rows of the sequence alone, and a snapshot only bounds how many of them have to be
  applied again at the next start. It is due after so many rows, or so many seconds with anything new.
- When a snapshot is due, what changed is copied out of the engine batch by batch, some records at a time, so that no copy
  is a pause; the engine may be ahead of what is committed then. Once only some records are left, all the rest is copied at
  one sequence number, and written when that number is committed. An engine that is given up takes its copies with it.
- One process writes at a time, and who finds that another one has just done it leaves it at that. A failure costs nothing
  but time: what was to be written is written next time. Being late is said in the log, because recovery then takes longer.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from rules.baseline.tables import POOLS
from rules.engine import Engine
from service.domain.errors import PortcullisError
from service.flow.intake.unsaved import Unsaved
from service.ports.store.baselines import BaselineStore

EVERY_ROWS: Final = 50_000
"""Rows after which a snapshot is due: what a start has to apply, and those that come while one is copied and written."""
EVERY_S: Final = 10.0
RETRY_S: Final = 1.0
"""After one that failed, or that another process was writing."""
COPIED: Final = 1000
"""Records that are copied in one go, beside those that change meanwhile: about a millisecond's work."""
COPIED_IDLE: Final = 5000
"""Records that are copied in one go while nobody waits."""
_ROW_CHANGES: Final = len(POOLS)
"""Records that a row changes at most, one of each pool: so many more are copied, or there would be no end."""
STOP_S: Final = 8.0
"""How long the last snapshot may take when the process ends; without it the next start applies more rows."""
_LATE: Final = 4
"""Said in the log from so many times `EVERY_ROWS` on."""

_log = structlog.get_logger(__name__)


class Snapshots:
    """Stores the engine's changes. For one event loop; `copy` is never called while a batch is being scored."""

    def __init__(self, store: BaselineStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._unsaved: Unsaved | None = None
        self._stored = 0
        self._least = 0
        """The snapshot that was stored when facts were last about to be read: they tell of this one or of a newer one."""
        self._since = monotonic()
        self._seen = 0
        """The sequence number at which was last seen whether to copy."""
        self._whole: int | None = None
        """The sequence number of a whole copy that waits for its commit."""
        self._writing: asyncio.Task[None] | None = None

    def begin(self, stored: int, upto: int) -> None:
        """Follow a new engine that was built from the snapshot at `stored` and the rows from there up to `upto`."""
        self._unsaved, self._whole = Unsaved(stored), None
        self._stored = self._least = stored
        self._seen = upto
        self._since = self._monotonic()

    def forget(self) -> None:
        """The engine was given up, with all that it had not stored: the sequence has it."""
        self._unsaved = self._whole = None

    def fits(self, stored: int) -> bool:
        """Say whether the stored snapshot that facts tell of can be continued; not when the database was set back.

        It may be older than what is stored by now: a snapshot may have been written while the facts were read.
        """
        return self._unsaved is None or stored >= self._least

    def copy(self, engine: Engine, *, idle: bool = False) -> None:
        """Copy some of what changed, if a snapshot is due; more of it while nobody waits (`idle`).

        The engine stands between two batches, of which the first may be under way; no facts are being read.
        """
        self._least = self._stored
        rows, self._seen = engine.sequence - self._seen, engine.sequence
        unsaved = self._unsaved
        if unsaved is None or self._whole is not None or not self._to_write(engine):
            return
        most = (COPIED_IDLE if idle else COPIED) + rows * _ROW_CHANGES
        changes = engine.take_records(most)
        if len(changes) < most:
            changes += engine.take_changes()
            self._whole = engine.sequence
        unsaved.add(changes, engine.sequence)

    def committed(self, upto: int, stored: int | None = None) -> None:
        """Note that everything up to a sequence number is committed, and which snapshot is stored."""
        unsaved = self._unsaved
        if unsaved is None:
            return
        if stored is not None:
            self._moved(stored)
        if self._whole is not None and upto >= self._whole:
            self._whole = None
            writing = self._write(unsaved, self._stored, gently=True)
            self._writing = asyncio.get_running_loop().create_task(writing)

    def _to_write(self, engine: Engine) -> bool:
        if self._writing is not None:
            return False
        rows, seconds = engine.sequence - self._stored, self._monotonic() - self._since
        # The first is small and not worth waiting for: without any there is nothing to verify.
        soon = rows >= EVERY_ROWS or self._stored == 0
        return rows > 0 and seconds >= (min(RETRY_S, EVERY_S) if soon else EVERY_S)

    def _moved(self, stored: int) -> None:
        if stored > self._stored:
            self._stored = stored
            self._since = self._monotonic()
        if self._unsaved is not None:
            self._unsaved.covered(stored)
        if self._whole is not None and stored >= self._whole:
            self._whole = None  # another process was quicker: what was copied is older than what is stored

    async def _write(self, unsaved: Unsaved, stored: int, *, gently: bool) -> None:
        """Write what is unsaved on top of the snapshot that is stored."""
        try:
            began, records, seq = self._monotonic(), len(unsaved), unsaved.upto
            found = await self._store.save(unsaved.whole(), stored, seq, gently=gently)
            if found is not None and self._unsaved is unsaved:
                self._moved(found)
            if found == seq:
                took = round(self._monotonic() - began, 3)
                _log.info("intake.snapshot", sequence=seq, records=records, seconds=took)
        except PortcullisError as error:
            self._failed(unsaved, error)
        except Exception as error:  # noqa: BLE001  intake goes on without snapshots, and says so
            self._failed(unsaved, error)
        finally:
            self._since = self._monotonic()
            self._writing = None

    def _failed(self, unsaved: Unsaved, error: Exception) -> None:
        rows = unsaved.upto - self._stored
        log = _log.error if rows >= _LATE * EVERY_ROWS else _log.warning
        log("intake.snapshot_failed", rows_since_the_last=rows, error=type(error).__name__, reason=str(error))

    async def stop(self, engine: Engine | None) -> None:
        """End what is under way and store a last snapshot of an engine that stands at what is committed."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        unsaved = self._unsaved
        if engine is None or unsaved is None:
            return
        unsaved.add(engine.take_changes(), engine.sequence)
        try:
            async with asyncio.timeout(STOP_S):
                while self._stored < unsaved.upto:
                    before = self._stored
                    await self._write(unsaved, before, gently=False)
                    if self._stored == before:
                        return
        except TimeoutError:
            _log.warning("intake.snapshot_not_stored", rows=unsaved.upto - self._stored)
