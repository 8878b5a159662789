"""Suppressions that a quorum approved, and the files of each set of detectors that was in force."""

from sqlalchemy import BigInteger, Column, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from service.store.tables.base import metadata, when

suppressions = Table(
    "suppressions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("entity", Text, nullable=False),
    Column("detector", Text),  # none: the score itself
    Column("owner", Text, nullable=False),
    Column("reason", Text, nullable=False),
    when("expires_at", nullable=False),
    Column("approval_id", Text, nullable=False),
    when("created_at", nullable=False),
    when("lifted_at"),
    Column("lifted_by", Text),
    Index("ix_suppressions_entity", "entity", postgresql_where=text("lifted_at IS NULL")),
)

rule_sets = Table(
    # So that a restart finds the set that is in force, whatever stands in the directory meanwhile.
    "rule_sets",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("files", JSONB, nullable=False),
    when("created_at", nullable=False),
)

rule_adoptions = Table(
    # Which set was in force after which: an approval counts until another set follows. Never changed.
    "rule_adoptions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("digest", Text, nullable=False),
    Column("approval_id", Text),  # none: it loosened nothing
    when("at", nullable=False),
    Index("ix_rule_adoptions_approval", "approval_id", postgresql_where=text("approval_id IS NOT NULL")),
)
