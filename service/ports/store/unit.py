"""The unit of work: one transaction, its repositories, and the one function that records what happened.

Repositories' protocols stand beside this file, one per noun. `record` writes the audit entry, the timeline line and the
outbox rows of one transition in the same transaction as the change itself (design D2); nothing else writes those tables.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import ParamSpec, Protocol

from service.domain.events import Event
from service.domain.timeline import Entry
from service.ports.store.approvals import ApprovalStore
from service.ports.store.attention import AttentionStore
from service.ports.store.bitcoin import BitcoinStore
from service.ports.store.blinding import BlindingStore
from service.ports.store.clearances import ClearanceStore
from service.ports.store.deliveries import DeliveryStore
from service.ports.store.findings import FindingStore
from service.ports.store.forensics import ForensicStore
from service.ports.store.incidents import IncidentStore
from service.ports.store.keys import KeyStore
from service.ports.store.lines import LineStore
from service.ports.store.pace import PaceStore
from service.ports.store.plans import PlanStore
from service.ports.store.polling import PollingStore
from service.ports.store.registry import RegistryStore
from service.ports.store.reports import ReportStore

P = ParamSpec("P")


class UnitOfWork(Protocol):
    """One open transaction."""

    now: datetime
    """When it began, UTC: the time of everything it writes."""

    @property
    def registry(self) -> RegistryStore:
        """Connections, accounts, people, policy: reading."""
        ...

    @property
    def incidents(self) -> IncidentStore:
        """Alerts, incidents, and requests to the learning sequence."""
        ...

    @property
    def plans(self) -> PlanStore:
        """Plans, steps, leases, gate holds."""
        ...

    @property
    def approvals(self) -> ApprovalStore:
        """Action documents and votes."""
        ...

    @property
    def attention(self) -> AttentionStore:
        """Timers, escalations, messages, reviews."""
        ...

    @property
    def clearances(self) -> ClearanceStore:
        """Held activities that people clear."""
        ...

    @property
    def blinding(self) -> BlindingStore:
        """Suppressions, the engine's settings, sets of detectors."""
        ...

    @property
    def findings(self) -> FindingStore:
        """What was found about activities: reading."""
        ...

    @property
    def reports(self) -> ReportStore:
        """What people said of activities that the engine let pass."""
        ...

    @property
    def polling(self) -> PollingStore:
        """How far platforms were asked, and what that brought."""
        ...

    @property
    def lines(self) -> LineStore:
        """Connections whose platform does not answer: for the containment worker."""
        ...

    @property
    def deliveries(self) -> DeliveryStore:
        """Which message may be sent now: for the containment worker."""
        ...

    @property
    def pace(self) -> PaceStore:
        """How fast platforms are called: for the containment worker."""
        ...

    @property
    def keys(self) -> KeyStore:
        """The vault's wallets, keys, rotations and sweeps: for the key worker."""
        ...

    @property
    def bitcoin(self) -> BitcoinStore:
        """Bitcoin wallets and the sweeps that are kept ready: for the key worker."""
        ...

    @property
    def forensics(self) -> ForensicStore:
        """Labelled addresses, access events, traces."""
        ...

    def record(self, entry: Entry, *events: Event) -> None:
        """Write the audit entry and timeline line of a transition, and the events that hand it over."""
        ...

    def handed_over(self, number: int, key: str) -> tuple[str, Mapping[str, str], bool] | None:
        """Read one event of the outbox: its name, its payload and whether `key` is noted; None when there is none."""
        ...

    def once(self, key: str) -> bool:
        """Return True for the first transaction that asks for `key`, False for ever after once that one committed."""
        ...

    def noted(self, key: str) -> bool:
        """Say whether `once(key)` was True in this transaction or an earlier one."""
        ...

    def ask(self, read: Callable[P, object], *of: P.args, **named: P.kwargs) -> None:
        """Send a reading of this unit of work with the next statement that is waited for.

        The same reading with the same arguments, later in it, has its answer without another wait: as it was when it was
        asked. For readings of one statement that the store made for holds; others are made twice. What changes something may
        be asked for so where it is then read in every case.
        """
        ...

    def lock(self, name: str, *, at_once: bool = True, with_api: bool = False) -> None:
        """Take a lock by name until the transaction ends: serialises who would otherwise race (pg_advisory_xact_lock).

        `at_once=False` takes it with the next statement: for who does nothing outside the transaction before that.
        `with_api=True` for a name that the API takes: its database role may take no other (`store/locks.py`).
        """
        ...

    def wait_at_most(self, longest: timedelta) -> None:
        """From the next statement on wait no longer for any lock or row of others, at least a millisecond.

        For who holds a lock that many wait for. Whoever waited longer gets UnavailableError and nothing is stored.
        """
        ...


class Database(Protocol):
    """Opens units of work."""

    def begin(self, *, on_disk: bool = True) -> AbstractContextManager[UnitOfWork]:
        """Begin a transaction; commit when the block ends, roll back when it raises.

        The relay publishes the recorded events' jobs once they are committed. `on_disk=False` does not wait until the
        disk has it: a crash of the database may then forget it, but never without forgetting all that came after it, and
        a later transaction that waits keeps it too. It is for what rows alone make again, with no effect outside them.
        Raises UnavailableError when the database is not there (nothing was stored), UnknownOutcomeError when the answer
        to the commit was lost.
        """
        ...


Begin = Callable[[], AbstractContextManager[UnitOfWork]]
