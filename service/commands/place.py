"""Which database a command reads, and what it says when that one cannot be read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from service.domain.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from sqlalchemy import Connection

URL_VARIABLE: Final = "PORTCULLIS_DATABASE_URL"


def database_url() -> str:
    """Return PORTCULLIS_DATABASE_URL, or what `portcullis up` wrote for the schedule. Raises ConfigurationError."""
    from service.commands.runtime import layout  # noqa: PLC0415  --help must not pay for the database driver
    from service.runtime.environment import read_environment  # noqa: PLC0415  as above

    given = os.environ.get(URL_VARIABLE, "")
    if given:
        return given
    found = (read_environment(layout(), "schedule") or {}).get(URL_VARIABLE, "")
    if not found:
        raise ConfigurationError(
            f"no database is named: set {URL_VARIABLE}, or run this in the folder of `portcullis up`, as who may read it"
        )
    return found


@contextmanager
def reading(what: str) -> "Iterator[Connection]":
    """Open a connection that sees one moment of the database (REPEATABLE READ) and writes nothing, to read `what`.

    Raises ConfigurationError when no database is named or the URL is none, UnavailableError when it cannot be read.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError  # noqa: PLC0415  as above

    from service.domain.secrets import Secret  # noqa: PLC0415  as above
    from service.store.database import create  # noqa: PLC0415  as above

    try:
        engine = create(Secret(database_url()), pool_size=1)
    except ArgumentError as error:
        raise ConfigurationError(
            f"{URL_VARIABLE} is not a PostgreSQL URL: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from error
    try:
        snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with snapshot.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]
        raise UnavailableError(f"{what} could not be read: {why}") from error
    finally:
        engine.dispose()
