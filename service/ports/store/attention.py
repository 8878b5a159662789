"""Timers, pages, messages and reviews in the store."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from service.domain.attention import Message, MessageState, Page, Reachable, StandingMandate, Timer
from service.domain.ids import IncidentId, MessageId


class AttentionStore(Protocol):
    """Timers, pages, messages, reviews."""

    def set_timer(self, kind: str, subject: str, due_at: datetime, payload: Mapping[str, str]) -> None:
        """Set a timer; one that is already there for this kind and subject stays as it is."""
        ...

    def cancel_timers(self, subject: str) -> None:
        """Cancel every timer of a subject that has not fired."""
        ...

    def hasten_timers(self, subject: str, due_at: datetime) -> bool:
        """Bring a subject's waiting timers forward to this moment, never back; say whether there is any."""
        ...

    def claim_timer(self, timer_id: str) -> Timer | None:
        """Mark a due timer as fired and return it; None when it fired already, was cancelled, is not due or is a look.

        Each of the two claims its own kind alone: a message names a timer, and who invents one uses up nobody's.
        """
        ...

    def claim_look(self, timer_id: str) -> Timer | None:
        """Do the same for a timer of a look at a chain, and for no other."""
        ...

    def due_timers(self, limit: int) -> Sequence[str]:
        """Ids of timers that are due, earliest first; looks at chains are told apart."""
        ...

    def due_looks(self, limit: int) -> Sequence[str]:
        """Ids of timers of looks at chains that are due, earliest first."""
        ...

    def reachable(self) -> Sequence[Reachable]:
        """Every active person, with routes through the channels that exist."""
        ...

    def channels_for(self, audience: str) -> Sequence[tuple[str, str]]:
        """Channel id and recipient of the channels configured for an audience."""
        ...

    def add_page(self, page: Page) -> bool:
        """Note that a person was paged; False when he already was, at this level and for this reason."""
        ...

    def pages(self, incident_id: IncidentId) -> Sequence[Page]:
        """Every page of an incident, oldest first."""
        ...

    def acknowledge_pages(self, incident_id: IncidentId) -> None:
        """Mark all pages of an incident as answered."""
        ...

    def mandates_in_force(self, scope: str, incident: Mapping[str, str]) -> Sequence[StandingMandate]:
        """Return the unexpired mandates whose rows cover this scope and incident (kind, severity).

        A row is no authority: whoever acts on one checks the votes of its approval.
        """
        ...

    def add_message(self, message: Message) -> bool:
        """Insert a message; False when its idempotency key is already there."""
        ...

    def message(self, message_id: MessageId) -> Message:
        """Read one message, locked until the transaction ends. Raises NotFoundError."""
        ...

    def messages_of(self, incident_id: IncidentId) -> Sequence[Message]:
        """Every message about an incident, oldest first."""
        ...

    def staff_routes(self) -> frozenset[tuple[str, str]]:
        """Every (channel, recipient) that reaches responders and approvers, and no channel that users read."""
        ...

    def abandon_message(self, message_id: MessageId, reason: str) -> Message | None:
        """Call a message unknown whose lease ran out while it was sent; None when it is in any other state."""
        ...

    def settle_message(
        self,
        message_id: MessageId,
        state: MessageState,
        *,
        receipt: Mapping[str, str] | None = None,
        reason: str | None = None,
        due_at: datetime | None = None,
    ) -> None:
        """Store how a delivery ended."""
        ...

    def bind_messages(self, message_ids: Sequence[MessageId], approval_id: str) -> None:
        """Name the approval that held messages wait for."""
        ...

    def release_messages(self, approval_id: str) -> Sequence[MessageId]:
        """Queue the messages held for an approval; returns their ids."""
        ...

    def drop_messages(self, approval_id: str, reason: str) -> Sequence[MessageId]:
        """Drop the messages held for an approval that ended; returns their ids."""
        ...

    def due_messages(self, limit: int) -> Sequence[MessageId]:
        """Ids of messages whose delivery is due or whose lease ran out."""
        ...

    def timeline_of(self, incident_id: IncidentId) -> Sequence[Mapping[str, object]]:
        """Timeline lines: at, kind, subject, sentence, by, facts; oldest first."""
        ...

    def save_review(self, incident_id: IncidentId, body: str, html: str) -> bool:
        """Store a review; False when there is one already."""
        ...
