"""A hold of a destination is found by its address, however a question writes it and on whatever EVM chain it pays there.

Revision ID: 0016
"""

from typing import Final

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    "ALTER TABLE gate_holds ADD COLUMN IF NOT EXISTS place text",
    # As service/domain/places.py does: EVM without the chain and in lower case, bech32 in lower case, all else as it is.
    r"""UPDATE gate_holds SET place = CASE
      WHEN value ~* '^(eip155:[0-9]{1,32}:)?0x[0-9a-f]{40}$' THEN lower(right(value, 42))
      WHEN value ~ '^(bip122:[0-9a-f]{32}:)?(BC|TB|BCRT)1[0-9A-Z]{8,87}$' THEN lower(regexp_replace(value, '^.*:', ''))
      WHEN value ~ '^bip122:' THEN regexp_replace(value, '^.*:', '')
      ELSE value END
    WHERE place IS NULL""",
    "ALTER TABLE gate_holds ALTER COLUMN place SET NOT NULL",
)
DOWNGRADE: Final = ("ALTER TABLE gate_holds DROP COLUMN place",)


def upgrade() -> None:
    """Add it, for the holds that stand, too."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Holds are compared as text again."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
