"""Votes from before their person was suspended never count again; what was applied is noted by the authority alone.

Revision ID: 0018
"""

from typing import Final

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    "ALTER TABLE votes ADD COLUMN IF NOT EXISTS void_at timestamptz",
    "ALTER TABLE votes DROP CONSTRAINT IF EXISTS uq_votes_approval_id_person_id",
    "CREATE UNIQUE INDEX IF NOT EXISTS uq_votes_standing ON votes (approval_id, person_id) WHERE void_at IS NULL",
    """CREATE TABLE IF NOT EXISTS applied_changes
    (approval_id text CONSTRAINT pk_applied_changes PRIMARY KEY
      CONSTRAINT fk_applied_changes_approval_id REFERENCES approvals (id), at timestamptz NOT NULL)""",
    """INSERT INTO applied_changes (approval_id, at)
    SELECT approvals.id, handled.at FROM approvals JOIN handled ON handled.key = 'change:' || approvals.id
    ON CONFLICT DO NOTHING""",
)
DOWNGRADE: Final = (
    "INSERT INTO handled (key, at) SELECT 'change:' || approval_id, at FROM applied_changes ON CONFLICT DO NOTHING",
    "DROP TABLE applied_changes",
    "DELETE FROM votes WHERE void_at IS NOT NULL",
    "DROP INDEX uq_votes_standing",
    "ALTER TABLE votes DROP COLUMN void_at",
    "ALTER TABLE votes ADD CONSTRAINT uq_votes_approval_id_person_id UNIQUE (approval_id, person_id)",
)


def upgrade() -> None:
    """Add both; what was applied so far is taken over."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Votes that count no more are forgotten: kept, they would count again."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
