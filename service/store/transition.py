"""One statement for one transition: its audit entry with the personal fields' salts, its timeline line, its events.

Rules: all of it in the caller's transaction; events get their numbers in the order they were given. It is one statement
because a transition is on the way of every hold, and each statement more is a wait for the database (ADR 0043). Nothing
that is not needed is in the statement: an insert of no rows into the outbox would wake the relay all the same. It goes
behind (`behind.py`): the events' numbers are good for nothing before the commit.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, TextClause, text

from service.domain.events import Event
from service.domain.timeline import Entry
from service.store.quick import later
from service.store.recording import recorded

_ENTRY: Final = "WITH entry AS (INSERT INTO audit_entries (body, at) VALUES (:body, :at) RETURNING id)"
_TOLD: Final = (
    ", told AS (INSERT INTO timeline (incident_id, kind, subject, sentence, by, facts, at)"
    " VALUES (:incident_id, :kind, :subject, :sentence, :by, CAST(:facts AS jsonb), :at))"
)
_PERSONAL: Final = (
    ", personal AS (INSERT INTO audit_personal (entry_id, field, salt, value) SELECT entry.id, hidden.* FROM entry,"
    " unnest(CAST(:fields AS text[]), CAST(:salts AS bytea[]), CAST(:contents AS text[])) AS hidden)"
)
_EVENTS: Final = (
    " INSERT INTO outbox (event, payload, trace_id, created_at)"
    " SELECT one.event, CAST(one.payload AS jsonb), :trace_id, :created_at"
    " FROM unnest(CAST(:events AS text[]), CAST(:payloads AS text[])) WITH ORDINALITY AS one (event, payload, place)"
    " ORDER BY one.place RETURNING id"
)
_NO_EVENTS: Final = " SELECT id FROM entry"


def _statement(*, personal: bool, events: bool) -> TextClause:
    return text(_ENTRY + _TOLD + (_PERSONAL if personal else "") + (_EVENTS if events else _NO_EVENTS))


_STATEMENTS: Final = {(p, e): _statement(personal=p, events=e) for p in (False, True) for e in (False, True)}


def write(
    connection: Connection, entry: Entry, events: Sequence[Event], *, now: datetime, trace_id: str | None
) -> Callable[[], Sequence[int]]:
    """Write one transition down; return what waits for the numbers of its events in the outbox.

    Raises InputError when a fact is not JSON.
    """
    kept = recorded(entry)
    values: dict[str, object] = {
        "body": kept.body,
        "at": entry.at,
        "incident_id": entry.incident_id,
        "kind": entry.kind,
        "subject": entry.subject,
        "sentence": entry.sentence,
        "by": entry.by,
        "facts": json.dumps(dict(entry.facts)),
    }
    if kept.personal:
        names, salts, contents = zip(*kept.personal, strict=True)
        values |= {"fields": list(names), "salts": list(salts), "contents": list(contents)}
    if events:
        values |= {
            "events": [event.name for event in events],
            "payloads": [json.dumps(event.payload()) for event in events],
            "trace_id": trace_id,
            "created_at": now,
        }
    statement = _STATEMENTS[bool(kept.personal), bool(events)]
    written = later(connection, statement, values)
    return lambda: sorted(row.id for row in written())
