"""The bulk statements of one intake batch: one INSERT … SELECT unnest(…) per table, whatever the batch's size.

unnest of typed arrays is level with COPY at hundreds of rows and, unlike COPY, knows ON CONFLICT.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from service.domain.events import Event
from service.domain.ids import new_id
from service.domain.intake import TransactionKey, TransactionState
from service.domain.timeline import Entry
from service.ports.store.intake import ActivityRow, DecisionRow, Writes
from service.store.recording import recorded

_ACTIVITIES: Final = """
INSERT INTO activities (id, connection_id, event_id, body_digest, kind, status, occurred_at, received_at, account, actor,
  transaction, asset, destination, amount_base_units, amount_usd, balance_usd, score, p_value, decision, history, reasons,
  detectors, seq, raw)
SELECT id, connection_id, event_id, body_digest, kind, status, occurred_at, received_at, account, actor, transaction, asset,
  destination, amount_base_units, amount_usd, balance_usd, score, p_value, decision, history, reasons,
  string_to_array(detectors, ','), seq, raw
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
  $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::numeric[], $15::numeric[], $16::numeric[],
  $17::float8[], $18::float8[], $19::text[], $20::text[], $21::text[], $22::text[], $23::int8[], $24::bytea[])
AS t(id, connection_id, event_id, body_digest, kind, status, occurred_at, received_at, account, actor, transaction, asset,
  destination, amount_base_units, amount_usd, balance_usd, score, p_value, decision, history, reasons, detectors, seq, raw)
"""
_TRANSACTIONS: Final = """
INSERT INTO transactions (connection_id, ref, activity_id, account, asset, destination, amount_base_units, amount_usd,
  payload_digest, state, decision, updated_at)
SELECT *, $12::timestamptz FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::numeric[],
  $8::numeric[], $9::bytea[], $10::text[], $11::text[])
ON CONFLICT (connection_id, ref) DO UPDATE SET account = excluded.account, asset = excluded.asset,
  destination = excluded.destination, amount_base_units = excluded.amount_base_units, amount_usd = excluded.amount_usd,
  payload_digest = excluded.payload_digest, state = excluded.state, decision = excluded.decision,
  updated_at = excluded.updated_at
"""
_LEARNING: Final = """
INSERT INTO learning (seq, kind, operation, subject, payload, engine_version, settings_digest, at)
SELECT *, $8::timestamptz FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[])
"""
_BASELINES: Final = """
INSERT INTO baselines (entity, kind, seq, state)
SELECT entity, kind, $4::int8, state FROM unnest($1::text[], $2::int2[], $3::bytea[]) AS t(entity, kind, state)
ON CONFLICT (entity, kind) DO UPDATE SET seq = excluded.seq, state = excluded.state
"""
_DECISIONS: Final = """
INSERT INTO decisions (connection_id, request_id, id, body_digest, activity_id, account, transaction, destination, decision,
  score, p_value, reasons, created_at)
SELECT *, $13::timestamptz FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[],
  $8::text[], $9::text[], $10::float8[], $11::float8[], $12::text[])
