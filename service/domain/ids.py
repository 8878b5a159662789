"""Identifiers: a three-letter kind, an underscore and a ULID (48-bit millisecond time, 80 random bits, Crockford base32).

They sort by creation time, are unguessable enough to be harmless in logs, and never authorise anything.
"""

import secrets
import time
from typing import Final, NewType

ConnectionId = NewType("ConnectionId", str)
AccountId = NewType("AccountId", str)
ActivityId = NewType("ActivityId", str)
AlertId = NewType("AlertId", str)
IncidentId = NewType("IncidentId", str)
PlanId = NewType("PlanId", str)
StepId = NewType("StepId", str)
ApprovalId = NewType("ApprovalId", str)
PersonId = NewType("PersonId", str)
MessageId = NewType("MessageId", str)

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_LENGTH: Final = 26


def new_id(kind: str) -> str:
    """Return a fresh identifier such as `inc_01JD…`; `kind` is three lower-case letters."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    digits = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{kind}_{''.join(digits)}"


def looks_like_id(text: str, kind: str) -> bool:
    """Say whether `text` has the form of an identifier of this kind; says nothing about existence."""
    prefix, _, digits = text.partition("_")
    return prefix == kind and len(digits) == _ULID_LENGTH and all(c in _ALPHABET for c in digits)
