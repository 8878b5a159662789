"""API tokens and the health that each process reports."""

from sqlalchemy import Boolean, Column, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from service.store.tables.base import metadata, when

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the whole token
    Column("role", Text, nullable=False),
    Column("person_id", Text),
    Column("connection_id", Text),
    Column("label", Text, nullable=False),
    when("created_at", nullable=False),
    when("expires_at"),
    when("revoked_at"),
)

process_health = Table(
    "process_health",
    metadata,
    Column("process", Text, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("facts", JSONB, nullable=False, server_default="{}"),
    when("at", nullable=False),
    Column("stopping", Boolean, nullable=False, server_default="false"),
)
