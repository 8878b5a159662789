"""The database and the Redis-protocol server: embedded by default, the user's own when a URL says so (design D8)."""

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from service.domain.errors import ConfigurationError, UnavailableError
from service.domain.secrets import Secret
from service.runtime import database
from service.runtime.accounts import server_account
from service.runtime.layout import Layout, kept_secret
from service.runtime.parts import ServerPart
from service.runtime.postgres import EmbeddedPostgres, PostgresPlace
from service.runtime.valkey import EmbeddedValkey, ValkeyPlace

DATABASE_VARIABLE = "PORTCULLIS_DATABASE_URL"
REDIS_VARIABLE = "PORTCULLIS_REDIS_URL"
PING_TIMEOUT_S = 15


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is reached, as administrator, and the part to supervise when it is ours."""

    url: Secret
    shown: str
    part: ServerPart | None


def start_postgres(layout: Layout, environ: Mapping[str, str]) -> Place:
    """Start the embedded PostgreSQL unless the user named one. Raises UnavailableError that says what to do."""
    external = environ.get(DATABASE_VARIABLE, "")
    if external:
        url = Secret(external)
        return Place(url, database.shown(url), None)
    account = server_account("portcullis-postgres")
    place = PostgresPlace(
        layout.servers / "postgres" / "data", layout.postgres_sockets, layout.servers / "postgres" / "log", account
    )
    place.data.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    server = EmbeddedPostgres(place, Secret(kept_secret(layout.home / "postgres-superuser")))
    server.start()
    shown = f"socket {layout.postgres_sockets}"
    with database.connect_as_administrator(Secret(server.url()), shown) as administrator:
        database.ensure_database(administrator, database.DATABASE)
    return Place(
        Secret(server.url(database=database.DATABASE)), shown, ServerPart("postgres", shown, place.log, server)
    )


def start_redis(layout: Layout, environ: Mapping[str, str]) -> Place:
    """Start the embedded Valkey unless the user named a server. Raises UnavailableError that says what to do."""
    external = environ.get(REDIS_VARIABLE, "")
    if external:
        return Place(Secret(external), REDIS_VARIABLE, None)
    account = server_account("portcullis-valkey")
    folder = layout.servers / "valkey"
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    place = ValkeyPlace(folder / "data", layout.valkey_socket, folder / "log", account)
    server = EmbeddedValkey(place, Secret(kept_secret(layout.home / "valkey-password")))
    server.start()
    shown = f"socket {layout.valkey_socket}"
    return Place(Secret(server.url()), shown, ServerPart("valkey", shown, place.log, server))


def check_own_servers(environ: Mapping[str, str]) -> None:
    """Raise ConfigurationError or UnavailableError when a server the user named does not answer."""
    url = environ.get(DATABASE_VARIABLE, "")
    if url:
        database.connect_as_administrator(Secret(url), DATABASE_VARIABLE).close()
    url = environ.get(REDIS_VARIABLE, "")
    if url:
        check_redis(url)


def check_redis(url: str) -> None:
    """Ask a Redis-protocol server for a sign of life. Raises ConfigurationError or UnavailableError; shows no URL."""
    try:
        with redis.Redis.from_url(url, socket_timeout=PING_TIMEOUT_S, socket_connect_timeout=PING_TIMEOUT_S) as client:
            client.ping()
    except redis.AuthenticationError as error:
        raise ConfigurationError(f"{REDIS_VARIABLE}: the server refuses the password: correct it") from error
    except redis.RedisError as error:
        kind = type(error).__name__
        raise UnavailableError(
            f"no Redis-protocol server answers at {REDIS_VARIABLE} ({kind}): start it, or correct the URL"
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"{REDIS_VARIABLE} is not a Redis URL: give redis://:PASSWORD@HOST:PORT/0 or unix://:PASSWORD@/PATH?db=0"
        ) from error
