"""The first schema: every table and every role's rights.

Revision ID: 0001
"""

from alembic import op

from service.store.grants import statements
from service.store.tables.all import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and grant the rights."""
    metadata.create_all(op.get_bind())
    for statement in statements(tuple(t.name for t in metadata.sorted_tables)):
        op.execute(statement)


def downgrade() -> None:
    """Drop everything that `upgrade` made but the roles, which other databases of the cluster may use."""
    metadata.drop_all(op.get_bind())
