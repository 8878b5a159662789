"""Action documents and the votes on them.

A row's state says what has been written, never what is allowed: an executing worker takes `evidence` and asks
`domain/authorisation.py`, with the authority's public key from its own pinned file.

Asking for an approval, from any process:

    document = uow.approvals.propose(draft)
    uow.record(requested_entry(document), ApprovalRequested(document.id))  # domain/requests.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from service.domain.approval import ActionDocument, ApprovalState, Draft, Subject
from service.domain.authorisation import Evidence
from service.domain.ids import ApprovalId, IncidentId
from service.domain.review import Decision


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """One stored request. `document` is the exact text that was proposed."""

    id: ApprovalId
    incident_id: IncidentId | None
    subject: Subject
    document: str
    digest: str
    requester: str
    state: ApprovalState
    reason: str | None
    created_at: datetime
    approve_by: datetime
    execute_by: datetime
    decided_at: datetime | None


class ApprovalStore(Protocol):
    """Requests, their states, and the evidence for them."""

    def propose(self, draft: Draft) -> ActionDocument:
        """Freeze a draft under the policy in force, store it as waiting, and return the document.

        Raises ApprovalError when the policy has no quorum for it, or when too few active and enrolled people could vote.
        """
        ...

    def unwinnable(self, draft: Draft) -> Mapping[str, str]:
        """Return the actions of a draft that nobody could approve now, and why; without a policy these are all."""
        ...

    def request(self, document: ActionDocument) -> ApprovalId:
        """Store a document that was built elsewhere, as waiting. Raises ConflictError when its id or digest is there."""
        ...

    def row(self, approval_id: ApprovalId) -> ApprovalRow:
        """Return a request as stored. Raises NotFoundError."""
        ...

    def document(self, approval_id: ApprovalId) -> ActionDocument:
        """Return a request's document, parsed. Raises NotFoundError, InputError for a text that is not canonical."""
        ...

    def evidence(self, approval_id: ApprovalId) -> Evidence:
        """Return document, signed votes and the signed policy in force, as they stand. Raises NotFoundError.

        Approving votes of people who are no longer active, or were suspended since, are left out; denials never are.
        """
        ...

    def waiting(self, limit: int) -> Sequence[ApprovalRow]:
        """Requests that wait for votes, the most urgent first."""
        ...

    def listed(self, *, state: ApprovalState | None, after: str | None, limit: int) -> Sequence[ApprovalRow]:
        """Requests by id, newest first, below the id `after`."""
        ...

    def overdue(self, limit: int) -> Sequence[ApprovalId]:
        """Waiting requests past their approve-by and approved ones past their execute-by."""
        ...

    def end(self, approval_id: ApprovalId, state: ApprovalState, reason: str | None = None) -> bool:
        """Move a waiting or approved request to `state`; False when it was in neither, so somebody else ended it."""
        ...

    def decisions_of(self, incident_id: IncidentId) -> Sequence[Decision]:
        """Every vote on the incident's requests, oldest first, for its review."""
        ...
