"""Who decides and what is connected: people, factors, policies, connections, channels. Written by the authority."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.store.tables.base import metadata, when

people = Table(
    "people",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("oncall_level", SmallInteger),
    Column("channels", JSONB, nullable=False, server_default="[]"),
    Column("state", Text, nullable=False),  # active | suspended | left
    when("created_at", nullable=False),
    UniqueConstraint("email"),
)

factors = Table(
    "factors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person_id", Text, ForeignKey("people.id"), nullable=False),
    Column("kind", Text, nullable=False),  # totp
    Column("last_timecode", BigInteger, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    when("first_failure_at"),
    when("locked_until"),
    Column("during_setup", Boolean, nullable=False, server_default="false"),  # else it counts only after 24 h
    when("seed_shown_at"),  # the enrolment URI is shown once
    when("confirmed_at"),
    when("revoked_at"),
    when("created_at", nullable=False),
    Column("client", Text, nullable=False, server_default=""),  # code of the one client that may enrol it; else any
    Index("ix_factors_person", "person_id"),
)

factor_attempts = Table(
    "factor_attempts",
    metadata,
    Column("factor_id", Text, ForeignKey("factors.id"), primary_key=True),
    Column("approval_id", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    when("locked_at"),
)

policies = Table(
    "policies",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    when("created_at", nullable=False),
)

connections = Table(
    "connections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("platform", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("state", Text, nullable=False),  # active | paused
    Column("version", Integer, nullable=False, server_default="1"),
    when("created_at", nullable=False),
)

connection_secrets = Table(
    "connection_secrets",
    metadata,
    Column("connection_id", Text, ForeignKey("connections.id"), primary_key=True),
    Column("name", Text, primary_key=True),  # webhook_secret.0, api_key_private, …
    Column("opened_by", Text, nullable=False),  # api | containment
    Column("sealed", LargeBinary, nullable=False),
    when("created_at", nullable=False),
)

channels = Table(
    "channels",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # smtp | slack | webhook | apprise
    Column("config", JSONB, nullable=False),
    Column("sealed_secret", LargeBinary),
    when("created_at", nullable=False),
)

setup = Table(
    "setup",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("statement", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    when("completed_at", nullable=False),
)
