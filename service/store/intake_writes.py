"""The statements of one intake batch: everything usual in one, whatever the batch's size; the rare rest beside it.

Rules: the usual part is one statement, and so one transaction by itself. One array of rows is level with COPY in what it
costs the server, costs the client half, and takes one round trip instead of two for each table.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from service.domain.events import Event
from service.domain.ids import new_id
from service.domain.intake import TransactionKey, TransactionState
from service.domain.observing import microseconds
from service.domain.timeline import Entry
from service.ports.store.intake import ActivityRow, Writes
from service.store.recording import recorded

_USUAL: Final = """
WITH r AS MATERIALIZED (SELECT * FROM unnest($1::intake_row[])),
written AS (INSERT INTO activities (id, connection_id, event_id, body_digest, kind, status, occurred_at, received_at,
    account, actor, transaction, asset, destination, amount_base_units, amount_usd, balance_usd, score, p_value,
    decision, history, reasons, detectors, seq, raw)
  SELECT id, connection_id, event_id, body_digest, kind, status,
    timestamptz 'epoch' + occurred_us * interval '1 microsecond',
    timestamptz 'epoch' + received_us * interval '1 microsecond',
    account, actor, transaction, asset, destination, amount_base_units::numeric, amount_usd::numeric, balance_usd::numeric,
    score, p_value, decision, history, reasons, string_to_array(detectors, ','), seq, raw FROM r),
learned AS (INSERT INTO learning (seq, kind, operation, subject, payload, engine_version, settings_digest, at)
  SELECT seq, 'activity', operation, id, observation, $3, $4, $5::timestamptz FROM r WHERE seq IS NOT NULL),
opened AS (INSERT INTO transactions (connection_id, ref, activity_id, account, asset, destination, amount_base_units,
    amount_usd, payload_digest, state, decision, updated_at)
  SELECT connection_id, transaction, id, account, asset, destination, amount_base_units::numeric, amount_usd::numeric,
    payload_digest, opens_state, opens_decision, $5 FROM r WHERE opens_state IS NOT NULL),
moved AS (INSERT INTO transactions (connection_id, ref, activity_id, account, asset, destination, amount_base_units,
    amount_usd, payload_digest, state, decision, updated_at)
  SELECT connection_id, ref, activity_id, account, asset, destination, amount_base_units::numeric, amount_usd::numeric,
    payload_digest, state, decision, $5 FROM unnest($2::intake_move[])
  ON CONFLICT (connection_id, ref) DO UPDATE SET account = excluded.account, asset = excluded.asset,
    destination = excluded.destination, amount_base_units = excluded.amount_base_units, amount_usd = excluded.amount_usd,
    payload_digest = excluded.payload_digest, state = excluded.state, decision = excluded.decision,
    updated_at = excluded.updated_at),
decided AS (INSERT INTO decisions (connection_id, request_id, id, body_digest, activity_id, account, transaction,
    destination, decision, score, p_value, reasons, created_at)
  SELECT connection_id, question, decision_id, body_digest, id, account, transaction, destination, gate, score, p_value,
    coalesce(reasons, '[]'), $5 FROM r WHERE question IS NOT NULL),
