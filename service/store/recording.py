"""How one transition is written down: the audit entry's exact bytes, with personal fields as salted commitments.

Both writers of the audit log use this one function: the unit of work, and intake's group commit.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from service.domain.canonical import canonical, commit, new_salt
from service.domain.timeline import Entry

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is stored of an entry: its RFC 8785 body, and (field, salt, value) of each personal field."""

    body: str
    personal: tuple[tuple[str, bytes, str], ...]


def recorded(entry: Entry) -> Recorded:
    """Return the stored form of an entry. Raises InputError when a fact is not JSON."""
    personal = tuple((name, new_salt(), value) for name, value in sorted(entry.personal.items()))
    body = canonical(
        {
            "v": 1,
            "kind": entry.kind,
            "at": entry.at.isoformat(),
            "subject": entry.subject,
            "incident": entry.incident_id,
            "by": entry.by,
            "sentence": entry.sentence,
            "facts": dict(entry.facts),
            "personal": {name: commit(value, salt) for name, salt, value in personal},
        }
    )
    return Recorded(body.decode(), personal)


def announce(entries: Iterable[Entry], *, trace_id: str | None = None) -> None:
    """Log committed transitions by their ids, never their sentences, which may speak of people."""
    for entry in entries:
        ids = {"incident_id": entry.incident_id, "activity_id": entry.facts.get("activity"), "trace_id": trace_id}
        known = {name: value for name, value in ids.items() if value is not None}
        _log.info("transition", kind=entry.kind, subject=entry.subject, **known)
