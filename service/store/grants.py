"""Which database role may write what: the line between an API host in an attacker's hands and the gate (design D7).

Everybody may read everything but sealed secrets; nobody may delete; INSERT and UPDATE follow this table. The audit and
learning tables are append-only but for the sequencer's two columns. Which rows of a table: `row_rights.py`.
`portcullis_owner` runs the migrations.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from service.store import row_rights

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
"""Not the sequencer's columns: a forged place in the tree would stop it for ever; nor who wrote an entry, nor what the
relay marks as sent."""
_TOLD_OF_TRANSACTIONS: Final = (
    "account,asset,destination,amount_base_units,amount_usd,payload_digest,state,decision,updated_at"
)
"""Not who let one pass."""
_RAISED: Final = (
    "id,connection_id,activity_id,dedup_key,kind,severity,decision,score,p_value,title,entities,amount_usd,raised_at,last_at,"
    "judged,reported_by"
)
"""Not what people or triage add."""
_DESTINATION: Final = (
    "safe_destinations(account_id,chain,active_from,descriptor,statement,statement_signature,approval_id,created_at)"
)
_REQUEST: Final = "approvals(id,incident_id,subject,document,digest,requester,created_at,approve_by,execute_by)"
"""Not how it ended: whoever asks for an approval asks, and it waits."""

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
        f"alerts({_RAISED})",
        "vouched",
        _REQUEST,
        "api_tokens",
        "rule_sets",
        "rule_adoptions",
        "address_lists",
        "address_labels",
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
        "applied_changes",
        "mandates",
        _REQUEST,
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
        "call_pace",
        "gate_holds",
        _REQUEST,
        "timers",
        "escalations",
        "messages",
        "reviews",
        "handled",
        "learning_requests",
        "suppressions",
        "traces",
        "audit_tree",
        "audit_nodes",
        "poll_cursors",
        "polled_events",
        "process_health",
    ),
    KEYS: (
        *_EVERYBODY_RECORDS,
        "vault_wallets",
        "vault_keys",
        "rotations",
        "sweeps",
        "sweep_steps",
        "guardian_gas",
        "bitcoin_wallets",
        "prepared_sweeps",
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
        "polled_events(taken_at)",
    ),
    AUTHORITY: (
        "people",
        "factors",
        "factor_attempts",
        "connections",
        "connection_secrets",
        "channels",
        "votes(void_at)",
        "approvals(state,reason,decided_at)",
        "process_health",
    ),
    CONTAINMENT: (
        "incidents",
        "alerts",
        "plans",
        "steps",
        "connection_lines",
        "call_pace",
        "gate_holds",
        "approvals(state,reason,decided_at)",
        "timers",
        "escalations",
        "messages",
        "reviews",
        "traces",
        "outbox(published_at,settled_at)",
        "audit_entries(leaf_index,leaf_hash)",
        "poll_cursors",
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
        "guardian_gas",
        "bitcoin_wallets(use,receive,change)",
        "prepared_sweeps",
        "steps",
        "timers",
        "outbox(published_at,settled_at)",
        "incidents(held_at,contained_at,recovered_at,state,version)",
        "approvals(state,reason,decided_at)",
        "process_health",
    ),
    SCHEDULE: ("process_health",),
}

DELETE: Final[Mapping[str, tuple[str, ...]]] = {CONTAINMENT: ("polled_events",)}
"""What nobody needs any more: taken in, and kept as an activity."""

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

_TAKERS: Final = {1: (API, CONTAINMENT), 2: (AUTHORITY, CONTAINMENT, KEYS)}
"""By how many numbers name an advisory lock (`locks.py`), who may take it."""
_GRANTS: Final = " ".join(
    f"IF one.numbers = {n} THEN EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {', '.join(takers)}', one.name); END IF;"
    for n, takers in _TAKERS.items()
)
ONLY_THEIR_LOCKS: Final = f"""
DO $$ DECLARE one record; BEGIN FOR one IN
  SELECT oid::regprocedure AS name, pronargs AS numbers FROM pg_proc
  WHERE proname ~ '^pg_(try_)?advisory_(xact_)?lock' AND pg_has_role(current_user, proowner, 'USAGE') LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, {", ".join(ROLES)}', one.name);
    {_GRANTS}
END LOOP; END $$
"""  # noqa: S608  names of ours
"""What PostgreSQL gives to every role, too: who holds a lock stops all who wait for it. The functions are the superuser's,
so in anybody else's hands this changes nothing: `portcullis up` says it as the administrator."""


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
        for right, items in (("INSERT", INSERT[role]), ("UPDATE", UPDATE[role]), ("DELETE", DELETE.get(role, ()))):
            for item in items:
                table, _, columns = item.partition("(")
                yield f"GRANT {right}{f' ({columns}' if columns else ''} ON {table} TO {role}"
    yield ONLY_THEIR_LOCKS
    yield from row_rights.statements()
