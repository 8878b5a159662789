"""Real servers for tests: one PostgreSQL, one Valkey and one SoftHSM folder per pytest process, on Unix sockets.

Under pytest-xdist every worker is a process of its own and therefore has its own servers: nothing is shared. A server
dies with the pytest process that started it, even after kill -9.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis
from psycopg import sql

from hsm.softhsm import find_module, write_configuration
from service.domain.secrets import Secret
from service.runtime.accounts import Account, myself, server_account
from service.runtime.postgres import EmbeddedPostgres, PostgresPlace
from service.runtime.valkey import EmbeddedValkey, ValkeyPlace
from service.store.grants import ROLES
from tests.support.scratch import scratch

TEMPLATE = "portcullis_template"
PASSWORD = Secret("test-only")
RUNTIME_ROLES = ("portcullis_owner", *ROLES)


@contextmanager
def short_folder(account: Account) -> Iterator[Path]:
    """A private folder whose path leaves room for a socket name (107 bytes at most, unix(7))."""
    folder = Path(tempfile.mkdtemp(prefix="pcl-", dir=scratch()))
    account.own(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def patience_with_databases() -> Iterator[None]:
    """Let a machine that stands still for some seconds cost no connection and no lock."""
    from service.store import database  # noqa: PLC0415  tests without a database need no SQLAlchemy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "PATIENCE_S", 60)
        yield


class PostgresForTests:
    """One server; databases are copies of a template that was migrated once."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._numbers = count(1)
        self._migrated = False

    def empty_database(self) -> str:
        """Make a database without tables and return its superuser URL."""
        return self._create("template0")

    def migrated_database(self) -> str:
        """Make a database at the newest migration and return its superuser URL."""
        if not self._migrated:
            self._migrate_template()
            self._migrated = True
        return self._create(TEMPLATE)

    def drop(self, url: str) -> None:
        """Drop a database, ending whatever sessions tests left open."""
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        self._administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(str(name))))

    def _create(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self._administer(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return self._server.url(database=name)

    def _migrate_template(self) -> None:
        from service.store.migrate import upgrade  # noqa: PLC0415  tests without a database need no alembic

        self._administer(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(TEMPLATE), sql.Identifier("template0"))
        )
        upgrade(self._server.url(database=TEMPLATE))
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            present = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(RUNTIME_ROLES)])
            for (role,) in present.fetchall():
                connection.execute(
                    sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                        sql.Identifier(role), sql.Literal(PASSWORD.reveal())
                    )
                )

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(statement)


def url_of_role(superuser_url: str, role: str) -> str:
    """Return the same database's URL for one of the runtime's roles, `portcullis_api` and so on."""
    parts = psycopg.conninfo.conninfo_to_dict(superuser_url)
    host = quote(str(parts["host"]))
    return f"postgresql://{role}:{quote(PASSWORD.reveal())}@/{parts['dbname']}?host={host}"


@contextmanager
def running_postgres() -> Iterator[PostgresForTests]:
    """Start a PostgreSQL (about half a second); stop it at the end."""
    account = server_account("portcullis-postgres")
    with short_folder(account) as folder:
        place = PostgresPlace(folder / "data", folder / "s", folder / "log", account, durable=False)
        server = EmbeddedPostgres(place, PASSWORD)
        server.start()
        try:
            yield PostgresForTests(server)
        finally:
            server.stop()


@contextmanager
def running_valkey() -> Iterator[EmbeddedValkey]:
    """Start a Valkey; stop it at the end."""
    with short_folder(myself()) as folder:
        server = EmbeddedValkey(ValkeyPlace(folder / "data", folder / "s" / "v", folder / "log", myself()), PASSWORD)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def empty_redis(url: str) -> None:
    """Forget everything in one Redis database."""
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """A SoftHSM2 of our own. `module` is its library, `configuration` its SOFTHSM2_CONF, `folder` is writable."""

    module: Path
    configuration: Path
    folder: Path


@contextmanager
def softhsm_folder() -> Iterator[SoftHsm]:
    """A folder with an empty token store; the module reads it when SOFTHSM2_CONF names `configuration`."""
    with short_folder(myself()) as folder:
        yield SoftHsm(find_module(os.environ), write_configuration(folder), folder)
