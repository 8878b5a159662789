"""One transaction with its repositories; implements `ports.store.unit.UnitOfWork`.

`record` is the only writer of the audit entries, the timeline and the outbox.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Final, ParamSpec

import structlog
from sqlalchemy import Connection, bindparam, exists, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.events import Event
from service.domain.timeline import Entry
from service.store import locks, quick, transition
from service.store.approvals import ApprovalRepository
from service.store.attention import AttentionRepository
from service.store.bitcoin import BitcoinRepository
from service.store.blinding import BlindingRepository
from service.store.clearances import ClearanceRepository
from service.store.deliveries import DeliveryRepository
from service.store.findings import FindingRepository
from service.store.forensics import ForensicRepository
from service.store.incidents import IncidentRepository
from service.store.keys import KeyRepository
from service.store.lines import LineRepository
from service.store.pace import PaceRepository
from service.store.plans import PlanRepository
from service.store.polling import PollingRepository
from service.store.quick import rows, send
from service.store.registry import RegistryRepository
from service.store.reports import ReportRepository
from service.store.tables.proof import handled, outbox

P = ParamSpec("P")
_HANDED_OVER: Final = select(
    outbox.c.event, outbox.c.payload, exists().where(handled.c.key == bindparam("key")).label("noted")
).where(outbox.c.id == bindparam("number"))

_ONCE: Final = (
    upsert(handled).values(key=bindparam("key"), at=bindparam("at")).on_conflict_do_nothing().returning(handled.c.key)
)
_WAIT_AT_MOST: Final = text("SELECT set_config('lock_timeout', :longest, true)")


class SqlUnitOfWork:
    """See the port; `connection` is the open transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.transitions: list[Entry] = []
        self.events: list[Event] = []
        """What this transaction put into the outbox; somebody else's business once it is committed."""
        self._left: list[tuple[int, Event]] = []
        self._unnumbered: list[tuple[Callable[[], Sequence[int]], Sequence[Event]]] = []

    @property
    def left(self) -> Sequence[tuple[int, Event]]:
        """The events with their numbers in the outbox: waits for these, so it is asked for after the commit."""
        for numbers, events in self._unnumbered:
            self._left += zip(numbers(), events, strict=True)
        self._unnumbered.clear()
        return self._left

    @cached_property
    def registry(self) -> RegistryRepository:
        """Connections, accounts, people, policy: reading."""
        return RegistryRepository(self.connection, self.now)

    @cached_property
    def incidents(self) -> IncidentRepository:
        """Alerts, incidents, and requests to the learning sequence."""
        return IncidentRepository(self.connection, self.now)

    @cached_property
    def plans(self) -> PlanRepository:
        """Plans, steps, leases, gate holds."""
        return PlanRepository(self.connection, self.now)

    @cached_property
    def approvals(self) -> ApprovalRepository:
        """Action documents and votes."""
        return ApprovalRepository(self.connection, self.now)

    @cached_property
    def attention(self) -> AttentionRepository:
        """Timers, escalations, messages, reviews."""
        return AttentionRepository(self.connection, self.now)

    @cached_property
    def clearances(self) -> ClearanceRepository:
        """Held activities that people clear."""
        return ClearanceRepository(self.connection, self.now)

    @cached_property
    def blinding(self) -> BlindingRepository:
        """Suppressions, the engine's settings, sets of detectors."""
        return BlindingRepository(self.connection, self.now)

    @cached_property
    def findings(self) -> FindingRepository:
        """What was found about activities: reading."""
        return FindingRepository(self.connection)

    @cached_property
    def reports(self) -> ReportRepository:
        """What people said of activities that the engine let pass."""
        return ReportRepository(self.connection, self.now)

    @cached_property
    def polling(self) -> PollingRepository:
        """How far platforms were asked, and what that brought."""
        return PollingRepository(self.connection, self.now)

    @cached_property
    def lines(self) -> LineRepository:
        """Connections whose platform does not answer."""
        return LineRepository(self.connection, self.now)

    @cached_property
    def deliveries(self) -> DeliveryRepository:
        """Which message may be sent now."""
        return DeliveryRepository(self.connection, self.now)

    @cached_property
    def pace(self) -> PaceRepository:
        """How fast platforms are called."""
        return PaceRepository(self.connection, self.now)

    @cached_property
    def keys(self) -> KeyRepository:
        """The vault's wallets, keys, rotations and sweeps."""
        return KeyRepository(self.connection, self.now)

    @cached_property
    def bitcoin(self) -> BitcoinRepository:
        """Bitcoin wallets and the sweeps that are kept ready."""
        return BitcoinRepository(self.connection, self.now)

    @cached_property
    def forensics(self) -> ForensicRepository:
        """Labelled addresses, access events, traces."""
        return ForensicRepository(self.connection, self.now)

    def record(self, entry: Entry, *events: Event) -> None:
        """Write the audit entry and timeline line of a transition, and the events that hand it over."""
        trace_id = structlog.contextvars.get_contextvars().get("trace_id")
        written = transition.write(self.connection, entry, events, now=self.now, trace_id=trace_id)
        if events:
            self._unnumbered.append((written, events))
            self.events += events
        self.transitions.append(entry)

    def handed_over(self, number: int, key: str) -> tuple[str, Mapping[str, str], bool] | None:
        """Read one event of the outbox; see the port."""
        row = self.connection.execute(_HANDED_OVER, {"number": number, "key": key}).one_or_none()
        return None if row is None else (row.event, row.payload, row.noted)

    def once(self, key: str) -> bool:
        """Return True for the first transaction that asks for `key`, False for ever after once that one committed."""
        return bool(rows(self.connection, _ONCE, {"key": key, "at": self.now}))

    def noted(self, key: str) -> bool:
        """Say whether somebody asked for `key` before."""
        return self.connection.execute(select(handled.c.key).where(handled.c.key == key)).first() is not None

    def ask(self, read: Callable[P, object], *of: P.args, **named: P.kwargs) -> None:
        """Ask for something with the next statement that is waited for; see the port."""
        quick.ask(self.connection, partial(read, *of, **named))

    def lock(self, name: str, *, at_once: bool = True, with_api: bool = False) -> None:
        """Take a lock by name until the transaction ends; see the port."""
        statement = locks.SHARED_LOCK if with_api else locks.LOCK
        if at_once:
            locks.take(self.connection, name, statement)
        else:
            send(self.connection, statement, {"name": name})

    def wait_at_most(self, longest: timedelta) -> None:
        """Bound all waits for locks until the transaction ends; see the port."""
        milliseconds = max(1, longest // timedelta(milliseconds=1))  # 0 would be without end
        send(self.connection, _WAIT_AT_MOST, {"longest": f"{milliseconds}ms"})
