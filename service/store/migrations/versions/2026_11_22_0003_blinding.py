"""Suppressions, the files of the sets of detectors, and what a verdict on an alert gives back to the engine.

Revision ID: 0003
"""

from typing import Final

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    """CREATE TABLE IF NOT EXISTS suppressions (id TEXT NOT NULL, entity TEXT NOT NULL, detector TEXT, owner TEXT NOT NULL,
    reason TEXT NOT NULL, expires_at TIMESTAMP WITH TIME ZONE NOT NULL, approval_id TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, lifted_at TIMESTAMP WITH TIME ZONE, lifted_by TEXT,
    CONSTRAINT pk_suppressions PRIMARY KEY (id))""",
    "CREATE INDEX IF NOT EXISTS ix_suppressions_entity ON suppressions (entity) WHERE lifted_at IS NULL",
    """CREATE TABLE IF NOT EXISTS rule_sets (digest TEXT NOT NULL, files JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_rule_sets PRIMARY KEY (digest))""",
    """CREATE TABLE IF NOT EXISTS rule_adoptions (id BIGINT GENERATED ALWAYS AS IDENTITY, digest TEXT NOT NULL,
    approval_id TEXT, at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_rule_adoptions PRIMARY KEY (id))""",
    """CREATE INDEX IF NOT EXISTS ix_rule_adoptions_approval ON rule_adoptions (approval_id)
    WHERE approval_id IS NOT NULL""",
    "ALTER TABLE alerts ADD COLUMN IF NOT EXISTS judged FLOAT[]",
)
DOWNGRADE: Final = (
    "ALTER TABLE alerts DROP COLUMN judged",
    "DROP TABLE rule_adoptions, rule_sets, suppressions",
)


def upgrade() -> None:
    """Add them."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them: the sequence still holds what was suppressed."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
