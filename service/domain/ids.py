"""Identifiers: a three-letter kind, an underscore and a ULID (48-bit millisecond time, 80 random bits, Crockford base32).

They sort by creation time, are unguessable enough to be harmless in logs, and never authorise anything.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NewType

from service.domain.randomness import Pieces

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
_RANDOM_DIGITS: Final = 16
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
"""What ten bits are written as."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RANDOM: Final = Pieces(10)


def new_id(kind: str) -> str:
    """Return a fresh identifier such as `inc_01JD…`; `kind` is three lower-case letters."""
    number, p = int.from_bytes(_RANDOM.take()), _PAIRS
    return (
        f"{kind}_{_moment(time.time_ns() // 1_000_000)}{p[number >> 70]}{p[number >> 60 & 1023]}{p[number >> 50 & 1023]}"
        f"{p[number >> 40 & 1023]}{p[number >> 30 & 1023]}{p[number >> 20 & 1023]}{p[number >> 10 & 1023]}{p[number & 1023]}"
    )


def first_id_at(kind: str, moment: datetime) -> str:
    """Return the lowest identifier of a kind that may be made at `moment`, for looking up a span of time.

    A moment before 1970 counts as 1970, one beyond the year 10889 as the last that fits.
    """
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    return f"{kind}_{_moment(max(0, min(milliseconds, (1 << 48) - 1)))}{_ALPHABET[0] * _RANDOM_DIGITS}"


@lru_cache(maxsize=16)
def _moment(milliseconds: int) -> str:
    """The ten digits of a time, below 2^48: many identifiers are made within one millisecond."""
    p = _PAIRS
    return (
        f"{p[milliseconds >> 40]}{p[milliseconds >> 30 & 1023]}{p[milliseconds >> 20 & 1023]}"
        f"{p[milliseconds >> 10 & 1023]}{p[milliseconds & 1023]}"
    )


def looks_like_id(text: str, kind: str) -> bool:
    """Say whether `text` has the form of an identifier of this kind; says nothing about existence."""
    prefix, _, digits = text.partition("_")
    return prefix == kind and len(digits) == _ULID_LENGTH and all(c in _ALPHABET for c in digits)
