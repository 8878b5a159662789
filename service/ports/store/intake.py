"""Intake's own store: one group-committed transaction per batch, in one total order over all processes (design D3).

`lock` is taken first: from then on the sequence stands still until the transaction ends. Everything is read and written
for the whole batch at once.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from rules.learning import LearningRecord, StateChange
from service.domain.activity import Activity, Received
from service.domain.events import Event
from service.domain.ids import ActivityId
from service.domain.incident import Alert
from service.domain.intake import (
    AccountKey,
    EventKey,
    Judged,
    KnownAccount,
    LearningRequest,
    Standing,
    Status,
    StoredDecision,
    StoredEvent,
    TransactionKey,
    TransactionState,
)
from service.domain.timeline import Entry


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """One activity as stored."""

    received: Received
    status: Status
    judged: Judged | None = None
    detectors: tuple[str, ...] = ()
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One decision as stored."""

    id: str
    request_id: str
    decision: str
    received: Received
    judged: Judged | None


@dataclass(slots=True)
class Writes:
    """Everything that one batch changes."""

    now: datetime
    activities: list[ActivityRow] = field(default_factory=list)
    conflicts: list[Received] = field(default_factory=list)
    transactions: dict[TransactionKey, TransactionState] = field(default_factory=dict)
    decisions: list[DecisionRow] = field(default_factory=list)
    learning: list[tuple[LearningRecord, str]] = field(default_factory=list)
    """Rows with their subjects."""
    requests: list[tuple[int, int]] = field(default_factory=list)
    """Learning requests that got a place: (id, seq); seq 0 for one that was refused."""
    alerts: list[tuple[Alert, str]] = field(default_factory=list)
    """New alerts with their titles."""
    repeated_alerts: dict[str, int] = field(default_factory=dict)
    """How often each standing alert happened again, by its id."""
    entries: list[tuple[Entry, tuple[Event, ...], str | None]] = field(default_factory=list)
    """Transitions for the audit log and the timeline, with the events that hand them over and their trace id."""
    audited: list[Entry] = field(default_factory=list)
    """Entries for the audit log alone: the roots of batches."""
    went_live: set[AccountKey] = field(default_factory=set)
    baselines: list[StateChange] = field(default_factory=list)
    sequence: int = 0
    """The last sequence number after this batch."""


class IntakeTransaction(Protocol):
    """One open batch."""

    async def lock(self) -> int:
        """Wait for the turn and return the last sequence number."""
        ...

    async def control_rows(self) -> Mapping[str, bytes]:
        """The newest payload of each kind of settings and rules row; empty before the first start."""
        ...

    def baselines(self) -> AsyncIterator[StateChange]:
        """Every stored baseline."""
        ...

    async def rows_after(self, seq: int) -> Sequence[LearningRecord]:
        """Rows that other processes added since."""
        ...

    async def requests(self) -> Sequence[LearningRequest]:
        """Waiting requests to the sequence, oldest first."""
        ...

    async def events(self, keys: Sequence[EventKey]) -> Mapping[EventKey, StoredEvent]: ...

    async def accounts(self, keys: Sequence[AccountKey]) -> Mapping[AccountKey, KnownAccount]: ...

    async def live_connections(self, connections: Sequence[str]) -> frozenset[str]:
        """Connections of which at least one account is live."""
        ...

    async def transactions(self, keys: Sequence[TransactionKey]) -> Mapping[TransactionKey, TransactionState]: ...

    async def decisions(self, keys: Sequence[EventKey]) -> Mapping[EventKey, StoredDecision]:
        """Stored decisions by (connection, request id)."""
        ...

    async def standing_alerts(self, dedup_keys: Sequence[str], since: datetime) -> Mapping[str, str]:
        """Ids of alerts of these keys that happened since then."""
        ...

    async def write(self, writes: Writes) -> None:
        """Write the whole batch."""
        ...


class IntakeStore(Protocol):
    """Opens batches. Every method raises UnavailableError when the database is not there, full or read-only."""

    def begin(self) -> AbstractAsyncContextManager[IntakeTransaction]:
        """Begin a batch; commit when the block ends, roll back when it raises."""
        ...

    async def standing(self, activity: Activity, activity_id: ActivityId) -> Standing:
        """What holds and clearances say now about a question before signing, stored under `activity_id`."""
        ...

    async def let_pass(self, connection: str, request_id: str) -> None:
        """Note that a held decision became approve after people decided."""
        ...
