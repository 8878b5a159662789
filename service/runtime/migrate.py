"""Migrate once, in a process of its own: alembic and SQLAlchemy would otherwise stay in the supervisor's memory.

`python -m service.runtime.migrate` reads the owner's URL and the administrator's, a line each, from standard input, because
arguments and environments are visible to other processes. The administrator says alone who may take advisory locks: the
owner may not, and where he may not either, nothing changes. Exit code 0: at head. 1: the last line on standard error says
why not.
"""

import sys

import psycopg
from psycopg import sql
from sqlalchemy.exc import SQLAlchemyError

from service.store.grants import ONLY_THEIR_LOCKS, ROLES
from service.store.migrate import revisions, upgrade


def main() -> int:
    """Upgrade the database to head and let every role see which version it is."""
    url, administrators = (sys.stdin.readline().strip() for _ in range(2))
    try:
        upgrade(url)
        current, newest = revisions(url)
        _show_version(url)
        with psycopg.connect(administrators) as connection:
            connection.execute(ONLY_THEIR_LOCKS.encode())
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
