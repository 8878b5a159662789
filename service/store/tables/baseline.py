"""The engine's baselines, one snapshot at a sequence number, and the number that tells intake that accounts changed."""

from sqlalchemy import DDL, BigInteger, CheckConstraint, Column, LargeBinary, SmallInteger, Table, Text, event

from service.store.tables.base import metadata, when
from service.store.tables.keys import accounts

baselines = Table(
    "baselines",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("seq", BigInteger, nullable=False),  # of the snapshot that wrote it last
    Column("state", LargeBinary, nullable=False),
    postgresql_with={"fillfactor": 50},  # records keep their size: the next version finds room on the same page
)

baseline_snapshot = Table(
    # One row: where the baselines stand. Whoever replaces them holds it.
    "baseline_snapshot",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("engine_version", Text, nullable=False),
    when("at"),
    CheckConstraint("id = 1", name="one"),
)

registry_version = Table(
    # One row: grows with every change of what intake remembers of accounts.
    "registry_version",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one"),
)

FIRST_SNAPSHOT = "INSERT INTO baseline_snapshot (id, seq, engine_version) VALUES (1, 0, '')"
FIRST_VERSION = "INSERT INTO registry_version (id, version) VALUES (1, 0)"
# It runs with its owner's rights: roles that may change accounts may not set the number. So every name in it is looked up
# where those roles can put nothing: a temporary table of theirs would otherwise be found first, with their triggers on it.
COUNT_CHANGES = (
    """CREATE FUNCTION registry_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN UPDATE public.registry_version SET version = version + 1; RETURN NULL; END $$""",
    """CREATE TRIGGER registry_changed AFTER INSERT OR DELETE OR UPDATE OF connection_id, ref, peer_group ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION registry_changed()""",
)
event.listen(baseline_snapshot, "after_create", DDL(FIRST_SNAPSHOT))  # type: ignore[no-untyped-call]  # left untyped
event.listen(registry_version, "after_create", DDL(FIRST_VERSION))  # type: ignore[no-untyped-call]  # as above
for _statement in COUNT_CHANGES:
    event.listen(accounts, "after_create", DDL(_statement))  # type: ignore[no-untyped-call]  # as above
