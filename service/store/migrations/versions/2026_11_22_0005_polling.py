"""Events that a platform is asked for, because it sends no webhook of them.

Revision ID: 0005
"""

from typing import Final

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    """CREATE TABLE IF NOT EXISTS poll_cursors (connection_id TEXT NOT NULL, cursor TEXT,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL, answered_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_poll_cursors PRIMARY KEY (connection_id))""",
    """CREATE TABLE IF NOT EXISTS polled_events (id BIGINT GENERATED ALWAYS AS IDENTITY, connection_id TEXT NOT NULL,
    event_id TEXT NOT NULL, event_type TEXT NOT NULL, activity BYTEA, raw BYTEA NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL, taken_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_polled_events PRIMARY KEY (id),
    CONSTRAINT uq_polled_events_connection_id_event_id UNIQUE (connection_id, event_id))""",
    "CREATE INDEX IF NOT EXISTS ix_polled_events_waiting ON polled_events (id) WHERE taken_at IS NULL",
)
DOWNGRADE: Final = ("DROP TABLE polled_events, poll_cursors",)


def upgrade() -> None:
    """Add them."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them: what was taken is stored as activities."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
