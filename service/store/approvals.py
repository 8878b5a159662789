"""Action documents and votes on PostgreSQL; implements `ports.store.approvals.ApprovalStore`.

Reading lends no authority to a row: `evidence` hands out texts and signatures for `domain/authorisation.py` to judge.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.approval import ActionDocument, ApprovalState, Draft, Subject, parse, propose
from service.domain.authorisation import Evidence, unwinnable
from service.domain.errors import ApprovalError, ConflictError, NotFoundError
from service.domain.ids import ApprovalId, IncidentId
from service.domain.person import PersonState
from service.domain.policy import Policy, parse_policy_text
from service.domain.review import Decision
from service.domain.signed import Signed
from service.ports.store.approvals import ApprovalRow
from service.store.registry import RegistryRepository
from service.store.tables.approval import approvals, votes
from service.store.tables.registry import people

OPEN = (ApprovalState.WAITING.value, ApprovalState.APPROVED.value)


def approval_of(row: Row[Any]) -> ApprovalRow:
    """Build a request from its row."""
    fields = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's public name for a row as a mapping
    fields["subject"] = Subject(row.subject)
    fields["state"] = ApprovalState(row.state)
    return ApprovalRow(**fields)


class _Voted(msgspec.Struct):
    roles: tuple[str, ...] = ()


def _still_counts(statement: str, state: str, roles: Sequence[str]) -> bool:
    try:
        voted_with = msgspec.json.decode(statement, type=_Voted).roles
    except msgspec.MsgspecError:
        return True  # not left out in silence: who verifies it will say what it is
    return state == PersonState.ACTIVE.value and set(voted_with) <= set(roles)


class ApprovalRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def propose(self, draft: Draft) -> ActionDocument:
        """Freeze, check that it can be won, store."""
        for why in self.unwinnable(draft).values():
            raise ApprovalError(why)
        document = propose(draft, self._policy(), self._now)
        self.request(document)
        return document

    def unwinnable(self, draft: Draft) -> Mapping[str, str]:
        """See the port."""
        registry = RegistryRepository(self._connection, self._now)
        try:
            policy = self._policy()
        except ApprovalError as error:
            return {item.action: str(error) for item in draft.what}
        return unwinnable(draft, policy, {str(p.id): p.roles for p in registry.eligible()})

    def request(self, document: ActionDocument) -> ApprovalId:
        """Insert a waiting request."""
        inserted = self._connection.execute(
            upsert(approvals)
            .values(
                id=document.id,
                incident_id=IncidentId(document.incident) if document.incident else None,
                subject=document.subject.value,
                document=document.text,
                digest=document.digest,
                requester=document.requester,
                created_at=document.created,
                approve_by=document.approve_by,
                execute_by=document.execute_by,
            )
            .on_conflict_do_nothing()
            .returning(approvals.c.id)
        ).first()
        if inserted is None:
            raise ConflictError(f"approval {document.id} was already requested")
        return document.id

    def row(self, approval_id: ApprovalId) -> ApprovalRow:
        """Read one request."""
        row = self._connection.execute(select(approvals).where(approvals.c.id == approval_id)).first()
        if row is None:
            raise NotFoundError(f"there is no approval {approval_id}", field="approval")
        return approval_of(row)

    def document(self, approval_id: ApprovalId) -> ActionDocument:
        """Read and parse one document."""
        return parse(self.row(approval_id).document)

    def evidence(self, approval_id: ApprovalId) -> Evidence:
        """Read document, votes that still count, and the newest policy.

        Who was suspended since, lost a role or had his factor revoked, no longer counts for it, also once he is restored;
        against it he does.
        """
        rows = self._connection.execute(
            select(
                votes.c.statement, votes.c.signature, votes.c.decision, votes.c.void_at, people.c.state, people.c.roles
            )
            .join(people, people.c.id == votes.c.person_id)
            .where(votes.c.approval_id == approval_id)
            .order_by(votes.c.id)
        )
        signed = tuple(
            Signed(row.statement, row.signature)
            for row in rows
            if row.decision == "deny" or (row.void_at is None and _still_counts(row.statement, row.state, row.roles))
        )
        policy = RegistryRepository(self._connection, self._now).policy()
        return Evidence(self.row(approval_id).document, signed, policy)

    def waiting(self, limit: int) -> Sequence[ApprovalRow]:
        """List what waits for votes."""
        rows = self._connection.execute(
            select(approvals)
            .where(approvals.c.state == ApprovalState.WAITING.value, approvals.c.approve_by > self._now)
            .order_by(approvals.c.approve_by)
            .limit(limit)
        )
        return [approval_of(row) for row in rows]

    def listed(self, *, state: ApprovalState | None, after: str | None, limit: int) -> Sequence[ApprovalRow]:
        """List requests, newest first."""
        wanted = select(approvals).order_by(approvals.c.id.desc()).limit(limit)
        if state is not None:
            wanted = wanted.where(approvals.c.state == state.value)
        if after is not None:
            wanted = wanted.where(approvals.c.id < after)
        return [approval_of(row) for row in self._connection.execute(wanted)]

    def overdue(self, limit: int) -> Sequence[ApprovalId]:
        """List what has run out."""
        late = or_(
            and_(approvals.c.state == ApprovalState.WAITING.value, approvals.c.approve_by <= self._now),
            and_(approvals.c.state == ApprovalState.APPROVED.value, approvals.c.execute_by <= self._now),
        )
        rows = self._connection.execute(select(approvals.c.id).where(late).order_by(approvals.c.id).limit(limit))
        return [ApprovalId(found) for found in rows.scalars()]

    def end(self, approval_id: ApprovalId, state: ApprovalState, reason: str | None = None) -> bool:
        """Move an open request once."""
        moved = self._connection.execute(
            update(approvals)
            .where(approvals.c.id == approval_id, approvals.c.state.in_(OPEN), approvals.c.state != state.value)
            .values(state=state.value, reason=reason, decided_at=self._now)
            .returning(approvals.c.id)
        )
        return moved.first() is not None

    def decisions_of(self, incident_id: IncidentId) -> Sequence[Decision]:
        """List every vote on the incident's requests."""
        query = (
            select(votes, approvals.c.document, people.c.name)
            .join(approvals, approvals.c.id == votes.c.approval_id)
            .join(people, people.c.id == votes.c.person_id)
            .where(approvals.c.incident_id == incident_id)
            .order_by(votes.c.cast_at, votes.c.id)
        )
        return [
            Decision(
                approval_id=row.approval_id,
                person=row.name,
                decision=row.decision,
                at=row.cast_at,
                sentences=tuple(item.sentence for item in parse(row.document).what),
            )
            for row in self._connection.execute(query)
        ]

    def _policy(self) -> Policy:
        """Return the newest policy as it stands: who executes verifies it, a wrong one only wastes this request."""
        signed = RegistryRepository(self._connection, self._now).policy()
        if signed is None:
            raise ApprovalError("no policy is in force: complete the set-up before asking for an approval")
        return parse_policy_text(signed.body)
