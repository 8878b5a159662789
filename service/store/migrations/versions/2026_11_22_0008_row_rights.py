"""The client that may enrol a factor, and which rows a role may write.

The latter is set with the other rights after every upgrade (`store/row_rights.py`), and taken back here.

Revision ID: 0008
"""

from typing import Final

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

DOWNGRADE: Final = (
    "ALTER TABLE factors DROP COLUMN client",
    "DROP POLICY IF EXISTS everybody ON learning",
    "DROP POLICY IF EXISTS api ON learning",
    "ALTER TABLE learning DISABLE ROW LEVEL SECURITY",
    "DROP TRIGGER IF EXISTS false_takes_quorum ON alerts",
    "DROP TRIGGER IF EXISTS false_takes_quorum ON incidents",
    "DROP FUNCTION IF EXISTS learning_may_add(bigint, text, bytea), false_takes_quorum()",
)


def upgrade() -> None:
    """Add the column; rights are no history."""
    op.get_bind().exec_driver_sql("ALTER TABLE factors ADD COLUMN IF NOT EXISTS client TEXT NOT NULL DEFAULT ''")


def downgrade() -> None:
    """Drop what 0003 did not know; requests of the learning sequence had their policies then already."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
