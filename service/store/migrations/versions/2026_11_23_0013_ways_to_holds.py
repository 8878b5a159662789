"""What a plan looks up on the way to a hold is found by an index, however many plans there were.

Revision ID: 0013
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index an incident's plans, and what was begun at a connection lately."""
    op.get_bind().exec_driver_sql("CREATE INDEX IF NOT EXISTS ix_plans_incident ON plans (incident_id)")
    op.get_bind().exec_driver_sql(
        "CREATE INDEX IF NOT EXISTS ix_steps_connection ON steps ((target ->> 'connection'), created_at)"
    )


def downgrade() -> None:
    """Drop them."""
    op.get_bind().exec_driver_sql("DROP INDEX ix_plans_incident")
    op.get_bind().exec_driver_sql("DROP INDEX ix_steps_connection")
