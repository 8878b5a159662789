"""What people say of activities that the engine let pass: thefts that they report, ordinary ones that they vouch for.

Revision ID: 0015
"""

from typing import Final

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    "ALTER TABLE alerts ADD COLUMN IF NOT EXISTS reported_by text",
    "CREATE INDEX IF NOT EXISTS ix_alerts_activity ON alerts (activity_id)",
    """CREATE TABLE IF NOT EXISTS vouched
    (activity_id text CONSTRAINT pk_vouched PRIMARY KEY, by text NOT NULL, at timestamptz NOT NULL)""",
)
DOWNGRADE: Final = (
    "DROP TABLE vouched",
    "DROP INDEX ix_alerts_activity",
    "ALTER TABLE alerts DROP COLUMN reported_by",
)


def upgrade() -> None:
    """Add where it is kept."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Who reported and who vouched is forgotten; what the engine learned of it stays."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
