"""Alerts, incidents, plans and their steps, and the holds of our gate before signing."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.store.tables.base import metadata, when

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("connection_id", Text, nullable=False),
    Column("activity_id", Text, nullable=False),
    Column("dedup_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("decision", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("p_value", Float, nullable=False),
    Column("title", Text, nullable=False),
    Column("entities", ARRAY(Text), nullable=False),
    Column("amount_usd", Numeric(38, 2)),
    Column("count", Integer, nullable=False, server_default="1"),
    when("raised_at", nullable=False),
    when("last_at", nullable=False),
    Column("incident_id", Text),
    Column("verdict", Text),
    Column("verdict_by", Text),
    when("verdict_at"),
    Column("judged", ARRAY(Float)),  # what the score was made of; a verdict gives it back to the engine
    Column("reported_by", Text),  # who raised it on what the engine let pass
    Column("place", Integer, nullable=False, server_default="0"),  # among its incident's alerts, as they joined, from 1
    Index("ix_alerts_dedup", "dedup_key", "last_at"),
    Index("ix_alerts_incident", "incident_id"),
    Index("ix_alerts_activity", "activity_id"),
    Index("ix_alerts_waiting", "id", postgresql_where=text("incident_id IS NULL")),
)

vouched = Table(
    # A person's word that nothing was wrong with an activity; written by the API, believed only as `flow/vouching.py` says.
    "vouched",
    metadata,
    Column("activity_id", Text, primary_key=True),
    Column("by", Text, nullable=False),
    when("at", nullable=False),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("entities", ARRAY(Text), nullable=False),
    Column("value_at_risk_usd", Numeric(38, 2), nullable=False),
    when("opened_at", nullable=False),
    when("first_harm_at", nullable=False),
    when("detected_at", nullable=False),
    when("held_at"),
    when("contained_at"),
    when("recovered_at"),
    when("closed_at"),
    when("acknowledged_at"),
    Column("acknowledged_by", Text),
    Column("assignee", Text),
    Column("verdict", Text),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("alarm", Integer, nullable=False, server_default="1"),  # how often people were to be woken
    Index("ix_incidents_open", "opened_at", postgresql_where=text("state <> 'closed'")),
)

plans = Table(
    "plans",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident_id", Text, ForeignKey("incidents.id"), nullable=False),
    Column("playbook", Text, nullable=False),
    Column("playbook_digest", Text, nullable=False),
    Column("policy_digest", Text, nullable=False),
    Column("compromised", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("document", Text, nullable=False),  # RFC 8785
    when("created_at", nullable=False),
    Column("alerts", Integer, nullable=False, server_default="0"),  # how many its incident had then
    Index("ix_plans_incident", "incident_id"),
)

steps = Table(
    "steps",
    metadata,
    Column("id", Text, primary_key=True),
    Column("plan_id", Text, ForeignKey("plans.id"), nullable=False),
    Column("incident_id", Text, ForeignKey("incidents.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", JSONB, nullable=False),
    Column("params", JSONB, nullable=False),
    Column("effect", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", Text),
    when("lease_until"),
    when("ready_at"),
    when("due_at"),
    when("deadline_at"),
    Column("after", ARRAY(Text), nullable=False, server_default="{}"),
    Column("approval_id", Text),
    Column("intent_at", DateTime(timezone=True)),  # written and committed before the call to the other side
    Column("receipt", JSONB),
    Column("verdict", Text),
    Column("reason", Text),
    Column("trace_id", Text),
    when("created_at", nullable=False),
    when("finished_at"),
    when("confirm_by"),
    Column("confirmed_by", Text),
    Index("ix_steps_incident", "incident_id"),
    Index("ix_steps_connection", text("(target ->> 'connection')"), "created_at"),
    Index(
        "ix_steps_unfinished",
        "due_at",
        postgresql_where=text("state IN ('ready','running','verifying','unknown')"),
    ),
)

connection_lines = Table(
    # Outages of connections: calls in a row that got no answer, and until when nobody tries. A row with none is no outage.
    "connection_lines",
    metadata,
    Column("connection_id", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    when("since", nullable=False),
    when("closed_until", nullable=False),
    when("told_at"),
)

call_pace = Table(
    # How far each platform's calls are used up, over all workers, and until when it asked for none.
    "call_pace",
    metadata,
    Column("connection_id", Text, primary_key=True),
    when("used_until", nullable=False),
    when("slow_until"),
)

gate_holds = Table(
    # What our gate before signing answers RETRY for: the meaning of suspension on platforms with a gate.
    "gate_holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("connection_id", Text, nullable=False),
    Column("scope", Text, nullable=False),  # account | destination | connection
    Column("value", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False, unique=True),
    when("placed_at", nullable=False),
    when("released_at"),
    Column("released_by", Text),  # idempotency key of the releasing step
    Column("place", Text, nullable=False),  # what a question's destinations are held against
    Index("ix_gate_holds_active", "connection_id", "scope", "value", postgresql_where=text("released_at IS NULL")),
)
