"""What asks for people's attention: timers, escalations, messages, reviews."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, SmallInteger, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB

from service.store.tables.base import metadata, when

timers = Table(
    "timers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", JSONB, nullable=False, server_default="{}"),
    when("due_at", nullable=False),
    when("fired_at"),
    when("cancelled_at"),
    UniqueConstraint("kind", "subject"),
    Index("ix_timers_due", "due_at", postgresql_where=text("fired_at IS NULL AND cancelled_at IS NULL")),
)

escalations = Table(
    "escalations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident_id", Text, ForeignKey("incidents.id"), nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("person_id", Text, nullable=False),
    Column("reason", Text, nullable=False),  # on_call | alarm:… | again:… | mandate:… | quorum:… and others
    when("paged_at", nullable=False),
    when("acknowledged_at"),
    UniqueConstraint("incident_id", "level", "person_id", "reason"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident_id", Text),
    Column("approval_id", Text),
    Column("audience", Text, nullable=False),  # responders | approvers | users
    Column("channel", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),  # held | queued | sending | sent | failed | unknown | dropped
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("attempt", Integer, nullable=False, server_default="0"),
    when("due_at"),
    Column("lease_owner", Text),
    when("lease_until"),
    Column("receipt", JSONB),
    Column("reason", Text),
    when("created_at", nullable=False),
    when("sent_at"),
    Column("page", Boolean, nullable=False, server_default=text("false")),
    Column("passed", Integer, nullable=False, server_default="0"),  # others that went before it while it was the oldest
    Index("ix_messages_due", "due_at", postgresql_where=text("state IN ('queued','sending')")),
)

reviews = Table(
    "reviews",
    metadata,
    Column("incident_id", Text, ForeignKey("incidents.id"), primary_key=True),
    Column("body", Text, nullable=False),  # JSON
    Column("html", Text, nullable=False),
    when("created_at", nullable=False),
)
