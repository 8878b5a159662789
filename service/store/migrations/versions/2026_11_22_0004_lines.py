"""Outages of connections, and which events of the outbox need not be looked at again.

Revision ID: 0004
"""

from typing import Final

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    """CREATE TABLE connection_lines (connection_id TEXT NOT NULL, failures INTEGER NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL, closed_until TIMESTAMP WITH TIME ZONE NOT NULL,
    told_at TIMESTAMP WITH TIME ZONE, CONSTRAINT pk_connection_lines PRIMARY KEY (connection_id))""",
    "ALTER TABLE outbox ADD COLUMN settled_at TIMESTAMP WITH TIME ZONE",
    "CREATE INDEX ix_outbox_unsettled ON outbox (published_at) WHERE settled_at IS NULL",
)
DOWNGRADE: Final = (
    "DROP INDEX ix_outbox_unsettled",
    "ALTER TABLE outbox DROP COLUMN settled_at",
    "DROP TABLE connection_lines",
)


def upgrade() -> None:
    """Add them; what is in the outbox is looked at once more."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them: an outage is found again by the next call."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