"""
_CONFLICTS: Final = """
INSERT INTO conflicting_events (id, connection_id, event_id, body_digest, raw, received_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""
_ALERTS: Final = """
INSERT INTO alerts (id, connection_id, activity_id, dedup_key, kind, severity, decision, score, p_value, title, entities,
  amount_usd, raised_at, last_at, judged)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14)
"""


async def write_all(connection: Any, writes: Writes) -> None:
    """Write one batch through an open asyncpg transaction."""
    await _write_activities(connection, writes.activities)
    await _write_transactions(connection, writes)
    await _write_decisions(connection, writes.decisions, writes)
    await _write_learning(connection, writes)
    for conflict in writes.conflicts:
        activity = conflict.activity
        await connection.execute(
            _CONFLICTS, new_id("cfl"), activity.connection, activity.event_id, conflict.body_digest, conflict.raw,
            conflict.received_at,
        )  # fmt: skip
    await _write_alerts(connection, writes)
    for entry, events, trace_id in writes.entries:
        await _record(connection, entry)
        await _hand_over(connection, entry, events, trace_id)
    for entry in writes.audited:
        await _record(connection, entry)
    for account in sorted(writes.went_live):
        await connection.execute(
            "UPDATE accounts SET live_since = $3 WHERE connection_id = $1 AND ref = $2 AND live_since IS NULL",
            *account,
            writes.now,
        )


async def _write_activities(connection: Any, rows: Sequence[ActivityRow]) -> None:
    if rows:
        await connection.execute(_ACTIVITIES, *_columns([_activity(row) for row in rows]))


def _activity(row: ActivityRow) -> tuple[object, ...]:
    received, judged = row.received, row.judged
    activity = received.activity
    return (
        received.activity_id, activity.connection, activity.event_id, received.body_digest, activity.kind, row.status.value,
        activity.occurred_at, received.received_at, activity.account, activity.actor, activity.transaction, activity.asset,
        activity.destination, activity.amount_base_units, activity.amount_usd, activity.balance_usd,
        None if judged is None else judged.score, None if judged is None else judged.p_value,
        None if judged is None else judged.decision, None if judged is None else judged.history,
        None if judged is None else judged.reasons, ",".join(row.detectors) or None, row.seq, received.raw,
    )  # fmt: skip


async def _write_transactions(connection: Any, writes: Writes) -> None:
    if writes.transactions:
        columns = _columns([_transaction(key, state) for key, state in writes.transactions.items()])
        await connection.execute(_TRANSACTIONS, *columns, writes.now)


def _transaction(key: TransactionKey, state: TransactionState) -> tuple[object, ...]:
    return (
        key.connection, key.ref, state.activity_id, state.account, state.asset, state.destination,
        state.amount_base_units, state.amount_usd, state.payload_digest, state.state, state.decision,
    )  # fmt: skip


async def _write_decisions(connection: Any, rows: Sequence[DecisionRow], writes: Writes) -> None:
    if rows:
        await connection.execute(_DECISIONS, *_columns([_decision(row) for row in rows]), writes.now)


def _decision(row: DecisionRow) -> tuple[object, ...]:
    activity, judged = row.received.activity, row.judged
    return (
        activity.connection, row.request_id, row.id, row.received.body_digest, row.received.activity_id, activity.account,
        activity.transaction, activity.destination, row.decision, None if judged is None else judged.score,
        None if judged is None else judged.p_value, "[]" if judged is None else judged.reasons,
    )  # fmt: skip


async def _write_learning(connection: Any, writes: Writes) -> None:
    if writes.learning:
        rows = [
            (r.seq, r.kind, r.operation, subject, r.payload, r.engine_version, r.settings_digest)
            for r, subject in writes.learning
        ]
        await connection.execute(_LEARNING, *_columns(rows), writes.now)
    if writes.requests:
        await connection.execute(
            "UPDATE learning_requests r SET seq = t.seq FROM unnest($1::int8[], $2::int8[]) AS t(id, seq) WHERE r.id = t.id",
            *_columns(writes.requests),
        )
    if writes.baselines:
        rows_ = [(change.entity, change.kind, change.state) for change in writes.baselines]
        await connection.execute(_BASELINES, *_columns(rows_), writes.sequence)


async def _write_alerts(connection: Any, writes: Writes) -> None:
    for alert, title in writes.alerts:
        await connection.execute(
            _ALERTS, alert.id, alert.connection, alert.activity_id, alert.dedup_key, alert.kind.value, int(alert.severity),
            alert.decision, alert.score, alert.p_value, title, list(alert.entities), alert.amount_usd, alert.raised_at,
            list(alert.judged) or None,
        )  # fmt: skip
    for alert_id, times in writes.repeated_alerts.items():
        await connection.execute(
            "UPDATE alerts SET count = count + $2, last_at = $3 WHERE id = $1", alert_id, times, writes.now
        )


async def _record(connection: Any, entry: Entry) -> None:
    """Write the audit entry, the counterpart of `SqlUnitOfWork.record` over the same bytes."""
    written = recorded(entry)
    entry_id = await connection.fetchval(
        "INSERT INTO audit_entries (body, at) VALUES ($1, $2) RETURNING id", written.body, entry.at
    )
    for name, salt, value in written.personal:
        await connection.execute(
            "INSERT INTO audit_personal (entry_id, field, salt, value) VALUES ($1, $2, $3, $4)",
            entry_id,
            name,
            salt,
            value,
        )


async def _hand_over(connection: Any, entry: Entry, events: Sequence[Event], trace_id: str | None) -> None:
    await connection.execute(
        'INSERT INTO timeline (incident_id, kind, subject, sentence, "by", facts, at)'
        " VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7)",
        entry.incident_id, entry.kind, entry.subject, entry.sentence, entry.by, json.dumps(dict(entry.facts)), entry.at,
    )  # fmt: skip
    for event in events:
        await connection.execute(
            "INSERT INTO outbox (event, payload, trace_id, created_at) VALUES ($1, $2::jsonb, $3, $4)",
            event.name,
            json.dumps(event.payload()),
            trace_id,
            entry.at,
        )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
