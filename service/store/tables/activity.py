"""Intake: activities, transactions, gate decisions, the learning sequence. Written by the API."""

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Float,
    Identity,
    Index,
    LargeBinary,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.store.tables.base import metadata, when

activities = Table(
    "activities",
    metadata,
    Column("id", Text, primary_key=True),
    Column("connection_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("body_digest", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),  # scored | unattributed | repeated | history
    when("occurred_at", nullable=False),
    when("received_at", nullable=False),
    Column("account", Text),
    Column("actor", Text),
    Column("transaction", Text),
    Column("asset", Text),
    Column("destination", Text),
    Column("amount_base_units", Numeric(78, 0)),
    Column("amount_usd", Numeric(38, 2)),
    Column("balance_usd", Numeric(38, 2)),
    Column("score", Float),
    Column("p_value", Float),
    Column("decision", Text),  # allow | alert | hold
    Column("history", Text),  # enough | not_enough
    Column("reasons", Text),  # JSON list
    Column("detectors", ARRAY(Text)),
    Column("seq", BigInteger),
    Column("raw", LargeBinary, nullable=False),
    UniqueConstraint("connection_id", "event_id"),
    # Partial, so that no plan takes it for a look-up by event id, which begins with the same column.
    Index("ix_activities_account", "connection_id", "account", "id", postgresql_where=text("account IS NOT NULL")),
    Index("ix_activities_anomalous", "id", postgresql_where=text("decision <> 'allow'")),
)

transactions = Table(
    "transactions",
    metadata,
    Column("connection_id", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("activity_id", Text, nullable=False),
    Column("account", Text),
    Column("asset", Text),
    Column("destination", Text),
    Column("amount_base_units", Numeric(78, 0)),
    Column("amount_usd", Numeric(38, 2)),
    Column("payload_digest", LargeBinary),
    Column("state", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("cleared_by", Text),  # approval id once people let it pass
    when("updated_at", nullable=False),
)

conflicting_events = Table(
    "conflicting_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("connection_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("body_digest", LargeBinary, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    when("received_at", nullable=False),
    UniqueConstraint("connection_id", "event_id", "body_digest"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("connection_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("body_digest", LargeBinary, nullable=False),
    Column("activity_id", Text),
    Column("account", Text),
    Column("transaction", Text),
    Column("destination", Text),
    Column("decision", Text, nullable=False),  # approve | hold | reject
    Column("score", Float),
    Column("p_value", Float),
    Column("reasons", Text, nullable=False),
    when("created_at", nullable=False),
)

learning = Table(
    "learning",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("operation", Text),
    Column("subject", Text),
    Column("payload", LargeBinary, nullable=False),
    Column("engine_version", Text, nullable=False),
    Column("settings_digest", Text, nullable=False),
    when("at", nullable=False),
    Index("ix_learning_control", "kind", "seq", postgresql_where=text("kind IN ('settings', 'rules', 'lists')")),
)

learning_requests = Table(
    # What other processes want to put into the sequence (incident opened, verdict, …): intake moves them over in order.
    "learning_requests",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    when("created_at", nullable=False),
    Column("seq", BigInteger),
    Index("ix_learning_requests_waiting", "id", postgresql_where=text("seq IS NULL")),
    Index("ix_learning_requests_placed", "kind", "seq", postgresql_where=text("seq IS NOT NULL")),
)

# What one batch hands over: an array of each, in one statement (`store/intake_writes.py`). Exact numbers come as text and
# moments as microseconds, because both are several times cheaper to send so.
INTAKE_TYPES = (
    """CREATE TYPE intake_row AS (id text, connection_id text, event_id text, body_digest bytea, kind text, status text,
    occurred_us int8, received_us int8, account text, actor text, transaction text, asset text, destination text,
    amount_base_units text, amount_usd text, balance_usd text, score float8, p_value float8, decision text, history text,
    reasons text, detectors text, seq int8, raw bytea, operation text, observation bytea, opens_state text,
    opens_decision text, payload_digest bytea, question text, decision_id text, gate text)""",
    """CREATE TYPE intake_move AS (connection_id text, ref text, activity_id text, account text, asset text,
    destination text, amount_base_units text, amount_usd text, payload_digest bytea, state text, decision text)""",
)
for _type in INTAKE_TYPES:
    event.listen(activities, "after_create", DDL(_type))  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
