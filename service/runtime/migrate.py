"""Migrate once, in a process of its own: alembic and SQLAlchemy would otherwise stay in the supervisor's memory.

`python -m service.runtime.migrate` reads the owner's URL from standard input, because arguments and environments are
visible to other processes. Exit code 0: at head. 1: the last line on standard error says why not.
"""

import sys

from sqlalchemy.exc import SQLAlchemyError

from service.store.migrate import revisions, upgrade


def main() -> int:
    """Upgrade the database to head."""
    url = sys.stdin.readline().strip()
    try:
        upgrade(url)
        current, newest = revisions(url)
    except SQLAlchemyError as error:
        sys.stderr.write(f"{str(getattr(error, 'orig', error)).strip()}\n")
        return 1
    if current != newest:
        sys.stderr.write(f"the database stands at {current}, this program at {newest}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
