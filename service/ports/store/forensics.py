"""Lists of labelled addresses, access events around a harm, and what was traced of an incident."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Protocol

from service.domain.forensics.labels import AddressList, Label
from service.domain.forensics.report import AccessLine
from service.domain.ids import ActivityId, ConnectionId, IncidentId
from service.domain.listed import ListKept

LISTS_LOCK: Final = "address-lists"
"""Whoever adds or withdraws a list holds it to the commit, so that limits hold."""
MOST_EVENTS: Final = 5_000
"""Events that one question reads."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One incident's trace as it is stored."""

    state: str
    """gathering | complete"""
    walks: Mapping[str, object]
    """By chain, as `forensics/walk.py` has them."""
    report: str | None
    drawing: str | None
    updated_at: datetime
    past_labels: bool = False
    """Whether people asked to follow money past labels that would end the trace."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one slice of tracing leaves behind."""

    walks: Mapping[str, object]
    report: str | None = None
    """JSON; None while there is more to follow."""
    drawing: str | None = None


class ForensicStore(Protocol):
    """See the module."""

    def begin_trace(
        self, incident_id: IncidentId, lease: timedelta, *, anew: bool = False, past_labels: bool = False
    ) -> Stored:
        """Take the incident's trace for a while, making it if it is not there; `anew` forgets how far it was.

        `past_labels` is kept of one that begins anew, for its later slices.

        One that is complete is only read, unless it begins anew. Raises UnavailableError while another worker has it.
        """
        ...

    def save_trace(self, incident_id: IncidentId, found: Found) -> None:
        """Store how far it went and give it back."""
        ...

    def trace(self, incident_id: IncidentId) -> Stored | None:
        """Read a trace, or None."""
        ...

    def labels(self, addresses: Collection[str]) -> Sequence[Label]:
        """Return every label of these addresses, over all lists in force."""
        ...

    def address_lists(self) -> Sequence[ListKept]:
        """Return every imported list, newest first; one counts as in force as soon as that was asked for."""
        ...

    def address_list(self, list_id: str) -> ListKept:
        """Raises NotFoundError."""
        ...

    def add_list(self, found: AddressList, source: str, listed_on: date, by: str) -> ListKept:
        """Store a list, and ask for its place in the learning sequence, from which on it counts.

        Raises ConflictError when the very same file is in force, and when more would be than intake keeps at hand.
        """
        ...

    def access(self, connections: Collection[ConnectionId], since: datetime, until: datetime) -> Sequence[AccessLine]:
        """Return access, governance and signing events of connections, newest first; at most MOST_EVENTS."""
        ...

    def access_of(self, activities: Collection[ActivityId]) -> Sequence[AccessLine]:
        """Return who did given activities and others of the same transactions, from where: newest first, bounded."""
        ...
