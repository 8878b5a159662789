"""In which order alerts joined their incident, how many each plan knew of, and how often people were to be woken.

Revision ID: 0019
"""

from typing import Final

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    "ALTER TABLE alerts ADD COLUMN IF NOT EXISTS place integer NOT NULL DEFAULT 0",
    "ALTER TABLE plans ADD COLUMN IF NOT EXISTS alerts integer NOT NULL DEFAULT 0",
    "ALTER TABLE incidents ADD COLUMN IF NOT EXISTS alarm integer NOT NULL DEFAULT 1",
    """UPDATE alerts SET place = known.place FROM (
      SELECT id, row_number() OVER (PARTITION BY incident_id ORDER BY id) AS place FROM alerts WHERE incident_id IS NOT NULL
    ) AS known WHERE known.id = alerts.id AND alerts.place = 0""",
)
DOWNGRADE: Final = (
    "ALTER TABLE incidents DROP COLUMN alarm",
    "ALTER TABLE plans DROP COLUMN alerts",
    "ALTER TABLE alerts DROP COLUMN place",
)


def upgrade() -> None:
    """Add them. Plans from before count as made before every alert: what they would loosen has to be asked for again."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
