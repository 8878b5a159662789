"""Migrate once, in a process of its own: alembic and SQLAlchemy would otherwise stay in the supervisor's memory.

`python -m service.runtime.migrate` reads the owner's URL from standard input, because arguments and environments are
visible to other processes. Exit code 0: at head. 1: the last line on standard error says why not.
"""

import sys

import psycopg
from psycopg import sql
from sqlalchemy.exc import SQLAlchemyError

from service.store.grants import ROLES
from service.store.migrate import revisions, upgrade


def main() -> int:
    """Upgrade the database to head and let every role see which version it is."""
    url = sys.stdin.readline().strip()
    try:
        upgrade(url)
        current, newest = revisions(url)
        _show_version(url)
    except (SQLAlchemyError, psycopg.Error) as error:
        first = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        sys.stderr.write(f"{first}\n")
        return 1
    if current != newest:
        sys.stderr.write(f"the database stands at {current}, this program at {newest}\n")
        return 1
    return 0


def _show_version(url: str) -> None:
    roles = sql.SQL(", ").join(map(sql.Identifier, ROLES))
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("GRANT SELECT ON alembic_version TO {}").format(roles))


if __name__ == "__main__":
    raise SystemExit(main())
