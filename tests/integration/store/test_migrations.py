"""The migrations give exactly the tables that the code declares, and carry the baselines of 0.1.0 over."""

import io
from collections.abc import Iterator

import psycopg
import pytest
from alembic import command
from psycopg import sql
from sqlalchemy import create_engine, text

from service.domain.secrets import Secret
from service.runtime.database import OWNER, connect_as_administrator, prepare_owner, url_for
from service.runtime.migrate import main
from service.store import migrate
from service.store.database import driver_url
from service.store.grants import API, SCHEDULE, statements
from service.store.migrate import revisions, upgrade
from service.store.tables.all import metadata
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers
CATALOGUE = {
    "columns": """SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
        pg_get_expr(d.adbin, d.adrelid), c.reloptions FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'c') AND a.attnum > 0
        AND NOT a.attisdropped AND c.relname <> 'alembic_version' ORDER BY 1, a.attnum""",
    "constraints": """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2""",
    "indexes": """SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        AND tablename <> 'alembic_version' ORDER BY 1""",
    "functions": """SELECT proname, regexp_replace(pg_get_functiondef(oid), '\\s+', ' ', 'g') FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace ORDER BY 1""",
    "triggers": """SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1""",
    "rights": """SELECT c.relname, a.attname, coalesce(a.attacl, c.relacl)::text FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        AND a.attnum > 0 AND NOT a.attisdropped AND c.relname <> 'alembic_version' ORDER BY 1, a.attnum""",
    "policies": """SELECT tablename, policyname, permissive, roles::text, cmd, qual, with_check FROM pg_policies
        ORDER BY 1, 2""",
    "row security": """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity
        ORDER BY 1""",
    "first rows": "SELECT seq, engine_version FROM baseline_snapshot UNION ALL SELECT version, '' FROM registry_version",
}


@pytest.fixture
def empty(fresh_postgres_url: str) -> Iterator[str]:
    """A database without anything in it."""
    name = psycopg.conninfo.conninfo_to_dict(fresh_postgres_url)["dbname"]
    called = sql.Identifier(f"{name}_empty")
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(called))
        yield fresh_postgres_url.replace(f"/{name}?", f"/{name}_empty?")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(called))


def catalogue(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        found = {name: [tuple(row) for row in connection.execute(text(query))] for name, query in CATALOGUE.items()}
    engine.dispose()
    return found


def test_the_migrated_schema_is_the_declared_one(fresh_postgres_url: str, empty: str) -> None:
    engine = create_engine(driver_url(empty))
    with engine.begin() as connection:
        metadata.create_all(connection)
        for statement in statements(tuple(table.name for table in metadata.sorted_tables)):
            connection.execute(text(statement))
    engine.dispose()
    migrated, declared = catalogue(fresh_postgres_url), catalogue(empty)
    for what, found in declared.items():
        assert migrated[what] == found, f"the {what} differ: a change of tables needs a migration"


def test_baselines_of_the_first_version_become_a_snapshot_at_the_end_of_the_sequence(empty: str) -> None:
    command.upgrade(migrate._config(driver_url(empty)), "0001")
    with psycopg.connect(empty, autocommit=True) as connection:
        for seq in (1, 2):
            connection.execute(
                "INSERT INTO learning (seq, kind, payload, engine_version, settings_digest, at)"
                " VALUES (%s, 'settings', '', '1.1', '', now())",
                (seq,),
            )
        connection.execute("INSERT INTO baselines (entity, kind, seq, state) VALUES ('population', 8, 2, 'x')")
        upgrade(empty)
        stored = connection.execute("SELECT seq, engine_version FROM baseline_snapshot").fetchall()
    assert stored == [(2, "1.1")]
    assert revisions(empty)[0] == revisions(empty)[1]


def test_migrations_can_be_taken_back(empty: str) -> None:
    upgrade(empty)
    before = catalogue(empty)
    command.downgrade(migrate._config(driver_url(empty)), "base")
    with psycopg.connect(empty) as connection:
        left = connection.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace").fetchall()
    assert {name for (name,) in left} == {"alembic_version", "alembic_version_pkc"}
    upgrade(empty)
    assert catalogue(empty) == before


@pytest.mark.parametrize("superuser", [True, False])
def test_the_owner_migrates_and_a_superuser_alone_takes_locks_away(
    empty: str, monkeypatch: pytest.MonkeyPatch, *, superuser: bool
) -> None:
    """Where nobody is one, the service starts all the same and `portcullis doctor` says so."""
    with connect_as_administrator(Secret(empty), "here") as administrator:
        owner = url_for(Secret(empty), OWNER, prepare_owner(administrator))
    for _ in ("the first start", "the second"):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{owner}\n{empty if superuser else owner}\n"))
        assert main() == 0
    with psycopg.connect(url_of_role(empty, SCHEDULE)) as connection:
        asked = connection.execute("SELECT has_function_privilege('pg_advisory_lock(bigint)', 'EXECUTE')")
        assert asked.fetchone() == (not superuser,)


def test_the_apis_role_makes_no_objects_of_its_own(empty: str) -> None:
    upgrade(empty)
    with psycopg.connect(url_of_role(empty, API), autocommit=True) as attacker:
        for made in ("CREATE TEMP TABLE t ()", "CREATE TABLE public.t ()", "CREATE FUNCTION f() RETURNS int RETURN 1"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                attacker.execute(made.encode())


def test_what_runs_with_the_owners_rights_finds_no_table_of_somebody_elses(empty: str) -> None:
    """Even where an administrator grants temporary tables back."""
    upgrade(empty)
    with psycopg.connect(empty, autocommit=True) as owner:
        name = psycopg.conninfo.conninfo_to_dict(empty)["dbname"]
        owner.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO portcullis_api").format(sql.Identifier(str(name))))
        with psycopg.connect(url_of_role(empty, API), autocommit=True) as attacker:
            for step in (
                "CREATE TEMP TABLE ran (who text)",
                "GRANT ALL ON ran TO PUBLIC",
                "CREATE TEMP TABLE registry_version (id smallint, version bigint)",
                "GRANT ALL ON registry_version TO PUBLIC",
                "INSERT INTO pg_temp.registry_version VALUES (1, 0)",
                "CREATE FUNCTION pg_temp.evil() RETURNS trigger LANGUAGE plpgsql"  # noqa: ISC004  one statement, two lines
                " AS $$ BEGIN INSERT INTO pg_temp.ran VALUES (current_user); RETURN NEW; END $$",
                "CREATE TRIGGER evil BEFORE UPDATE ON pg_temp.registry_version FOR EACH ROW EXECUTE FUNCTION pg_temp.evil()",
                "INSERT INTO accounts (id, connection_id, ref, holder, created_at) SELECT '', '', '', '', now() WHERE false",
            ):
                attacker.execute(step.encode())
            assert attacker.execute("SELECT who FROM pg_temp.ran").fetchall() == []
        assert owner.execute("SELECT version FROM registry_version").fetchall() == [(1,)]
