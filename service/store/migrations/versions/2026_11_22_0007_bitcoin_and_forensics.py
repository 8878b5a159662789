"""Bitcoin wallets with the sweeps that are kept ready; lists of labelled addresses, and what was traced of an incident.

Revision ID: 0007
"""

from typing import Final

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    """CREATE TABLE IF NOT EXISTS bitcoin_wallets (account_id TEXT NOT NULL, number INTEGER NOT NULL, chain TEXT NOT NULL,
    descriptor TEXT NOT NULL, signers JSONB NOT NULL, use TEXT NOT NULL, step_key TEXT NOT NULL,
    receive INTEGER DEFAULT '0' NOT NULL, change INTEGER DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_bitcoin_wallets PRIMARY KEY (account_id, number),
    CONSTRAINT uq_bitcoin_wallets_account_id_step_key UNIQUE (account_id, step_key),
    CONSTRAINT fk_bitcoin_wallets_account_id FOREIGN KEY (account_id) REFERENCES accounts (id))""",
    """CREATE TABLE IF NOT EXISTS prepared_sweeps (account_id TEXT NOT NULL, wallet INTEGER NOT NULL,
    destination TEXT NOT NULL, rate BIGINT NOT NULL, tip BIGINT NOT NULL, coins JSONB NOT NULL, made_by JSONB NOT NULL,
    psbts JSONB NOT NULL, made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_prepared_sweeps PRIMARY KEY (account_id),
    CONSTRAINT fk_prepared_sweeps_account_id FOREIGN KEY (account_id) REFERENCES accounts (id))""",
    """CREATE TABLE IF NOT EXISTS address_lists (id TEXT NOT NULL, source TEXT NOT NULL, listed_on DATE NOT NULL,
    digest TEXT NOT NULL, entries INTEGER NOT NULL, imported_by TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_address_lists PRIMARY KEY (id),
    CONSTRAINT uq_address_lists_digest UNIQUE (digest))""",
    """CREATE TABLE IF NOT EXISTS address_labels (list_id TEXT NOT NULL, address TEXT NOT NULL, name TEXT NOT NULL,
    kind TEXT NOT NULL, CONSTRAINT pk_address_labels PRIMARY KEY (list_id, address),
    CONSTRAINT fk_address_labels_list_id FOREIGN KEY (list_id) REFERENCES address_lists (id))""",
    "CREATE INDEX IF NOT EXISTS ix_address_labels_address ON address_labels (address)",
    """CREATE TABLE IF NOT EXISTS traces (incident_id TEXT NOT NULL, state TEXT NOT NULL, walks JSONB NOT NULL, report TEXT,
    drawing TEXT, lease_until TIMESTAMP WITH TIME ZONE NOT NULL, created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_traces PRIMARY KEY (incident_id),
    CONSTRAINT fk_traces_incident_id FOREIGN KEY (incident_id) REFERENCES incidents (id))""",
)
DOWNGRADE: Final = "DROP TABLE traces, address_labels, address_lists, prepared_sweeps, bitcoin_wallets"


def upgrade() -> None:
    """Add them."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them: what a wallet's keys are made of stands in the connection, its coins on the chain."""
    op.get_bind().exec_driver_sql(DOWNGRADE)
