"""The hand-over between steps (outbox) and the proof of what happened (timeline, audit tree)."""

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.store.tables.base import metadata, when

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("event", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("trace_id", Text),
    when("created_at", nullable=False),
    when("published_at"),
    when("settled_at"),  # every job of it is noted as handled: the sweeper need not look at it again
    Index("ix_outbox_waiting", "id", postgresql_where=text("published_at IS NULL")),
    Index("ix_outbox_published", "published_at"),
    Index("ix_outbox_unsettled", "published_at", postgresql_where=text("settled_at IS NULL")),
)

# The relay sleeps until a commit wakes it: whoever writes an event, by whatever driver, needs to know nothing of it.
event.listen(
    outbox,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
        "CREATE FUNCTION outbox_wake() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_notify('outbox', ''); RETURN NULL; END $$"
    ),
)
event.listen(
    outbox,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]  # as above
        "CREATE TRIGGER outbox_wake AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_wake()"
    ),
)

handled = Table(
    # A job that must not run twice for one event marks it here in its own transaction.
    "handled",
    metadata,
    Column("key", Text, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

timeline = Table(
    "timeline",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("incident_id", Text),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("facts", JSONB, nullable=False),
    when("at", nullable=False),
    Index("ix_timeline_incident", "incident_id", "id"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("leaf_index", BigInteger, unique=True),  # given by the sequencer after commit
    Column("body", Text, nullable=False),  # RFC 8785: what the leaf hash covers
    Column("leaf_hash", LargeBinary),
    when("at", nullable=False),
    Column(
        "written_by", Text, server_default=text("CURRENT_USER")
    ),  # nobody may write it; none: from before it was kept
    CheckConstraint("leaf_index >= 0", name="place"),
    CheckConstraint(
        "CASE WHEN octet_length(body) <= 1048576 THEN json_typeof(body::json) = 'object' ELSE false END", name="body"
    ),
    Index("ix_audit_entries_waiting", "id", postgresql_where=text("leaf_index IS NULL")),
)

audit_personal = Table(
    "audit_personal",
    metadata,
    Column("entry_id", BigInteger, ForeignKey("audit_entries.id"), primary_key=True),
    Column("field", Text, primary_key=True),
    Column("salt", LargeBinary),  # erased to forget the person; the proof stays
    Column("value", Text),
)

audit_tree = Table(
    "audit_tree",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    when("at", nullable=False),
)

audit_nodes = Table(
    # The roots of complete subtrees: what inclusion and consistency proofs are made of.
    "audit_nodes",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
)
