"""The stored baselines: one snapshot at a sequence number, rebuilt from there by the rows that follow (design D3).

Rules: a snapshot is replaced whole or not at all; only one process replaces it at a time, and never by an older one. What
is read together is read from one moment of the database.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from rules.learning import LearningRecord, StateChange
from service.domain.listed import Labelled


class BaselineView(Protocol):
    """The snapshot and the sequence as they were at one moment."""

    seq: int
    """The sequence number of the snapshot; 0 when there is none."""
    engine_version: str
    """Of the engine that wrote the snapshot; "" when there is none."""
    last: int
    """The last sequence number."""
    head: bytes | None
    """The payload of the row at `seq`; None when there is none."""

    async def control_rows(self, up_to: int | None = None) -> Mapping[str, bytes]:
        """The newest payload of each kind of settings, rules and lists row, up to a number; of the first if none is."""
        ...

    def changes(self) -> AsyncIterator[StateChange]:
        """Every stored record."""
        ...

    def rows(self) -> AsyncIterator[LearningRecord]:
        """The rows that follow the snapshot, in order."""
        ...


class BaselineStore(Protocol):
    """Reads and replaces the snapshot. Every method raises UnavailableError."""

    def view(self) -> AbstractAsyncContextManager[BaselineView]:
        """Open a view on one moment of the database; does not wait for anybody's turn."""
        ...

    async def rows_after(self, seq: int, limit: int) -> Sequence[LearningRecord]:
        """Committed rows that follow `seq`, at most `limit` of them."""
        ...

    def labelled(self, lists: Sequence[str]) -> AsyncIterator[Sequence[Labelled]]:
        """What these address lists say, a few rows at a time, in the order of the lists; `WATCHED` kinds alone."""
        ...

    async def save(self, changes: Iterable[StateChange], stored: int, seq: int, *, gently: bool) -> int | None:
        """Make the snapshot be at `seq`, given every record that changed after `stored`; return where it stands then.

        None when another process is writing one. Nothing is changed unless the stored one stands at `stored`, before `seq`,
        and the sequence has that row.
        `gently`: leave time to intake between statements.
        """
        ...
