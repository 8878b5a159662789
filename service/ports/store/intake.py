"""Intake's own store: one group-committed transaction per batch, in one total order over all processes (design D3).

Rules: a batch is read, scored and written while its process has the turn, which only one process has at a time, so that
the sequence stands still meanwhile. Everything is read at once and written at once. Having the turn is no transaction:
`write` is one, whole or not at all.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import msgspec

from rules.learning import LearningRecord
from service.domain.activity import Activity, Received
from service.domain.events import Event
from service.domain.ids import ActivityId
from service.domain.incident import Alert
from service.domain.intake import (
    AccountKey,
    EventKey,
    Judged,
    KnownAccount,
    Learned,
    LearningRequest,
    Standing,
    Status,
    StoredDecision,
    StoredEvent,
    TransactionKey,
    TransactionState,
)
from service.domain.timeline import Entry


@dataclass(slots=True)
class Asked:
    """What a batch wants to know; a key may come twice."""

    events: list[EventKey] = field(default_factory=list)
    accounts: set[AccountKey] = field(default_factory=set)
    transactions: list[TransactionKey] = field(default_factory=list)
    questions: list[EventKey] = field(default_factory=list)
    history: set[str] = field(default_factory=set)
    """Connections that send history: whether they are live is looked up now, never remembered."""


@dataclass(slots=True)
class Facts:
    """What the store knew of a batch's items when the batch began."""

    events: dict[EventKey, StoredEvent]
    accounts: Mapping[str, Mapping[str, KnownAccount]]
    """Registered accounts by connection and reference; those that were asked for, and maybe others."""
    transactions: dict[TransactionKey, TransactionState]
    decisions: dict[EventKey, StoredDecision] = field(default_factory=dict)
    live: frozenset[str] = frozenset()
    """Those of the asked connections of which at least one account is live."""
    last: int = 0
    """The last sequence number."""
    head: bytes = b""
    """SHA-256 of the payload of that row; nothing where that is not known."""
    saved: int = 0
    """The sequence number of the newest stored snapshot of the baselines."""
    requests: Sequence[LearningRequest] = ()
    """Waiting requests to the sequence, oldest first."""


@dataclass(slots=True)
class Ahead:
    """Facts that were read for the next batch while the one before it was written."""

    facts: Facts
    requested: bool
    """Requests wait; which they are is read with the next batch."""
    round: int
    """While the turn is in this round, nobody else has added to the sequence."""


class ActivityRow(msgspec.Struct, frozen=True):
    """One activity as stored."""

    received: Received
    status: Status
    judged: Judged | None = None
    detectors: tuple[str, ...] = ()
    learned: Learned | None = None
    opens: TransactionState | None = None
    """Its transaction, when it is the first of it and everything else in it is the activity's own."""
    question: str | None = None
    """The request id, when it was asked before signing; then `decision_id` and `gate` are told."""
    decision_id: str | None = None
    gate: str | None = None


@dataclass(slots=True)
class Writes:
    """Everything that one batch changes."""

    now: datetime
    engine_version: str = ""
    settings_digest: str = ""
    """Of the engine that made this batch's learned rows."""
    activities: list[ActivityRow] = field(default_factory=list)
    moved: dict[TransactionKey, TransactionState] = field(default_factory=dict)
    """Transactions that an activity moved, or opened and moved."""
    conflicts: list[Received] = field(default_factory=list)
    learning: list[tuple[LearningRecord, str]] = field(default_factory=list)
    """Rows of the sequence that are no activities, with their subjects."""
    requests: list[tuple[int, int]] = field(default_factory=list)
    """Learning requests that got a place: (id, seq); seq 0 for one that was refused."""
    alerts: list[tuple[Alert, str]] = field(default_factory=list)
    """New alerts with their titles."""
    repeated_alerts: dict[str, int] = field(default_factory=dict)
    """How often each standing alert happened again, by its id."""
    entries: list[tuple[Entry, tuple[Event, ...], str | None]] = field(default_factory=list)
    """Transitions for the audit log and the timeline, with the events that hand them over and their trace id."""
    audited: list[Entry] = field(default_factory=list)
    """Entries for the audit log alone, which name no person: the roots of batches."""
    went_live: set[AccountKey] = field(default_factory=set)


class IntakeTurn(Protocol):
    """The right to add to the sequence, for one batch."""

    async def facts(self, asked: Asked) -> Facts:
        """Read everything that the batch needs."""
        ...

    async def look_ahead(self, asked: Asked) -> Ahead | None:
        """Read what the next batch needs while `write` of this one is under way, if that can be done.

        It may or may not see what is being written: the caller knows that, and says it. `asked` has no history.
        """
        ...

    async def looked_up(self, ahead: Ahead) -> Facts | None:
        """Return what was read ahead, with the requests that wait now; None when others may have had the turn since."""
        ...

    async def rows_after(self, seq: int, limit: int) -> Sequence[LearningRecord]:
        """Rows that follow `seq`, at most `limit` of them."""
        ...

    async def standing_alerts(self, dedup_keys: Sequence[str], since: datetime) -> Mapping[str, str]:
        """Ids of alerts of these keys that happened since then, by key.

        Not of those whose incident was closed, or that loosening was asked for after: what happens again is told again.
        """
        ...

    async def write(self, writes: Writes) -> None:
        """Write the whole batch in one transaction."""
        ...

    async def standing(self, asked: Sequence[tuple[Activity, ActivityId]]) -> Sequence[Standing]:
        """What holds and clearances say now about questions before signing, by the id they are stored under; in order."""
        ...


class IntakeStore(Protocol):
    """Gives turns. Every method raises UnavailableError when the database is not there, full or read-only."""

    def turn(self) -> AbstractAsyncContextManager[IntakeTurn]:
        """Wait for the turn. It is kept after the block, for the next batch, until `rest`."""
        ...

    async def rest(self, *, idle: bool) -> None:
        """Give the turn up when this process has nothing to do, or another one waits for it."""
        ...

    async def let_pass(self, connection: str, request_id: str) -> None:
        """Note that a held decision became approve after people decided."""
        ...
