"""Rows that could hide an audit entry, forge its author, or stop what reads all of a table are refused.

Of a database that has such a row already the upgrade says which rule it breaks and changes nothing. Row rights are set with
the other rights after every upgrade (`store/row_rights.py`), and taken back here.

Revision ID: 0020
"""

from typing import Final

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

UPGRADE: Final = (
    "ALTER TABLE audit_entries ADD COLUMN IF NOT EXISTS written_by text",
    "ALTER TABLE audit_entries ALTER COLUMN written_by SET DEFAULT CURRENT_USER",
    "ALTER TABLE audit_entries ADD CONSTRAINT ck_audit_entries_place CHECK (leaf_index >= 0)",
    """ALTER TABLE audit_entries ADD CONSTRAINT ck_audit_entries_body CHECK
    (CASE WHEN octet_length(body) <= 1048576 THEN json_typeof(body::json) = 'object' ELSE false END)""",
    """ALTER TABLE approvals ALTER COLUMN state SET DEFAULT 'waiting',
    ADD CONSTRAINT ck_approvals_subject CHECK (subject IN
      ('steps', 'change', 'message', 'mandate', 'escalation', 'blind', 'settle')),
    ADD CONSTRAINT ck_approvals_state CHECK (state IN
      ('waiting', 'approved', 'refused', 'expired', 'void', 'executed')),
    ADD CONSTRAINT ck_approvals_document CHECK
      (CASE WHEN char_length(document) <= 262144 THEN jsonb_typeof(document::jsonb) = 'object' ELSE false END),
    ADD CONSTRAINT ck_approvals_length CHECK
      (octet_length(id || digest || requester || coalesce(incident_id, '')) <= 1000),
    ADD CONSTRAINT ck_approvals_moments CHECK
      (created_at > '2000-01-01T00:00Z' AND created_at <= approve_by AND approve_by <= execute_by
      AND execute_by < '9999-01-01T00:00Z')""",
)
DOWNGRADE: Final = (
    *(
        f"ALTER TABLE approvals DROP CONSTRAINT ck_approvals_{name}"
        for name in ("moments", "length", "document", "state", "subject")
    ),
    "ALTER TABLE approvals ALTER COLUMN state DROP DEFAULT",
    "DROP TRIGGER IF EXISTS personal_is_committed ON audit_personal",
    "DROP FUNCTION IF EXISTS personal_is_committed()",
    *(f"DROP POLICY IF EXISTS {name} ON audit_entries" for name in ("everybody", "authority", "others", "sequencer")),
    "ALTER TABLE audit_entries DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE audit_entries DROP CONSTRAINT ck_audit_entries_body",
    "ALTER TABLE audit_entries DROP CONSTRAINT ck_audit_entries_place",
    "ALTER TABLE audit_entries DROP COLUMN written_by",
)


def upgrade() -> None:
    """Add the rules, and who wrote each entry from now on."""
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop them; who wrote what is forgotten."""
    for statement in DOWNGRADE:
        op.get_bind().exec_driver_sql(statement)
