"""Which messages are pages, and how many went before the one that waits longest.

Revision ID: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns: what waits from before counts as no page."""
    op.get_bind().exec_driver_sql(
        "ALTER TABLE messages ADD COLUMN IF NOT EXISTS page BOOLEAN NOT NULL DEFAULT false, "
        "ADD COLUMN IF NOT EXISTS passed INTEGER NOT NULL DEFAULT 0"
    )


def downgrade() -> None:
    """Drop them."""
    op.get_bind().exec_driver_sql("ALTER TABLE messages DROP COLUMN page, DROP COLUMN passed")
