"""Wallets that a ceremony restored, and retired keys that wait for their destruction.

Revision ID: 0006
"""

from typing import Final

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    "ALTER TABLE vault_wallets ADD COLUMN IF NOT EXISTS restored BOOLEAN NOT NULL DEFAULT false",
    "ALTER TABLE vault_keys ADD COLUMN IF NOT EXISTS destroy_from TIMESTAMP WITH TIME ZONE",
    "ALTER TABLE vault_keys ADD COLUMN IF NOT EXISTS destroy_by TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX IF NOT EXISTS ix_vault_keys_destroy ON vault_keys (destroy_from) WHERE state = 'retired'",
)
DOWNGRADE: Final = (
    "DROP INDEX ix_vault_keys_destroy",
    "ALTER TABLE vault_keys DROP COLUMN destroy_from, DROP COLUMN destroy_by",
    "ALTER TABLE vault_wallets DROP COLUMN restored",
)


def upgrade() -> None:
    """Add them."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them; retired keys then wait for a new request."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
