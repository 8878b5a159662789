"""Which keys a step began to empty, so that repeated it empties no others.

Revision ID: 0017
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.get_bind().exec_driver_sql(
        """CREATE TABLE IF NOT EXISTS sweep_steps (account_id TEXT NOT NULL, step_key TEXT NOT NULL,
        keys_of TEXT NOT NULL, begun_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_sweep_steps PRIMARY KEY (account_id, step_key),
        CONSTRAINT fk_sweep_steps_account_id FOREIGN KEY (account_id) REFERENCES accounts (id))"""
    )


def downgrade() -> None:
    """Drop it: a step that is repeated begins anew."""
    op.get_bind().exec_driver_sql("DROP TABLE sweep_steps")