audited AS (INSERT INTO audit_entries (body, at) SELECT body, $5 FROM unnest($6::text[]) AS body)
SELECT NOT pg_try_advisory_xact_lock($7)
"""
_LEARNING: Final = """
INSERT INTO learning (seq, kind, operation, subject, payload, engine_version, settings_digest, at)
SELECT *, $8::timestamptz FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[])
"""
_REQUESTS: Final = (
    "UPDATE learning_requests r SET seq = t.seq FROM unnest($1::int8[], $2::int8[]) AS t(id, seq) WHERE r.id = t.id"
)
_WENT_LIVE: Final = (
    "UPDATE accounts a SET live_since = $3 FROM unnest($1::text[], $2::text[]) AS k(c, r)"
    " WHERE a.connection_id = k.c AND a.ref = k.r AND a.live_since IS NULL"
)
_CONFLICTS: Final = """
INSERT INTO conflicting_events (id, connection_id, event_id, body_digest, raw, received_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""
_ALERTS: Final = """
INSERT INTO alerts (id, connection_id, activity_id, dedup_key, kind, severity, decision, score, p_value, title, entities,
  amount_usd, raised_at, last_at, judged)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14)
"""


async def write_all(connection: Any, writes: Writes, wanted_lock: int) -> bool:
    """Write one batch in one transaction; say whether another process waits, holding `wanted_lock` shared meanwhile."""
    if not _has_rest(writes):
        return await _write_usual(connection, writes, wanted_lock)
    async with connection.transaction():
        wanted = await _write_usual(connection, writes, wanted_lock)
        await _write_rest(connection, writes)
    return wanted


async def _write_usual(connection: Any, writes: Writes, wanted_lock: int) -> bool:
    wanted = await connection.fetchval(
        _USUAL,
        [_row(row) for row in writes.activities],
        [_move(key, state) for key, state in writes.moved.items()],
        writes.engine_version,
        writes.settings_digest,
        writes.now,
        [recorded(entry).body for entry in writes.audited],
        wanted_lock,
    )
    return bool(wanted)


def _row(row: ActivityRow) -> tuple[object, ...]:
    received, judged, learned, opens = row.received, row.judged, row.learned, row.opens
    activity = received.activity
    units, usd, balance = activity.amount_base_units, activity.amount_usd, activity.balance_usd
    return (
        received.activity_id, activity.connection, activity.event_id, received.body_digest, activity.kind, row.status,
        microseconds(activity.occurred_at), microseconds(received.received_at), activity.account, activity.actor,
        activity.transaction, activity.asset, activity.destination, None if units is None else str(units),
        None if usd is None else str(usd), None if balance is None else str(balance),
        *((None, None, None, None, None) if judged is None else
          (judged.score, judged.p_value, judged.decision, judged.history, judged.reasons)),
        ",".join(row.detectors) or None, None if learned is None else learned.seq, received.raw,
        None if learned is None else learned.operation, None if learned is None else learned.observation,
        *((None, None, None) if opens is None else (opens.state, opens.decision, opens.payload_digest)),
        row.question, row.decision_id, row.gate,
    )  # fmt: skip


def _move(key: TransactionKey, state: TransactionState) -> tuple[object, ...]:
    units, usd = state.amount_base_units, state.amount_usd
    return (
        *key, state.activity_id, state.account, state.asset, state.destination,
        None if units is None else str(units), None if usd is None else str(usd), state.payload_digest, state.state,
        state.decision,
    )  # fmt: skip


def _has_rest(writes: Writes) -> bool:
    return bool(
        writes.learning
        or writes.requests
        or writes.went_live
        or writes.conflicts
        or writes.alerts
        or writes.repeated_alerts
        or writes.entries
    )


async def _write_rest(connection: Any, writes: Writes) -> None:
    if writes.requests:  # before the rows: a row that people decided is taken only at the place of its request
        await connection.execute(_REQUESTS, *_columns(writes.requests))
    if writes.learning:
        rows = [
            (r.seq, r.kind, r.operation, subject, r.payload, r.engine_version, r.settings_digest)
            for r, subject in writes.learning
        ]
        await connection.execute(_LEARNING, *_columns(rows), writes.now)
    if writes.went_live:
        await connection.execute(_WENT_LIVE, *_columns(sorted(writes.went_live)), writes.now)
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


async def _write_alerts(connection: Any, writes: Writes) -> None:
    if writes.alerts:
        await connection.executemany(_ALERTS, [
            (alert.id, alert.connection, alert.activity_id, alert.dedup_key, alert.kind.value, int(alert.severity),
             alert.decision, alert.score, alert.p_value, title, list(alert.entities), alert.amount_usd, alert.raised_at,
             list(alert.judged) or None)
            for alert, title in writes.alerts
        ])  # fmt: skip
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
