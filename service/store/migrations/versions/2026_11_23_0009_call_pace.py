"""How fast platforms are called, and what was polled and taken goes after a while.

Revision ID: 0009
"""

from typing import Final

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    """CREATE TABLE IF NOT EXISTS call_pace (connection_id TEXT NOT NULL,
    used_until TIMESTAMP WITH TIME ZONE NOT NULL, slow_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_call_pace PRIMARY KEY (connection_id))""",
    """CREATE INDEX IF NOT EXISTS ix_polled_events_taken ON polled_events (connection_id, taken_at)
    WHERE taken_at IS NOT NULL""",
)
DOWNGRADE: Final = ("DROP INDEX ix_polled_events_taken", "DROP TABLE call_pace")


def upgrade() -> None:
    """Add them."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them: a pace is found again by calling."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
