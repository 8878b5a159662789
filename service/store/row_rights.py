"""Which rows a role may write where the table alone does not decide it (row level security and two triggers; design D4, D7).

Rules:
- Whoever scores may add activities to the learning sequence. What people decided gets a place only as the containment worker
  asked for it, word for word and once: its role asks after it has verified the votes, and the API's role cannot ask.
- Settings get a place without a quorum only where they tighten what is in force then; the directions are the domain's. An
  address list comes into force without one, and leaves with one.
- A critical incident is not called false by the API's role, nor an alert of one: that takes a quorum, which the containment
  worker verifies. The trigger looks at what becomes false only, so whatever else changes of such a row is not its business.
- An audit entry that tells what only the authority does is the authority's. The sequencer gives an entry its place once, and
  takes none back. Personal fields belong to who wrote the entry, which commits to them.

`learning_may_add` runs with its owner's rights, because a policy cannot look at its own table; it is asked of rows that are
no activities, so that the usual batch pays nothing for it. What refuses fails the statement, and all of its batch: so the
keeper of the engine (`flow/intake/warrants.py`) refuses the same first.
"""

from collections.abc import Iterator
from typing import Final

from rules.learning import RecordKind
from service.domain.blinding import DIRECTIONS, Direction
from service.domain.incident import CaseVerdict, Severity
from service.domain.timeline import AUTHORITY, AUTHORITYS

_AS_ASKED: Final = "ask.payload = new_payload"
_ENTITIES: Final = "ask_told -> 'entities' IS NOT DISTINCT FROM new_told -> 'entities'"
_ROW: Final = "ask_told -> 'row' IS NOT DISTINCT FROM new_told"
_LISTS: Final = f"""
    WITH placed AS (SELECT convert_from(payload, 'UTF8')::jsonb AS told FROM public.learning_requests
      WHERE kind = '{RecordKind.LISTS}' AND seq > 0 AND seq <= new_seq)
    SELECT coalesce(jsonb_agg(added.told #> '{{row,add}}'), '[]') INTO lists FROM placed added
      WHERE added.told #> '{{row,add}}' IS NOT NULL AND NOT EXISTS (SELECT FROM placed gone
        WHERE gone.told ->> 'approval' IS NOT NULL AND gone.told #> '{{row,remove}}' = added.told #> '{{row,add}}')
"""  # noqa: S608  words of ours
"""Which address lists are in force at a place: all that were added by then but for those that an approval removed. Of the
requests and not of the rows before, because one batch may take several, and a policy sees nothing of its own statement."""
_NEWEST_SETTINGS: Final = f"""
    SELECT known.told INTO old_told FROM (
      (SELECT seq, convert_from(payload, 'UTF8')::jsonb AS told FROM public.learning
        WHERE kind = '{RecordKind.SETTINGS}' ORDER BY seq DESC LIMIT 1)
      UNION ALL
      (SELECT seq, convert_from(payload, 'UTF8')::jsonb -> 'row' FROM public.learning_requests
        WHERE kind = '{RecordKind.SETTINGS}' AND seq > 0 AND seq < new_seq
          AND convert_from(payload, 'UTF8')::jsonb ->> 'approval' IS NOT NULL ORDER BY seq DESC LIMIT 1)
    ) AS known ORDER BY seq DESC LIMIT 1
"""  # noqa: S608  words of ours
"""The settings that new ones are held against: those in force, or newer ones that a quorum approved and that get their place
in the same statement, which a policy does not see. Approved ones alone: for the rest whoever scores may ask himself."""
_OPERATORS: Final = {Direction.LOWER_LOOSENS: ">=", Direction.HIGHER_LOOSENS: "<="}


def _tightens(old: str, new: str) -> str:
    """Return the SQL condition that one settings document tightens another, or leaves it as it is."""
    free = {name: _OPERATORS[way] for name, way in DIRECTIONS.items() if way in _OPERATORS}
    moved = [f"({new} ->> '{name}')::float8 {operator} ({old} ->> '{name}')::float8" for name, operator in free.items()]
    named = ", ".join(f"'{name}'" for name in free)
    kept = (
        f"NOT EXISTS (SELECT FROM jsonb_each({old}) AS one WHERE one.key NOT IN ({named})"  # noqa: S608  names of ours
        f" AND one.value IS DISTINCT FROM {new} -> one.key)"
    )
    return " AND ".join((*moved, kept))


