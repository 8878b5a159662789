"""Events that a worker asked a platform for, on their way to intake, and how far each connection was asked."""

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary, Table, Text, UniqueConstraint, text

from service.store.tables.base import metadata, when

poll_cursors = Table(
    "poll_cursors",
    metadata,
    Column("connection_id", Text, primary_key=True),
    Column("cursor", Text),  # the platform's own, none before the first answer
    when("due_at", nullable=False),
    when("answered_at"),
)

polled_events = Table(
    # Written by the containment worker, taken by whichever API process looks first; the id keeps a line from coming twice.
    "polled_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("connection_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("activity", LargeBinary),  # JSON; none: stored and meaning nothing
    Column("raw", LargeBinary, nullable=False),
    when("received_at", nullable=False),
    when("taken_at"),
    UniqueConstraint("connection_id", "event_id"),
    Index("ix_polled_events_taken", "connection_id", "taken_at", postgresql_where=text("taken_at IS NOT NULL")),
    Index("ix_polled_events_waiting", "id", postgresql_where=text("taken_at IS NULL")),
)
