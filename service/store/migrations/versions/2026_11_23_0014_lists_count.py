"""Address lists count at the gate: they are in force by rows of the learning sequence, and may be imported again.

Revision ID: 0014
"""

from typing import Final

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    "ALTER TABLE address_lists DROP CONSTRAINT IF EXISTS uq_address_lists_digest",
    "CREATE INDEX IF NOT EXISTS ix_address_lists_digest ON address_lists (digest)",
    "DROP INDEX IF EXISTS ix_learning_control",
    "CREATE INDEX ix_learning_control ON learning (kind, seq) WHERE kind IN ('settings', 'rules', 'lists')",
    "CREATE INDEX IF NOT EXISTS ix_learning_requests_placed ON learning_requests (kind, seq) WHERE seq IS NOT NULL",
    """INSERT INTO learning_requests (kind, subject, payload, created_at)
    SELECT 'lists', id, convert_to('{"row":{"add":"' || id || '"},"approval":null}', 'UTF8'), now()
    FROM address_lists ORDER BY id""",
)
DOWNGRADE: Final = (
    "DROP INDEX ix_learning_requests_placed",
    "DROP INDEX ix_learning_control",
    "CREATE INDEX ix_learning_control ON learning (kind, seq) WHERE kind IN ('settings', 'rules')",
    "DROP INDEX ix_address_lists_digest",
    "ALTER TABLE address_lists ADD CONSTRAINT uq_address_lists_digest UNIQUE (digest)",
)


def upgrade() -> None:
    """Have lists that were imported before come into force with the next activity."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Only while the sequence names no list: an older version cannot read such rows."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
