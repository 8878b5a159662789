"""Baselines become a snapshot at a sequence number; a batch is handed over as one array of rows.

The baselines of 0001 stood at the end of the sequence, so that is where the first snapshot stands.

Revision ID: 0002
"""

from typing import Final

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    "DROP INDEX ix_baselines_seq",
    "DROP INDEX ix_activities_account",
    "CREATE INDEX ix_activities_account ON activities (connection_id, account, id) WHERE account IS NOT NULL",
    "CREATE INDEX ix_learning_control ON learning (kind, seq) WHERE kind IN ('settings', 'rules')",
    "ALTER TABLE baselines SET (fillfactor = 50)",
    """CREATE TABLE baseline_snapshot (id SMALLINT NOT NULL, seq BIGINT NOT NULL, engine_version TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE, CONSTRAINT pk_baseline_snapshot PRIMARY KEY (id),
    CONSTRAINT ck_baseline_snapshot_one CHECK (id = 1))""",
    """INSERT INTO baseline_snapshot (id, seq, engine_version, at) SELECT 1, coalesce(max(seq), 0),
    coalesce((SELECT engine_version FROM learning ORDER BY seq DESC LIMIT 1), ''), max(at) FROM learning""",
    """CREATE TABLE registry_version (id SMALLINT NOT NULL, version BIGINT NOT NULL,
    CONSTRAINT pk_registry_version PRIMARY KEY (id), CONSTRAINT ck_registry_version_one CHECK (id = 1))""",
    "INSERT INTO registry_version (id, version) VALUES (1, 0)",
    """CREATE FUNCTION registry_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN UPDATE public.registry_version SET version = version + 1; RETURN NULL; END $$""",
    """CREATE TRIGGER registry_changed AFTER INSERT OR DELETE OR UPDATE OF connection_id, ref, peer_group ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION registry_changed()""",
    """CREATE TYPE intake_row AS (id text, connection_id text, event_id text, body_digest bytea, kind text, status text,
    occurred_us int8, received_us int8, account text, actor text, transaction text, asset text, destination text,
    amount_base_units text, amount_usd text, balance_usd text, score float8, p_value float8, decision text, history text,
    reasons text, detectors text, seq int8, raw bytea, operation text, observation bytea, opens_state text,
    opens_decision text, payload_digest bytea, question text, decision_id text, gate text)""",
    """CREATE TYPE intake_move AS (connection_id text, ref text, activity_id text, account text, asset text,
    destination text, amount_base_units text, amount_usd text, payload_digest bytea, state text, decision text)""",
)
DOWNGRADE: Final = (
    "DROP TYPE intake_move, intake_row",
    "DROP TRIGGER registry_changed ON accounts",
    "DROP FUNCTION registry_changed()",
    "DROP TABLE registry_version, baseline_snapshot",
    "ALTER TABLE baselines RESET (fillfactor)",
    "DROP INDEX ix_learning_control",
    "DROP INDEX ix_activities_account",
    "CREATE INDEX ix_activities_account ON activities (connection_id, account, id)",
    "CREATE INDEX ix_baselines_seq ON baselines (seq)",
)


def upgrade() -> None:
    """Note where the stored baselines stand."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Refuse while rows are newer than the snapshot: 0001 knows no such rows."""
    behind = op.get_bind().exec_driver_sql(
        "SELECT coalesce(max(seq), 0) - (SELECT seq FROM baseline_snapshot) FROM learning"
    )
    newer = behind.scalar_one()
    if newer:
        raise ValueError(f"{newer} rows are newer than the snapshot: stop the API cleanly first")
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
