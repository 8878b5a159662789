"""One entry of what happened: it becomes a timeline line of an incident and a leaf of the audit tree.

`facts` is what the audit tree proves: JSON values with ids, digests and amounts as strings. `personal` holds fields that
name a person or where he was (ip, device, e-mail): the tree only gets their salted commitments, so that a salt can be
dropped later without breaking any proof.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

AUTHORITY: Final = "authority"
"""What the authority calls itself in `Entry.by`; where it did what a person asked for, that person stands there."""
AUTHORITYS: Final = r"^(vote|ballot|factor|setup)\.|\.(set_up|applied)$|^(approval\.(approved|void)|person\.added)$"
"""The kinds of entries that nobody but the authority writes; means the same to Python and to PostgreSQL."""


def is_authoritys(kind: str, by: str) -> bool:
    """Say whether an entry tells what only the authority does."""
    return by == AUTHORITY or re.search(AUTHORITYS, kind) is not None


@dataclass(frozen=True, slots=True)
class Entry:
    """One transition, as it is audited and shown."""

    kind: str
    """Past tense, dotted: incident.opened, step.verified, vote.cast, setup.completed …"""
    at: datetime
    subject: str
    """Id of what changed."""
    sentence: str
    """What a person reads in the timeline."""
    by: str = "portcullis"
    """Person id, or the process kind."""
    incident_id: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    personal: Mapping[str, str] = field(default_factory=dict)
