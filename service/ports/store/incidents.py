"""Alerts and incidents in the store, and what other processes ask the learning sequence to note."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from service.domain.freeze_letter import Payment
from service.domain.ids import AlertId, ConnectionId, IncidentId
from service.domain.incident import Alert, CaseVerdict, Incident, IncidentState, Severity


@dataclass(frozen=True, slots=True)
class Left:
    """One transfer that left, and in which asset (CAIP-19, lower case)."""

    connection: ConnectionId
    asset: str
    payment: Payment
    in_all: int
    """How many transfers of the asset left at this connection, this one and those that were not returned included."""


class IncidentStore(Protocol):
    """Reads lock nothing unless they say so."""

    def alert(self, alert_id: AlertId) -> Alert:
        """Raises NotFoundError."""
        ...

    def alerts_of(self, incident_id: IncidentId) -> Sequence[Alert]:
        """Every alert of an incident, oldest first."""
        ...

    def join_alert(self, alert_id: AlertId, incident_id: IncidentId) -> None:
        """Attach an alert to an incident, as the newest of its alerts; the caller has locked or added the incident."""
        ...

    def set_verdict(self, alert_id: AlertId, verdict: CaseVerdict, by: str) -> None:
        """Store what a person decided about an alert."""
        ...

    def lock_incident(self, incident_id: IncidentId) -> Incident:
        """Read an incident and lock its row until the transaction ends. Raises NotFoundError."""
        ...

    def incident(self, incident_id: IncidentId) -> Incident:
        """Raises NotFoundError."""
        ...

    def open_sharing(self, entities: Sequence[str], since: datetime) -> Sequence[Incident]:
        """Open incidents that share an entity and had an alert since then, oldest first; locks their rows."""
        ...

    def add(self, incident: Incident) -> None:
        """Insert a new incident."""
        ...

    def widen(
        self,
        incident_id: IncidentId,
        entities: Sequence[str],
        severity: Severity,
        value_at_risk_usd: Decimal,
        harm_at: datetime,
    ) -> None:
        """Add entities; severity and value at risk only ever rise here, and the first harm only moves back."""
        ...

    def alarm(self, incident_id: IncidentId) -> None:
        """Have people woken anew: whoever had acknowledged the incident took on less than it is now."""
        ...

    def note(self, incident_id: IncidentId, **times: datetime) -> None:
        """Set held_at, contained_at or recovered_at where it is not set yet."""
        ...

    def set_state(self, incident_id: IncidentId, state: IncidentState) -> None:
        """Move an incident to another state."""
        ...

    def close(self, incident_id: IncidentId, verdict: CaseVerdict) -> None:
        """Close an incident with what people decided."""
        ...

    def acknowledge(self, incident_id: IncidentId, by: str) -> bool:
        """Note who took it; False when somebody already had."""
        ...

    def ask_learning(self, kind: str, subject: str, payload: bytes) -> None:
        """Ask intake to put a control row (incident_opened, incident_closed, verdict, clearance …) into the sequence."""
        ...

    def reach(self, entities: Sequence[str]) -> Sequence[str]:
        """Return the account entities that the holder of these accounts' keys could reach.

        That is the accounts named and every registered account of the same vault wallet.
        """
        ...

    def signed_past_gate(self, incident_id: IncidentId) -> Sequence[str]:
        """Return the account entities that signed a transfer of this incident without our gate's approval.

        That is an anomalous transfer that was told as signed, sent or confirmed, with no approval of ours for the same
        transaction: the gate was never asked, or said no. Transfers to a registered safe destination are sweeps of ours
        and do not count; a transfer told without a transaction id cannot have been asked about.
        """
        ...

    def balances(self, entities: Sequence[str]) -> Mapping[str, Decimal]:
        """Return the last told balance in USD of each account entity for which one was told."""
        ...

    def reopen(self, incident_id: IncidentId) -> None:
        """Move a contained or recovered incident back to open and forget when it was: it no longer is."""
        ...

    def moved_usd(self, incident_id: IncidentId) -> Decimal:
        """Sum of the USD amounts of the distinct anomalous transactions that left the incident's accounts.

        Counted are those of its alerts, and what the same deduplicated alert stands for: every anomalous transaction of
        its accounts between first harm and closing. Failed and cancelled ones, alerts found false, and transfers to a
        registered safe destination are left out.
        """
        ...

    def left(self, incident_id: IncidentId, assets: Collection[str]) -> Sequence[Left]:
        """Return the anomalous transfers of these assets that left the incident's accounts, as `moved_usd` counts them.

        Of each asset and connection the 5,000 largest, the largest first; `in_all` says when there are more.
        """
        ...
