"""Action documents awaiting a quorum, and the votes on them, which only the authority may write.

Whoever may ask for an approval writes a row that others read in a list: what they could not read is refused.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.domain.approval import MAX_DOCUMENT, ApprovalState, Subject
from service.store.tables.base import metadata, when


def _one_of(column: str, words: type[ApprovalState | Subject]) -> CheckConstraint:
    named = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} IN ({named})", name=column)


approvals = Table(
    "approvals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident_id", Text),
    Column("subject", Text, nullable=False),  # domain/approval.py: Subject
    Column("document", Text, nullable=False),  # RFC 8785
    Column("digest", Text, nullable=False, unique=True),
    Column("requester", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="waiting"),  # domain/approval.py: ApprovalState
    Column("reason", Text),
    when("created_at", nullable=False),
    when("approve_by", nullable=False),
    when("execute_by", nullable=False),
    when("decided_at"),
    _one_of("subject", Subject),
    _one_of("state", ApprovalState),
    CheckConstraint(
        f"CASE WHEN char_length(document) <= {MAX_DOCUMENT} THEN jsonb_typeof(document::jsonb) = 'object'"
        " ELSE false END",
        name="document",
    ),
    CheckConstraint("octet_length(id || digest || requester || coalesce(incident_id, '')) <= 1000", name="length"),
    CheckConstraint(
        "created_at > '2000-01-01T00:00Z' AND created_at <= approve_by AND approve_by <= execute_by"
        " AND execute_by < '9999-01-01T00:00Z'",
        name="moments",
    ),
    Index("ix_approvals_waiting", "approve_by", postgresql_where=text("state = 'waiting'")),
)

votes = Table(
    "votes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("approval_id", Text, ForeignKey("approvals.id"), nullable=False),
    Column("person_id", Text, ForeignKey("people.id"), nullable=False),
    Column("decision", Text, nullable=False),  # approve | deny
    Column("statement", Text, nullable=False),  # RFC 8785, what the signature covers
    Column("signature", LargeBinary, nullable=False),
    Column("factor_id", Text, nullable=False),
    Column("timecode", BigInteger, nullable=False),
    when("cast_at", nullable=False),
    when("void_at"),  # its person was suspended, lost a role, or had the factor revoked: it never counts again
    UniqueConstraint("factor_id", "timecode"),
    Index("uq_votes_standing", "approval_id", "person_id", unique=True, postgresql_where=text("void_at IS NULL")),
)

applied_changes = Table(
    # A change or mandate is noted here in the transaction that applies it: it never runs twice, whatever its row says.
    "applied_changes",
    metadata,
    Column("approval_id", Text, ForeignKey("approvals.id"), primary_key=True),
    when("at", nullable=False),
)

mandates = Table(
    "mandates",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),  # escalation
    Column("limits", JSONB, nullable=False),
    Column("approval_id", Text, nullable=False),
    when("expires_at", nullable=False),
    when("created_at", nullable=False),
)
