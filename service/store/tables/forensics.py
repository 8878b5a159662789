"""Lists of labelled addresses, and what was traced after an incident."""

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.store.tables.base import metadata, when

address_lists = Table(
    "address_lists",
    metadata,
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),  # who published it
    Column("listed_on", Date, nullable=False),  # the list's own date
    Column("digest", Text, nullable=False),  # SHA-256 of the file
    Column("entries", Integer, nullable=False),
    Column("imported_by", Text, nullable=False),
    when("created_at", nullable=False),
    Index("ix_address_lists_digest", "digest"),
)

address_labels = Table(
    "address_labels",
    metadata,
    Column("list_id", Text, ForeignKey("address_lists.id"), nullable=False),
    Column("address", Text, nullable=False),  # 0x… in lower case, or a Bitcoin address
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    PrimaryKeyConstraint("list_id", "address"),
    Index("ix_address_labels_address", "address"),
)

traces = Table(
    "traces",
    metadata,
    Column("incident_id", Text, ForeignKey("incidents.id"), primary_key=True),
    Column("state", Text, nullable=False),  # gathering | complete
    Column("walks", JSONB, nullable=False),  # how far each chain was followed
    Column("report", Text),  # JSON
    Column("drawing", Text),  # SVG
    when("lease_until", nullable=False),
    when("created_at", nullable=False),
    when("updated_at", nullable=False),
    Column("past_labels", Boolean, nullable=False, server_default="false"),  # whether people asked to go past labels
)
