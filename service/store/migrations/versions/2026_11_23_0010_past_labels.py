"""Whether people asked that a trace go past labels.

Revision ID: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: no trace before it went past any."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE traces ADD COLUMN IF NOT EXISTS past_labels BOOLEAN NOT NULL DEFAULT false"
    )


def downgrade() -> None:
    """Drop it."""
    op.get_bind().exec_driver_sql("ALTER TABLE traces DROP COLUMN past_labels")
