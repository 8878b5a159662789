"""The stored baselines and the sequence in memory, with the rules of the port, for plays of many processes in one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice

from rules.engine import ENGINE_VERSION
from rules.learning import LearningRecord, StateChange
from service.domain.errors import UnavailableError
from service.domain.listed import Labelled

AT_ONCE = 20
_CONTROL = frozenset({"settings", "rules", "lists"})


class Database:
    """What all processes share. `chance()` between 0 and 1 draws how long things take, and what fails."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self.log: list[LearningRecord] = []
        self.records: dict[tuple[int, str], bytes] = {}
        self.seq = 0
        self.moves: list[tuple[int, int]] = []
        """From where to where the snapshot went."""
        self._chance = chance
        self._locked = False

    def changes(self) -> list[StateChange]:
        return [StateChange(kind, entity, state) for (kind, entity), state in self.records.items()]

    async def wait(self) -> None:
        """Let others run, for some while."""
        for _ in range(int(4 * self._chance())):
            await asyncio.sleep(0)


class View:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self.seq, self.last = database.seq, len(database.log)
        self.engine_version = ENGINE_VERSION if self.seq else ""
        self.head = database.log[self.seq - 1].payload if 0 < self.seq <= self.last else None
        self._database = database
        self._log, self._changes = list(database.log), database.changes()

    async def control_rows(self, up_to: int | None = None) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        for row in self._log:
            if row.kind in _CONTROL and (up_to is None or row.seq <= up_to or row.kind not in found):
                found[row.kind] = row.payload
        return found

    async def changes(self) -> AsyncIterator[StateChange]:
        for change in self._changes:
            yield change

    async def rows(self) -> AsyncIterator[LearningRecord]:
        for row in self._log[self.seq :]:
            await self._database.wait()
            yield row


class MemoryBaselines:
    """See the port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def view(self) -> AsyncIterator[View]:
        yield View(self._database)

    async def rows_after(self, seq: int, limit: int) -> Sequence[LearningRecord]:
        await self._database.wait()
        return self._database.log[seq : seq + limit]

    async def labelled(self, _lists: Sequence[str]) -> AsyncIterator[Sequence[Labelled]]:
        none: Sequence[Sequence[Labelled]] = ()
        for some in none:
            yield some

    async def save(self, changes: Iterable[StateChange], stored: int, seq: int, *, gently: bool) -> int | None:
        del gently
        database = self._database
        await database.wait()
        if database._locked:
            return None
        if database.seq != stored or not database.seq < seq <= len(database.log):
            return database.seq
        database._locked = True
        try:
            records, waiting = dict(database.records), iter(changes)
            while part := list(islice(waiting, AT_ONCE)):
                records |= {(int(change.kind), change.entity): change.state for change in part}
                await database.wait()
                if database._chance() < 0.02:
                    raise UnavailableError("the disk is full")
        finally:
            database._locked = False
        database.records, database.seq = records, seq
        database.moves.append((stored, seq))
        return seq