_MAY_ADD: Final = f"""
CREATE OR REPLACE FUNCTION learning_may_add(new_seq bigint, new_kind text, new_payload bytea) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ask public.learning_requests%ROWTYPE;
  ask_told jsonb;
  new_told jsonb;
  old_told jsonb;
  lists jsonb;
BEGIN
  IF new_kind = '{RecordKind.RULES}' THEN RETURN true; END IF;
  IF new_kind = '{RecordKind.SETTINGS}' THEN
    {_NEWEST_SETTINGS};
    IF NOT FOUND THEN RETURN true; END IF;
  END IF;
  SELECT * INTO ask FROM public.learning_requests WHERE seq = new_seq AND kind = new_kind;
  IF NOT FOUND THEN RETURN false; END IF;
  IF new_kind NOT IN ('{RecordKind.INCIDENT_OPENED}', '{RecordKind.INCIDENT_CLOSED}', '{RecordKind.SUPPRESSION}',
      '{RecordKind.SETTINGS}', '{RecordKind.LISTS}') THEN
    RETURN {_AS_ASKED};
  END IF;
  ask_told := convert_from(ask.payload, 'UTF8')::jsonb;
  new_told := convert_from(new_payload, 'UTF8')::jsonb;
  IF new_kind IN ('{RecordKind.INCIDENT_OPENED}', '{RecordKind.INCIDENT_CLOSED}') THEN RETURN {_ENTITIES}; END IF;
  IF new_kind = '{RecordKind.LISTS}' THEN
    {_LISTS};
    RETURN lists @> (new_told -> 'lists') AND (new_told -> 'lists') @> lists;
  END IF;
  IF NOT ({_ROW}) THEN RETURN false; END IF;
  IF ask_told ->> 'approval' IS NOT NULL THEN RETURN true; END IF;
  RETURN new_kind = '{RecordKind.SETTINGS}' AND {_tightens("old_told", "new_told")};
END $$
"""  # noqa: S608  names and words of ours
_API: Final = "portcullis_api"
_AUTHORITY: Final = "portcullis_authority"
_CONTAINMENT: Final = "portcullis_containment"
_KEYS: Final = "portcullis_keys"
_ASKS_ITSELF: Final = (
    f"kind = '{RecordKind.SUPPRESSION_LIFTED}' OR "
    f"(kind IN ('{RecordKind.SETTINGS}', '{RecordKind.LISTS}')"
    " AND convert_from(payload, 'UTF8')::jsonb ->> 'approval' IS NULL)"
)
_FALSE: Final = f"NEW.verdict = '{CaseVerdict.FALSE_POSITIVE}' AND NEW.verdict IS DISTINCT FROM OLD.verdict"
_CRITICAL: Final = int(Severity.CRITICAL)
_BY_QUORUM: Final = f"""
CREATE OR REPLACE FUNCTION false_takes_quorum() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$ BEGIN
  IF pg_has_role(current_user, '{_CONTAINMENT}', 'USAGE') THEN RETURN NEW; END IF;
  IF TG_TABLE_NAME = 'incidents' THEN
    IF NEW.severity < {_CRITICAL} THEN RETURN NEW; END IF;
  ELSIF NOT EXISTS (SELECT FROM public.incidents WHERE id = NEW.incident_id AND severity >= {_CRITICAL}) THEN
    RETURN NEW;
  END IF;
  RAISE insufficient_privilege USING MESSAGE = 'calling a critical incident false, or an alert of one, takes a quorum';
END $$
"""

_NOT_AUTHORITYS: Final = (
    f"(body::json ->> 'by') IS DISTINCT FROM '{AUTHORITY}' AND coalesce(body::json ->> 'kind', '') !~ '{AUTHORITYS}'"
)
_COMMITTED: Final = """
CREATE OR REPLACE FUNCTION personal_is_committed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$ BEGIN
  IF NOT EXISTS (SELECT FROM public.audit_entries WHERE id = NEW.entry_id AND written_by = current_user
      AND body::json -> 'personal' ->> NEW.field IS NOT NULL) THEN
    RAISE insufficient_privilege USING MESSAGE = 'personal fields are written by who wrote an entry that commits to them';
  END IF;
  RETURN NULL;
END $$
"""
"""After the insert: before it, what the same statement wrote is not there to be seen."""

POLICIES: Final = (
    ("learning", "everybody", "FOR SELECT USING (true)"),
    (
        "learning",
        "api",
        f"FOR INSERT TO {_API} WITH CHECK (kind = '{RecordKind.ACTIVITY}' OR learning_may_add(seq, kind, payload))",
    ),
    ("learning_requests", "everybody", "FOR SELECT USING (true)"),
    ("learning_requests", "api", f"FOR INSERT TO {_API} WITH CHECK (seq IS NULL AND ({_ASKS_ITSELF}))"),
    ("learning_requests", "api_places", f"FOR UPDATE TO {_API} USING (seq IS NULL) WITH CHECK (true)"),
    ("learning_requests", "containment", f"FOR INSERT TO {_CONTAINMENT} WITH CHECK (true)"),
    ("audit_entries", "everybody", "FOR SELECT USING (true)"),
    ("audit_entries", "authority", f"FOR INSERT TO {_AUTHORITY} WITH CHECK (true)"),
    ("audit_entries", "others", f"FOR INSERT TO {_API}, {_CONTAINMENT}, {_KEYS} WITH CHECK ({_NOT_AUTHORITYS})"),
    ("audit_entries", "sequencer", f"FOR UPDATE TO {_CONTAINMENT} USING (leaf_index IS NULL) WITH CHECK (true)"),
)
"""(table, name, what): each replaces the policy of its name; a table that is named here lets nobody do anything else."""


def statements() -> Iterator[str]:
    """Yield the SQL that puts these rules in force, once the roles are there."""
    yield _MAY_ADD
    yield _BY_QUORUM
    yield _COMMITTED
    for table, name, what in POLICIES:
        yield f"DROP POLICY IF EXISTS {name} ON {table}"
        yield f"CREATE POLICY {name} ON {table} {what}"
    for table in dict.fromkeys(table for table, _, _ in POLICIES):
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    for table in ("alerts", "incidents"):
        yield (
            f"CREATE OR REPLACE TRIGGER false_takes_quorum BEFORE UPDATE OF verdict ON {table} FOR EACH ROW"
            f" WHEN ({_FALSE}) EXECUTE FUNCTION false_takes_quorum()"
        )
    yield (
        "CREATE OR REPLACE TRIGGER personal_is_committed AFTER INSERT ON audit_personal FOR EACH ROW"
        " EXECUTE FUNCTION personal_is_committed()"
    )
