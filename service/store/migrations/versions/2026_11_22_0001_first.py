"""The first schema: every table of version 0.1.0, as it was. Rights are granted after every upgrade (`env.py`).

Revision ID: 0001
"""

from typing import Final

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA: Final = (
    """CREATE TABLE api_tokens ( id TEXT NOT NULL, token_hash BYTEA NOT NULL, role TEXT NOT NULL, person_id TEXT,
    connection_id TEXT, label TEXT NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, expires_at TIMESTAMP WITH
    TIME ZONE, revoked_at TIMESTAMP WITH TIME ZONE, CONSTRAINT pk_api_tokens PRIMARY KEY (id), CONSTRAINT
    uq_api_tokens_token_hash UNIQUE (token_hash) )""",
    """CREATE TABLE process_health ( process TEXT NOT NULL, pid INTEGER NOT NULL, facts JSONB DEFAULT '{}' NOT NULL, at
    TIMESTAMP WITH TIME ZONE NOT NULL, stopping BOOLEAN DEFAULT 'false' NOT NULL, CONSTRAINT pk_process_health
    PRIMARY KEY (process) )""",
    """CREATE TABLE activities ( id TEXT NOT NULL, connection_id TEXT NOT NULL, event_id TEXT NOT NULL, body_digest
    BYTEA NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL, occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL, account TEXT, actor TEXT, transaction TEXT, asset TEXT,
    destination TEXT, amount_base_units NUMERIC(78, 0), amount_usd NUMERIC(38, 2), balance_usd NUMERIC(38, 2), score
    FLOAT, p_value FLOAT, decision TEXT, history TEXT, reasons TEXT, detectors TEXT[], seq BIGINT, raw BYTEA NOT
    NULL, CONSTRAINT pk_activities PRIMARY KEY (id), CONSTRAINT uq_activities_connection_id_event_id UNIQUE
    (connection_id, event_id) )""",
    """CREATE INDEX ix_activities_account ON activities (connection_id, account, id)""",
    """CREATE INDEX ix_activities_anomalous ON activities (id) WHERE decision <> 'allow'""",
    """CREATE TABLE transactions ( connection_id TEXT NOT NULL, ref TEXT NOT NULL, activity_id TEXT NOT NULL, account
    TEXT, asset TEXT, destination TEXT, amount_base_units NUMERIC(78, 0), amount_usd NUMERIC(38, 2), payload_digest
    BYTEA, state TEXT NOT NULL, decision TEXT NOT NULL, cleared_by TEXT, updated_at TIMESTAMP WITH TIME ZONE NOT
    NULL, CONSTRAINT pk_transactions PRIMARY KEY (connection_id, ref) )""",
    """CREATE TABLE conflicting_events ( id TEXT NOT NULL, connection_id TEXT NOT NULL, event_id TEXT NOT NULL,
    body_digest BYTEA NOT NULL, raw BYTEA NOT NULL, received_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT
    pk_conflicting_events PRIMARY KEY (id), CONSTRAINT uq_conflicting_events_connection_id_event_id_body_digest
    UNIQUE (connection_id, event_id, body_digest) )""",
    """CREATE TABLE decisions ( connection_id TEXT NOT NULL, request_id TEXT NOT NULL, id TEXT NOT NULL, body_digest
    BYTEA NOT NULL, activity_id TEXT, account TEXT, transaction TEXT, destination TEXT, decision TEXT NOT NULL,
    score FLOAT, p_value FLOAT, reasons TEXT NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT
    pk_decisions PRIMARY KEY (connection_id, request_id), CONSTRAINT uq_decisions_id UNIQUE (id) )""",
    """CREATE TABLE learning ( seq BIGINT NOT NULL, kind TEXT NOT NULL, operation TEXT, subject TEXT, payload BYTEA NOT
    NULL, engine_version TEXT NOT NULL, settings_digest TEXT NOT NULL, at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_learning PRIMARY KEY (seq) )""",
    """CREATE TABLE learning_requests ( id BIGINT GENERATED ALWAYS AS IDENTITY, kind TEXT NOT NULL, subject TEXT NOT
    NULL, payload BYTEA NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, seq BIGINT, CONSTRAINT
    pk_learning_requests PRIMARY KEY (id) )""",
    """CREATE INDEX ix_learning_requests_waiting ON learning_requests (id) WHERE seq IS NULL""",
    """CREATE TABLE baselines ( entity TEXT NOT NULL, kind SMALLINT NOT NULL, seq BIGINT NOT NULL, state BYTEA NOT
    NULL, CONSTRAINT pk_baselines PRIMARY KEY (entity, kind) )""",
    """CREATE INDEX ix_baselines_seq ON baselines (seq)""",
    """CREATE TABLE approvals ( id TEXT NOT NULL, incident_id TEXT, subject TEXT NOT NULL, document TEXT NOT NULL,
    digest TEXT NOT NULL, requester TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, created_at TIMESTAMP WITH TIME
    ZONE NOT NULL, approve_by TIMESTAMP WITH TIME ZONE NOT NULL, execute_by TIMESTAMP WITH TIME ZONE NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE, CONSTRAINT pk_approvals PRIMARY KEY (id), CONSTRAINT uq_approvals_digest
    UNIQUE (digest) )""",
    """CREATE INDEX ix_approvals_waiting ON approvals (approve_by) WHERE state = 'waiting'""",
    """CREATE TABLE mandates ( id TEXT NOT NULL, scope TEXT NOT NULL, limits JSONB NOT NULL, approval_id TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT
    pk_mandates PRIMARY KEY (id) )""",
    """CREATE TABLE timers ( id TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, payload JSONB DEFAULT '{}'
    NOT NULL, due_at TIMESTAMP WITH TIME ZONE NOT NULL, fired_at TIMESTAMP WITH TIME ZONE, cancelled_at TIMESTAMP
    WITH TIME ZONE, CONSTRAINT pk_timers PRIMARY KEY (id), CONSTRAINT uq_timers_kind_subject UNIQUE (kind, subject)
    )""",
    """CREATE INDEX ix_timers_due ON timers (due_at) WHERE fired_at IS NULL AND cancelled_at IS NULL""",
    """CREATE TABLE messages ( id TEXT NOT NULL, incident_id TEXT, approval_id TEXT, audience TEXT NOT NULL, channel
    TEXT NOT NULL, recipient TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL,
    idempotency_key TEXT NOT NULL, attempt INTEGER DEFAULT '0' NOT NULL, due_at TIMESTAMP WITH TIME ZONE,
    lease_owner TEXT, lease_until TIMESTAMP WITH TIME ZONE, receipt JSONB, reason TEXT, created_at TIMESTAMP WITH
    TIME ZONE NOT NULL, sent_at TIMESTAMP WITH TIME ZONE, CONSTRAINT pk_messages PRIMARY KEY (id), CONSTRAINT
    uq_messages_idempotency_key UNIQUE (idempotency_key) )""",
    """CREATE INDEX ix_messages_due ON messages (due_at) WHERE state IN ('queued','sending')""",
    """CREATE TABLE alerts ( id TEXT NOT NULL, connection_id TEXT NOT NULL, activity_id TEXT NOT NULL, dedup_key TEXT
    NOT NULL, kind TEXT NOT NULL, severity SMALLINT NOT NULL, decision TEXT NOT NULL, score FLOAT NOT NULL, p_value
    FLOAT NOT NULL, title TEXT NOT NULL, entities TEXT[] NOT NULL, amount_usd NUMERIC(38, 2), count INTEGER DEFAULT
    '1' NOT NULL, raised_at TIMESTAMP WITH TIME ZONE NOT NULL, last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    incident_id TEXT, verdict TEXT, verdict_by TEXT, verdict_at TIMESTAMP WITH TIME ZONE, CONSTRAINT pk_alerts
    PRIMARY KEY (id) )""",
    """CREATE INDEX ix_alerts_incident ON alerts (incident_id)""",
    """CREATE INDEX ix_alerts_waiting ON alerts (id) WHERE incident_id IS NULL""",
    """CREATE INDEX ix_alerts_dedup ON alerts (dedup_key, last_at)""",
    """CREATE TABLE incidents ( id TEXT NOT NULL, kind TEXT NOT NULL, severity SMALLINT NOT NULL, state TEXT NOT NULL,
    title TEXT NOT NULL, entities TEXT[] NOT NULL, value_at_risk_usd NUMERIC(38, 2) NOT NULL, opened_at TIMESTAMP
    WITH TIME ZONE NOT NULL, first_harm_at TIMESTAMP WITH TIME ZONE NOT NULL, detected_at TIMESTAMP WITH TIME ZONE
    NOT NULL, held_at TIMESTAMP WITH TIME ZONE, contained_at TIMESTAMP WITH TIME ZONE, recovered_at TIMESTAMP WITH
    TIME ZONE, closed_at TIMESTAMP WITH TIME ZONE, acknowledged_at TIMESTAMP WITH TIME ZONE, acknowledged_by TEXT,
    assignee TEXT, verdict TEXT, version INTEGER DEFAULT '1' NOT NULL, CONSTRAINT pk_incidents PRIMARY KEY (id) )""",
    """CREATE INDEX ix_incidents_open ON incidents (opened_at) WHERE state <> 'closed'""",
    """CREATE TABLE gate_holds ( id TEXT NOT NULL, connection_id TEXT NOT NULL, scope TEXT NOT NULL, value TEXT NOT
    NULL, idempotency_key TEXT NOT NULL, placed_at TIMESTAMP WITH TIME ZONE NOT NULL, released_at TIMESTAMP WITH
    TIME ZONE, released_by TEXT, CONSTRAINT pk_gate_holds PRIMARY KEY (id), CONSTRAINT uq_gate_holds_idempotency_key
    UNIQUE (idempotency_key) )""",
    """CREATE INDEX ix_gate_holds_active ON gate_holds (connection_id, scope, value) WHERE released_at IS NULL""",
    """CREATE TABLE vault_wallets ( id TEXT NOT NULL, sealed_seed BYTEA NOT NULL, state TEXT NOT NULL, created_at
    TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_vault_wallets PRIMARY KEY (id) )""",
    """CREATE TABLE outbox ( id BIGINT GENERATED ALWAYS AS IDENTITY, event TEXT NOT NULL, payload JSONB NOT NULL,
    trace_id TEXT, created_at TIMESTAMP WITH TIME ZONE NOT NULL, published_at TIMESTAMP WITH TIME ZONE, CONSTRAINT
    pk_outbox PRIMARY KEY (id) )""",
    """CREATE INDEX ix_outbox_waiting ON outbox (id) WHERE published_at IS NULL""",
    """CREATE INDEX ix_outbox_published ON outbox (published_at)""",
    """CREATE FUNCTION outbox_wake() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('outbox', '');
    RETURN NULL; END $$""",
    """CREATE TRIGGER outbox_wake AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_wake()""",
    """CREATE TABLE handled ( key TEXT NOT NULL, at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, CONSTRAINT
    pk_handled PRIMARY KEY (key) )""",
    """CREATE TABLE timeline ( id BIGINT GENERATED ALWAYS AS IDENTITY, incident_id TEXT, kind TEXT NOT NULL, subject
    TEXT NOT NULL, sentence TEXT NOT NULL, by TEXT NOT NULL, facts JSONB NOT NULL, at TIMESTAMP WITH TIME ZONE NOT
    NULL, CONSTRAINT pk_timeline PRIMARY KEY (id) )""",
    """CREATE INDEX ix_timeline_incident ON timeline (incident_id, id)""",
    """CREATE TABLE audit_entries ( id BIGINT GENERATED ALWAYS AS IDENTITY, leaf_index BIGINT, body TEXT NOT NULL,
    leaf_hash BYTEA, at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_audit_entries PRIMARY KEY (id), CONSTRAINT
    uq_audit_entries_leaf_index UNIQUE (leaf_index) )""",
    """CREATE INDEX ix_audit_entries_waiting ON audit_entries (id) WHERE leaf_index IS NULL""",
    """CREATE TABLE audit_tree ( size BIGINT NOT NULL, root BYTEA NOT NULL, frontier BYTEA NOT NULL, at TIMESTAMP WITH
    TIME ZONE NOT NULL, CONSTRAINT pk_audit_tree PRIMARY KEY (size) )""",
    """CREATE TABLE audit_nodes ( level INTEGER NOT NULL, position BIGINT NOT NULL, hash BYTEA NOT NULL, CONSTRAINT
    pk_audit_nodes PRIMARY KEY (level, position) )""",
    """CREATE TABLE people ( id TEXT NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL, roles TEXT[] NOT NULL,
    oncall_level SMALLINT, channels JSONB DEFAULT '[]' NOT NULL, state TEXT NOT NULL, created_at TIMESTAMP WITH TIME
    ZONE NOT NULL, CONSTRAINT pk_people PRIMARY KEY (id), CONSTRAINT uq_people_email UNIQUE (email) )""",
    """CREATE TABLE policies ( version SERIAL NOT NULL, body TEXT NOT NULL, digest TEXT NOT NULL, signature BYTEA NOT
    NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_policies PRIMARY KEY (version) )""",
    """CREATE TABLE connections ( id TEXT NOT NULL, platform TEXT NOT NULL, name TEXT NOT NULL, config JSONB NOT NULL,
    state TEXT NOT NULL, version INTEGER DEFAULT '1' NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_connections PRIMARY KEY (id) )""",
    """CREATE TABLE channels ( id TEXT NOT NULL, kind TEXT NOT NULL, config JSONB NOT NULL, sealed_secret BYTEA,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_channels PRIMARY KEY (id) )""",
    """CREATE TABLE setup ( id SERIAL NOT NULL, statement TEXT NOT NULL, signature BYTEA NOT NULL, completed_at
    TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_setup PRIMARY KEY (id) )""",
    """CREATE TABLE votes ( id TEXT NOT NULL, approval_id TEXT NOT NULL, person_id TEXT NOT NULL, decision TEXT NOT
    NULL, statement TEXT NOT NULL, signature BYTEA NOT NULL, factor_id TEXT NOT NULL, timecode BIGINT NOT NULL,
    cast_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_votes PRIMARY KEY (id), CONSTRAINT
    uq_votes_approval_id_person_id UNIQUE (approval_id, person_id), CONSTRAINT uq_votes_factor_id_timecode UNIQUE
    (factor_id, timecode), CONSTRAINT fk_votes_approval_id FOREIGN KEY(approval_id) REFERENCES approvals (id),
    CONSTRAINT fk_votes_person_id FOREIGN KEY(person_id) REFERENCES people (id) )""",
    """CREATE TABLE escalations ( id TEXT NOT NULL, incident_id TEXT NOT NULL, level SMALLINT NOT NULL, person_id TEXT
    NOT NULL, reason TEXT NOT NULL, paged_at TIMESTAMP WITH TIME ZONE NOT NULL, acknowledged_at TIMESTAMP WITH TIME
    ZONE, CONSTRAINT pk_escalations PRIMARY KEY (id), CONSTRAINT uq_escalations_incident_id_level_person_id_reason
    UNIQUE (incident_id, level, person_id, reason), CONSTRAINT fk_escalations_incident_id FOREIGN KEY(incident_id)
    REFERENCES incidents (id) )""",
    """CREATE TABLE reviews ( incident_id TEXT NOT NULL, body TEXT NOT NULL, html TEXT NOT NULL, created_at TIMESTAMP
    WITH TIME ZONE NOT NULL, CONSTRAINT pk_reviews PRIMARY KEY (incident_id), CONSTRAINT fk_reviews_incident_id
    FOREIGN KEY(incident_id) REFERENCES incidents (id) )""",
    """CREATE TABLE plans ( id TEXT NOT NULL, incident_id TEXT NOT NULL, playbook TEXT NOT NULL, playbook_digest TEXT
    NOT NULL, policy_digest TEXT NOT NULL, compromised TEXT NOT NULL, digest TEXT NOT NULL, document TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_plans PRIMARY KEY (id), CONSTRAINT
    fk_plans_incident_id FOREIGN KEY(incident_id) REFERENCES incidents (id), CONSTRAINT uq_plans_digest UNIQUE
    (digest) )""",
    """CREATE TABLE accounts ( id TEXT NOT NULL, connection_id TEXT NOT NULL, ref TEXT NOT NULL, name TEXT DEFAULT ''
    NOT NULL, holder TEXT NOT NULL, addresses TEXT[] DEFAULT '{}' NOT NULL, assets JSONB DEFAULT '[]' NOT NULL,
    peer_group TEXT DEFAULT 'default' NOT NULL, wallet_id TEXT, account_path TEXT, provisioning TEXT DEFAULT 'ready'
    NOT NULL, live_since TIMESTAMP WITH TIME ZONE, created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT
    pk_accounts PRIMARY KEY (id), CONSTRAINT uq_accounts_connection_id_ref UNIQUE (connection_id, ref), CONSTRAINT
    fk_accounts_connection_id FOREIGN KEY(connection_id) REFERENCES connections (id) )""",
    """CREATE TABLE audit_personal ( entry_id BIGINT NOT NULL, field TEXT NOT NULL, salt BYTEA, value TEXT, CONSTRAINT
    pk_audit_personal PRIMARY KEY (entry_id, field), CONSTRAINT fk_audit_personal_entry_id FOREIGN KEY(entry_id)
    REFERENCES audit_entries (id) )""",
    """CREATE TABLE factors ( id TEXT NOT NULL, person_id TEXT NOT NULL, kind TEXT NOT NULL, last_timecode BIGINT
    DEFAULT '0' NOT NULL, failures INTEGER DEFAULT '0' NOT NULL, first_failure_at TIMESTAMP WITH TIME ZONE,
    locked_until TIMESTAMP WITH TIME ZONE, during_setup BOOLEAN DEFAULT 'false' NOT NULL, seed_shown_at TIMESTAMP
    WITH TIME ZONE, confirmed_at TIMESTAMP WITH TIME ZONE, revoked_at TIMESTAMP WITH TIME ZONE, created_at TIMESTAMP
    WITH TIME ZONE NOT NULL, CONSTRAINT pk_factors PRIMARY KEY (id), CONSTRAINT fk_factors_person_id FOREIGN
    KEY(person_id) REFERENCES people (id) )""",
    """CREATE INDEX ix_factors_person ON factors (person_id)""",
    """CREATE TABLE connection_secrets ( connection_id TEXT NOT NULL, name TEXT NOT NULL, opened_by TEXT NOT NULL,
    sealed BYTEA NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_connection_secrets PRIMARY
    KEY (connection_id, name), CONSTRAINT fk_connection_secrets_connection_id FOREIGN KEY(connection_id) REFERENCES
    connections (id) )""",
    """CREATE TABLE steps ( id TEXT NOT NULL, plan_id TEXT NOT NULL, incident_id TEXT NOT NULL, position INTEGER NOT
    NULL, action TEXT NOT NULL, target JSONB NOT NULL, params JSONB NOT NULL, effect TEXT NOT NULL, lane TEXT NOT
    NULL, state TEXT NOT NULL, idempotency_key TEXT NOT NULL, attempt INTEGER DEFAULT '0' NOT NULL, fence BIGINT
    DEFAULT '0' NOT NULL, lease_owner TEXT, lease_until TIMESTAMP WITH TIME ZONE, ready_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE, deadline_at TIMESTAMP WITH TIME ZONE, after TEXT[] DEFAULT '{}' NOT NULL,
    approval_id TEXT, intent_at TIMESTAMP WITH TIME ZONE, receipt JSONB, verdict TEXT, reason TEXT, trace_id TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, finished_at TIMESTAMP WITH TIME ZONE, confirm_by TIMESTAMP WITH
    TIME ZONE, confirmed_by TEXT, CONSTRAINT pk_steps PRIMARY KEY (id), CONSTRAINT fk_steps_plan_id FOREIGN
    KEY(plan_id) REFERENCES plans (id), CONSTRAINT fk_steps_incident_id FOREIGN KEY(incident_id) REFERENCES
    incidents (id), CONSTRAINT uq_steps_idempotency_key UNIQUE (idempotency_key) )""",
    """CREATE INDEX ix_steps_incident ON steps (incident_id)""",
    """CREATE INDEX ix_steps_unfinished ON steps (due_at) WHERE state IN ('ready','running','verifying','unknown')""",
    """CREATE TABLE vault_keys ( id TEXT NOT NULL, wallet_id TEXT NOT NULL, account_id TEXT NOT NULL, path TEXT NOT
    NULL, chain TEXT NOT NULL, public_key BYTEA NOT NULL, address TEXT NOT NULL, state TEXT NOT NULL, created_at
    TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_vault_keys PRIMARY KEY (id), CONSTRAINT
    uq_vault_keys_wallet_id_path UNIQUE (wallet_id, path), CONSTRAINT fk_vault_keys_wallet_id FOREIGN KEY(wallet_id)
    REFERENCES vault_wallets (id), CONSTRAINT fk_vault_keys_account_id FOREIGN KEY(account_id) REFERENCES accounts
    (id) )""",
    """CREATE TABLE rotations ( id TEXT NOT NULL, account_id TEXT NOT NULL, step_key TEXT NOT NULL, scope TEXT NOT
    NULL, state TEXT NOT NULL, old_wallet_id TEXT NOT NULL, old_path TEXT NOT NULL, new_wallet_id TEXT NOT NULL,
    new_path TEXT NOT NULL, events JSONB NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, updated_at
    TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_rotations PRIMARY KEY (id), CONSTRAINT fk_rotations_account_id
    FOREIGN KEY(account_id) REFERENCES accounts (id) )""",
    """CREATE TABLE safe_destinations ( account_id TEXT NOT NULL, chain TEXT NOT NULL, active_from TIMESTAMP WITH TIME
    ZONE NOT NULL, descriptor TEXT NOT NULL, statement TEXT NOT NULL, statement_signature BYTEA NOT NULL, signature
    BYTEA, approval_id TEXT, created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_safe_destinations PRIMARY
    KEY (account_id, chain, active_from), CONSTRAINT fk_safe_destinations_account_id FOREIGN KEY(account_id)
    REFERENCES accounts (id) )""",
    """CREATE TABLE sweeps ( id TEXT NOT NULL, step_key TEXT NOT NULL, account_id TEXT NOT NULL, chain TEXT NOT NULL,
    from_address TEXT NOT NULL, to_address TEXT NOT NULL, asset TEXT NOT NULL, amount_base_units NUMERIC(78, 0) NOT
    NULL, nonce BIGINT NOT NULL, raw_transaction BYTEA NOT NULL, transaction_hash TEXT NOT NULL, state TEXT NOT
    NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_sweeps PRIMARY KEY (id), CONSTRAINT
    uq_sweeps_transaction_hash UNIQUE (transaction_hash), CONSTRAINT fk_sweeps_account_id FOREIGN KEY(account_id)
    REFERENCES accounts (id) )""",
    """CREATE UNIQUE INDEX ix_sweeps_nonce ON sweeps (chain, from_address, nonce) WHERE state <> 'failed'""",
    """CREATE TABLE factor_attempts ( factor_id TEXT NOT NULL, approval_id TEXT NOT NULL, failures INTEGER NOT NULL,
    locked_at TIMESTAMP WITH TIME ZONE, CONSTRAINT pk_factor_attempts PRIMARY KEY (factor_id, approval_id),
    CONSTRAINT fk_factor_attempts_factor_id FOREIGN KEY(factor_id) REFERENCES factors (id) )""",
)
TABLES: Final = """
    factor_attempts sweeps safe_destinations rotations vault_keys steps connection_secrets factors audit_personal
    accounts plans reviews escalations votes setup channels connections policies people audit_nodes audit_tree
    audit_entries timeline handled outbox vault_wallets gate_holds incidents alerts messages timers mandates
    approvals baselines learning_requests learning decisions conflicting_events transactions activities
    process_health api_tokens
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in SCHEMA:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop everything that `upgrade` made but the roles, which other databases of the cluster may use."""
    for table in TABLES.split():
        op.drop_table(table)
    op.execute("DROP FUNCTION outbox_wake()")
