"""Database roles: one login per process kind, with a password that lives as long as one `up` (design D7).

Rules enforced here: the owner role runs migrations and nothing else; each process logs in as its own role; passwords
are random (256 bits), new at every `up`, and reach the server as SCRAM verifiers (RFC 5803), so that no statement log
ever holds one. Rights are granted by the migrations, not here.
"""

import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from service.domain.errors import ConfigurationError, UnavailableError
from service.domain.secrets import Secret
from service.runtime.processes import KINDS

DATABASE: Final = "portcullis"
OWNER: Final = "portcullis_owner"
LEAST_MAJOR: Final = 15
CONNECT_TIMEOUT_S: Final = 15


def connect_as_administrator(url: Secret, shown: str) -> psycopg.Connection:
    """Connect in autocommit. Raises UnavailableError that names `shown` (never the URL) and what to do."""
    try:
        return psycopg.connect(url.reveal(), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        raise UnavailableError(
            f"PostgreSQL does not answer at {shown} ({_first_line(error)}): start it, or correct the URL"
        ) from error
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            "PORTCULLIS_DATABASE_URL is not a PostgreSQL URL: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from error


def prepare_owner(administrator: psycopg.Connection) -> Secret:
    """Make the owner role and let it own this database's schema; returns its new password.

    Raises ConfigurationError when the server is too old or the administrator may not make roles.
    """
    if administrator.info.server_version < LEAST_MAJOR * 10000:
        raise ConfigurationError(
            f"PostgreSQL {LEAST_MAJOR} or newer is needed, this is {administrator.info.server_version}"
        )
    password = Secret(secrets.token_urlsafe(32))
    try:
        _ensure_role(administrator, OWNER, sql.SQL("LOGIN CREATEROLE"))
        _set_password(administrator, OWNER, password)
        administrator.execute(
            sql.SQL("GRANT ALL ON DATABASE {} TO {}").format(
                sql.Identifier(administrator.info.dbname), sql.Identifier(OWNER)
            )
        )
        administrator.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(sql.Identifier(OWNER)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"the user of PORTCULLIS_DATABASE_URL may not prepare the database ({_first_line(error)}): give one with"
            " CREATEROLE that owns the database; it is used at start only"
        ) from error
    return password


def open_logins(administrator: psycopg.Connection, kept: Mapping[str, Secret]) -> dict[str, Secret]:
    """Give every process's role a login; returns the passwords by process name, fresh where `kept` has none."""
    passwords: dict[str, Secret] = {}
    for kind in KINDS:
        passwords[kind.name] = kept.get(kind.name) or Secret(secrets.token_urlsafe(32))
        _ensure_role(administrator, kind.role, sql.SQL("LOGIN"))
        _set_password(administrator, kind.role, passwords[kind.name])
    return passwords


def url_for(administrator_url: Secret, role: str, password: Secret) -> str:
    """Return the same server and database as a `postgresql://` URL for another role."""
    parts = conninfo_to_dict(administrator_url.reveal())
    kept = {name: str(value) for name, value in parts.items() if name not in {"user", "password", "dbname"} and value}
    return f"postgresql://{role}:{quote(password.reveal(), safe='')}@/{parts.get('dbname', '')}?{urlencode(kept)}"


def password_in(url: str) -> Secret | None:
    """Return the password of a URL, or None when it has none."""
    password = conninfo_to_dict(url).get("password")
    return Secret(str(password)) if password else None


def shown(url: Secret) -> str:
    """Return where the server is, without user or password."""
    parts = conninfo_to_dict(url.reveal())
    return f"{parts.get('host', 'localhost')} database {parts.get('dbname', '')}"


def ensure_database(administrator: psycopg.Connection, name: str) -> None:
    """Make a database when it is not there."""
    if administrator.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
        administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _ensure_role(administrator: psycopg.Connection, role: str, attributes: sql.SQL) -> None:
    present = administrator.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    verb = sql.SQL("ALTER ROLE") if present else sql.SQL("CREATE ROLE")
    administrator.execute(sql.SQL("{} {} {}").format(verb, sql.Identifier(role), attributes))


def _set_password(administrator: psycopg.Connection, role: str, password: Secret) -> None:
    verifier = administrator.pgconn.encrypt_password(password.reveal().encode(), role.encode(), b"scram-sha-256")
    administrator.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
