"""How much gas the guardian's transactions may have used, for the limit of an hour.

Revision ID: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.get_bind().exec_driver_sql(
        """CREATE TABLE IF NOT EXISTS guardian_gas (chain TEXT NOT NULL, nonce BIGINT NOT NULL, gas BIGINT NOT NULL,
        at TIMESTAMP WITH TIME ZONE NOT NULL, CONSTRAINT pk_guardian_gas PRIMARY KEY (chain, nonce))"""
    )


def downgrade() -> None:
    """Drop it: the hour begins anew."""
    op.get_bind().exec_driver_sql("DROP TABLE guardian_gas")
