"""Advisory locks by name, in two spaces that PostgreSQL keeps apart (manual, 9.28.10: one number or two).

Rules: two numbers are for the workers and the authority, whose locks the API's role may not take; one number is for the API
and for the few names that it shares with workers. Which role may take which: `grants.py`. Two names of one hash wait for
each other, and no more.
"""

from typing import Final

from sqlalchemy import Connection, TextClause, text

_NAMED: Final = int.from_bytes(b"name")
LOCK: Final = text(f"SELECT pg_advisory_xact_lock({_NAMED}, hashtext(:name))")
"""Until the transaction ends, among the workers and the authority."""
SHARED_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
"""The same among them and the API."""


def take(connection: Connection, name: str, statement: TextClause = LOCK) -> None:
    """Wait for a lock and take it."""
    connection.execute(statement, {"name": name})
