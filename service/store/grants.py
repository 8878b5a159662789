"""Which database role may write what: the line between an API host in an attacker's hands and the gate (design D7).

Everybody may read everything but sealed secrets; nobody may delete; INSERT and UPDATE follow this table. The audit and
learning tables are append-only but for the sequencer's two columns. `portcullis_owner` runs the migrations.
"""

from collections.abc import Iterator, Mapping
from typing import Final

API: Final = "portcullis_api"
AUTHORITY: Final = "portcullis_authority"
CONTAINMENT: Final = "portcullis_containment"
KEYS: Final = "portcullis_keys"
SCHEDULE: Final = "portcullis_schedule"
ROLES: Final = (API, AUTHORITY, CONTAINMENT, KEYS, SCHEDULE)

_EVERYBODY_RECORDS: Final = (
    "outbox(event,payload,trace_id,created_at)",
    "timeline",
    "audit_entries(body,at)",
    "audit_personal",
)
"""Not the sequencer's columns: a forged place in the tree would stop it for ever; nor what the relay marks as sent."""
_TOLD_OF_TRANSACTIONS: Final = (
    "account,asset,destination,amount_base_units,amount_usd,payload_digest,state,decision,updated_at"
)
"""Not who let one pass."""
_DESTINATION: Final = (
    "safe_destinations(account_id,chain,active_from,descriptor,statement,statement_signature,approval_id,created_at)"
)

INSERT: Final[Mapping[str, tuple[str, ...]]] = {
    API: (
        *_EVERYBODY_RECORDS,
        "accounts",
        _DESTINATION,
        "activities",
        f"transactions(connection_id,ref,activity_id,{_TOLD_OF_TRANSACTIONS})",
        "conflicting_events",
        "decisions",
        "learning",
        "learning_requests",
        "baselines",
        "alerts",
        "approvals",
        "api_tokens",
        "rule_sets",
        "rule_adoptions",
        "process_health",
    ),
    AUTHORITY: (
        *_EVERYBODY_RECORDS,
        "people",
        "factors",
        "factor_attempts",
        "policies",
        "connections",
        "connection_secrets",
        "channels",
        "setup",
        "votes",
        "mandates",
        "approvals",
        _DESTINATION,
        "handled",
        "process_health",
    ),
    CONTAINMENT: (
        *_EVERYBODY_RECORDS,
        "incidents",
        "alerts",
        "plans",
        "steps",
        "connection_lines",
        "gate_holds",
        "approvals",
        "timers",
        "escalations",
        "messages",
        "reviews",
        "handled",
        "learning_requests",
        "suppressions",
        "audit_tree",
        "audit_nodes",
        "process_health",
    ),
    KEYS: (
        *_EVERYBODY_RECORDS,
        "vault_wallets",
        "vault_keys",
        "rotations",
        "sweeps",
        "handled",
        "timers",
        "process_health",
    ),
    SCHEDULE: ("process_health",),
}

UPDATE: Final[Mapping[str, tuple[str, ...]]] = {
    API: (
        "accounts(live_since,name)",
        f"transactions({_TOLD_OF_TRANSACTIONS})",
        "decisions(decision,reasons)",
        "learning_requests(seq)",
        "baselines",
        "baseline_snapshot",
        "alerts(verdict,verdict_by,verdict_at,count,last_at)",
        "incidents(assignee,acknowledged_at,acknowledged_by,verdict,closed_at,state,version)",
        "steps(confirmed_by)",
        "api_tokens(revoked_at)",
        "suppressions(lifted_at,lifted_by)",
        "process_health",
        "escalations(acknowledged_at)",
    ),
    AUTHORITY: (
        "people",
        "factors",
        "factor_attempts",
        "connections",
        "connection_secrets",
        "channels",
        "approvals(state,reason,decided_at)",
        "process_health",
    ),
    CONTAINMENT: (
        "incidents",
        "alerts",
        "plans",
        "steps",
        "connection_lines",
        "gate_holds",
        "approvals(state,reason,decided_at)",
        "timers",
        "escalations",
        "messages",
        "reviews",
        "outbox(published_at,settled_at)",
        "audit_entries(leaf_index,leaf_hash)",
        "process_health",
        "transactions(cleared_by)",
    ),
    KEYS: (
        "accounts(addresses,wallet_id,account_path,provisioning)",
        "safe_destinations(signature)",
        "vault_wallets",
        "vault_keys",
        "rotations",
        "sweeps",
        "steps",
        "timers",
        "outbox(published_at,settled_at)",
        "incidents(held_at,contained_at,recovered_at,state,version)",
        "approvals(state,reason,decided_at)",
        "process_health",
    ),
    SCHEDULE: ("process_health",),
}

_SEALED: Final[Mapping[str, tuple[str, ...]]] = {
    "connection_secrets": (API, CONTAINMENT, AUTHORITY),
    "vault_wallets": (KEYS,),
}
"""Tables with sealed secrets, and who may read them at all."""

_NOT_EVERYBODYS: Final = (
    "DO $$ BEGIN EXECUTE 'REVOKE TEMPORARY ON DATABASE ' || quote_ident(current_database()) || ' FROM PUBLIC'; END $$",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
)
"""What PostgreSQL gives to every role: objects of one's own can stand in the way of a name that others look up."""

_ASKED_BY: Final = (
    f"CREATE POLICY api ON learning_requests FOR INSERT TO {API} WITH CHECK (kind IN ('settings', 'suppression_lifted'))",
    f"CREATE POLICY api_places ON learning_requests FOR UPDATE TO {API} USING (true)",
    f"CREATE POLICY containment ON learning_requests FOR INSERT TO {CONTAINMENT} WITH CHECK (true)",
    "CREATE POLICY everybody ON learning_requests FOR SELECT USING (true)",
    "ALTER TABLE learning_requests ENABLE ROW LEVEL SECURITY",
)
"""Who may ask what of the learning sequence: verdicts, incidents and suppressions are no business of the API's."""


def statements(tables: tuple[str, ...]) -> Iterator[str]:
    """Yield the SQL that creates the roles where absent and grants exactly the rights above."""
    yield from _NOT_EVERYBODYS
    for role in ROLES:
        yield (
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; "  # the names are the constants above
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        readable = [t for t in tables if role in _SEALED.get(t, ROLES)]
        yield f"REVOKE ALL ON {', '.join(tables)} FROM {role}"
        yield f"GRANT USAGE ON SCHEMA public TO {role}"
        yield f"GRANT SELECT ON {', '.join(readable)} TO {role}"
        for right, items in (("INSERT", INSERT[role]), ("UPDATE", UPDATE[role])):
            for item in items:
                table, _, columns = item.partition("(")
                yield f"GRANT {right}{f' ({columns}' if columns else ''} ON {table} TO {role}"
    for policy in _ASKED_BY:
        name = policy.split()[2]
        if policy.startswith("CREATE"):
            yield f"DROP POLICY IF EXISTS {name} ON learning_requests"
        yield policy
